"""Pages of many kinds with their main text marked, made here: what extraction is measured and tested by.

Each page is a template as sites have them, filled with sentences of its own. What is wanted stands between `{{` and
`}}`, which are taken out; all else on the page is boilerplate. The sentences are put together from lists of words, so
that no two are alike and a word n-gram tells which part of a page it came from.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape

_WHO = [
    "the council",
    "a farmer",
    "our team",
    "the committee",
    "every visitor",
    "the engineer",
    "his sister",
    "a small crew",
    "the museum",
    "that shop",
    "the river",
    "a neighbour",
    "the minister",
    "an old sailor",
    "the choir",
    "the school",
    "her uncle",
    "a reporter",
]
_DID = [
    "measured",
    "repaired",
    "described",
    "painted",
    "collected",
    "moved",
    "opened",
    "translated",
    "studied",
    "delivered",
    "planted",
    "counted",
    "rebuilt",
    "photographed",
    "published",
    "found",
    "closed",
    "tested",
]
_WHAT = [
    "the northern bridge",
    "seven wooden boats",
    "a map of the valley",
    "the long report",
    "two hundred lanterns",
    "the broken clock",
    "every garden wall",
    "the first harvest",
    "a set of letters",
    "the new turbine",
    "some copper coins",
    "the oldest mill",
    "a narrow stair",
    "the winter catalogue",
    "several blue tiles",
    "the water meter",
]
_WHEN = [
    "in early spring",
    "after the storm",
    "before the vote",
    "during the night shift",
    "last Thursday",
    "for the third time",
    "without much help",
    "at the request of the mayor",
    "while the snow fell",
    "within nine days",
    "as the price rose",
    "on the eve of the fair",
    "to general surprise",
    "at low tide",
    "in spite of the cost",
    "when the train was late",
]
_MORE = [
    "and nobody complained",
    "which pleased the owners",
    "although the budget was small",
    "because the roof had leaked",
    "so the work went on",
    "but the results were mixed",
    "and the crowd applauded",
    "which took longer than planned",
    "since the law had changed",
    "while others only watched",
    "and the archive kept a copy",
    "though few had expected it",
]
_TOPIC = [
    "harbour",
    "orchard",
    "railway",
    "library",
    "glacier",
    "market",
    "workshop",
    "theatre",
    "island",
    "observatory",
    "bakery",
    "quarry",
    "lighthouse",
    "stadium",
    "vineyard",
    "canal",
    "forest",
    "hospital",
]


class Words:
    """Sentences, titles and links of one page."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._n = 0

    def sentence(self) -> str:
        """Make a sentence."""
        pick = self._random.choice
        self._n += 1
        said = f"{pick(_WHO)} {pick(_DID)} {pick(_WHAT)} {pick(_WHEN)}"
        if self._random.random() < 0.6:
            said += f", {pick(_MORE)}"
        return said[0].upper() + said[1:] + f" near the {pick(_TOPIC)}."

    def text(self, sentences: int) -> str:
        """Make a text of so many sentences."""
        return " ".join(self.sentence() for _ in range(sentences))

    def paragraphs(self, n: int, tag: str = "p", least: int = 2, most: int = 5) -> str:
        """Make `n` paragraphs of `least` to `most` sentences each."""
        ends = f"</{tag.split()[0]}>"
        return "\n".join(f"<{tag}>{self.text(self._random.randint(least, most))}{ends}" for _ in range(n))

    def title(self) -> str:
        """Make a title."""
        pick = self._random.choice
        return f"{pick(_WHO)} {pick(_DID)} {pick(_WHAT)}".title()

    def word(self) -> str:
        """Make a word."""
        return self._random.choice(_TOPIC).title()

    def links(self, n: int, tag: str = "li", titles: bool = False) -> str:
        """Make links in elements of their own."""
        open_, close = (f"<{tag}>", f"</{tag.split()[0]}>") if tag else ("", " ")
        return "".join(
            f'{open_}<a href="/{self._random.randint(1, 9999)}">{self.title() if titles else self.word()}</a>{close}'
            for _ in range(n)
        )

    def teasers(self, n: int, tag: str = "article", name: str = "card") -> str:
        """Make teasers of other pages."""
        return "".join(
            f'<{tag} class="{name}"><a href="/{i}/"><img src="{i}.jpg" alt=""><h3>{self.title()}</h3></a>'
            f"<p>{self.sentence()}</p></{tag}>"
            for i in range(n)
        )


NAV = '<nav class="main-nav"><ul>[L6]</ul></nav>'
FOOT = '<footer><div class="cols"><ul>[L5]</ul><p>[S1] All rights reserved.</p></div></footer>'
COOKIE = '<div id="cookie-notice" role="dialog"><p>We use cookies. [S1]</p><button>Accept all</button></div>'
SHARE = """<div class="share-buttons"><a href="https://x.example/">Tweet</a><a href="https://f.example/">Share</a>
</div>"""
COMMENTS = (
    '<div id="comments" class="comments-area"><h2>3 thoughts</h2><ol class="comment-list">'
    + ('<li class="comment"><div class="comment-author">Kim</div><p>[S3]</p><a href="#r">Reply</a></li>' * 3)
    + '</ol><div id="respond"><form><label>Comment</label><textarea></textarea><input type=submit></form></div></div>'
)
RELATED = '<div class="related-posts"><h3>You may also like</h3><ul>[T4]</ul></div>'
SIDE = """<aside id="secondary" class="widget-area"><section class="widget"><h2>Recent posts</h2><ul>[T5]</ul>
</section><section class="widget"><h2>About</h2><p>[S3]</p></section></aside>"""

# Marks in templates: [P4] paragraphs, [S2] sentences, [T4] links with titles, [L5] links with words, [H] a title,
# [C3] cards with teasers, [W] a word.
TEMPLATES = {
    "wordpress blog": f"""<!doctype html><html lang=en><head><title>[H] | Blog</title></head>
<body class="post-template-default single single-post postid-12 has-sidebar comment-open category-cookies">
<a class="skip-link screen-reader-text" href="#content">Skip to content</a>{COOKIE}<div id="page" class="site">
<header id="masthead" class="site-header"><p class="site-title"><a href="/">[W] notes</a></p>{NAV}</header>
<div id="content" class="site-content"><div id="primary" class="content-area"><main id="main" class="site-main">
<article id="post-12" class="post-12 post type-post status-publish category-social tag-menu hentry">
<header class="entry-header"><h1 class="entry-title">[H]</h1><div class="entry-meta">
<span class="posted-on">May 3</span>
<span class="byline">by <a href="/a">Ann</a></span></div></header><div class="entry-content">{{{{[P6]<h2>[H]</h2>[P3]
<blockquote><p>[S2]</p></blockquote>[P2]}}}}{SHARE}<div class="sharedaddy sd-sharing-enabled"><h3>Share this</h3>
</div>
<div id="jp-relatedposts" class="jp-relatedposts"><h3>Related</h3>[T3]</div></div>
<footer class="entry-footer"><span class="cat-links">Posted in [L2]</span><span class="tags-links">[L4]</span>
</footer>
</article><nav class="post-navigation">[T2]</nav>{COMMENTS}</main></div>{SIDE}</div>{FOOT}</div></body></html>""",
    "news with hashed classes": f"""<html><head><title>[H] - Daily</title></head><body><div id=app>
<div class="css-1q2w3e">
<div class="css-9xk2"><a href="/">Daily</a>{NAV}</div><div class="css-77aa"><div class="css-1aa">
<h1 class="css-hd1">[H]</h1>
<div class="css-by"><span>By Jo Park</span><time>4 June</time></div><section name="articleBody" class="css-body">
{{{{<div class="css-p1"><p class="css-pp">[S4]</p></div><div class="css-p1"><p>[S3]</p><p>[S3]</p></div>}}}}
<div class="ad css-ad"><p>Advertisement</p></div>{{{{<div class="css-p1">[P5]</div>}}}}</section></div>
<div class="css-more"><h2>More in World</h2><ol>[T8]</ol></div></div></div>{FOOT}</div></body></html>""",
    "news with sidebar and cards": f"""<html><head><title>[H]</title></head>
<body>{COOKIE}<header role=banner>{NAV}</header>
<div class="container"><div class="row"><div class="col-md-8"><div class="article-header"><h1>[H]</h1>
<p class="byline">By Staff</p></div><div class="article-body">{{{{[P4]}}}}<div class="inline-related">
<h4>Read more</h4>
<a href=/x>[H]</a></div>{{{{[P4]}}}}<div class="newsletter-signup"><h4>Sign up</h4><p>[S2]</p><form><input></form>
</div>
{{{{[P3]}}}}</div><div class="author-bio"><p>[S3]</p></div><div class="comments-section"><h3>Comments</h3>
<div class="comment-body"><p>[S4]</p></div><div class="comment-body"><p>[S4]</p></div></div></div>
<div class="col-md-4 right-rail"><div class="most-read"><ol>[T6]</ol></div><div class="promo"><p>[S3]</p></div>
</div></div>
<section class="recommended">[C6]</section></div>{FOOT}</body></html>""",
    "small teaser articles in main": f"""<html><head><title>[H]</title></head><body>{NAV}<main><div class="longread">
{{{{<h1>[H]</h1>[P12]}}}}</div><div class="grid">[C3]</div></main>{FOOT}</body></html>""",
    "one teaser article": f"""<html><head><title>[H]</title></head><body>{NAV}<main>
<div class="wrap-7">{{{{<h1>[H]</h1>[P8]}}}}
</div><article class="next"><h2><a href=/n>[H]</a></h2><p>[S2]</p></article></main>{FOOT}</body></html>""",
    "class sidebar on the wrapper": f"""<html><head><title>[H]</title></head><body>{NAV}<main><article>
<div class="l-sidebar-fixed l-segment">{{{{<h1>[H]</h1>[P7]}}}}</div><div class="l-sidebar-x sidebar"><ul>[T5]</ul>
</div>
</article></main>{FOOT}</body></html>""",
    "genesis wrapper": f"""<html><head><title>[H]</title></head><body class="content-sidebar comments-open">
<div class="site-container">
<header class="site-header">{NAV}</header><div class="site-inner"><div class="content-sidebar-wrap">
<main class="content">
<article class="entry"><header class="entry-header"><h1>[H]</h1><p class="entry-meta">May 4 by Bo</p></header>
<div class="entry-content">{{{{[P7]}}}}</div><footer class="entry-footer"><p>Filed under [L2]</p></footer></article>
<div class="entry-comments" id="comments"><h3>Comments</h3><ol class="comment-list"><li class="comment"><p>[S5]</p>
</li>
<li class="comment"><p>[S5]</p></li></ol></div></main><aside class="sidebar sidebar-primary">
<section class="widget"><p>[S4]</p></section></aside></div></div>{FOOT}</div></body></html>""",
    "elementor widgets": f"""<html><head><title>[H]</title></head>
<body class="elementor-page">{NAV}<div class="elementor elementor-9">
<section class="elementor-section"><div class="elementor-widget elementor-widget-heading"><h1>{{{{[H]}}}}</h1></div>
<div class="elementor-widget elementor-widget-text-editor">
<div class="elementor-widget-container">{{{{[P3]}}}}</div></div>
<div class="elementor-widget elementor-widget-text-editor">
<div class="elementor-widget-container">{{{{[P4]}}}}</div></div>
</section></div>{FOOT}</body></html>""",
    "widgets are the text": f"""<html><head><title>[H]</title></head><body>{NAV}<div class="builder">
<div class="widget text-widget">{{{{[P3]}}}}</div><div class="widget text-widget">{{{{[P3]}}}}</div>
<div class="widget text-widget">{{{{[P2]}}}}</div></div>{FOOT}</body></html>""",
    "tables of the 1990s": """<HTML><HEAD><TITLE>[H]</TITLE></HEAD><BODY BGCOLOR=white><TABLE WIDTH=100%><TR>
<TD WIDTH=150 BGCOLOR=gray><FONT SIZE=2><A HREF=a.htm>Home</A><BR><A HREF=b.htm>News</A><BR><A HREF=c.htm>Photos</A>
<BR>
<A HREF=d.htm>Guestbook</A></FONT></TD><TD>{{<FONT SIZE=5><B>[H]</B></FONT><P>[S4]<P>[S5]<P>[S3]<BR><BR>[S4]}}
</TD></TR></TABLE><CENTER><FONT SIZE=1>Last changed 1998 by webmaster</FONT></CENTER></BODY></HTML>""",
    "plain personal page": """<html><head><title>[H]</title></head><body>{{<h1>[H]</h1>[S4]<br><br>[S5]<br><br>[S3]
<h2>[H]</h2>[S6]<br><br>[S3]}}<hr><a href="/">home</a> | <a href="/links">links</a> | <a href="/me">me</a></body>
</html>""",
    "forum": f"""<html><head><title>[H] - Forum</title></head><body id=phpbb><div id=wrap>
<div id=page-header>{NAV}</div>
<div id=page-body><h2 class="topic-title">[H]</h2><div class="action-bar"><a href=r>Post reply</a></div>"""
    + """
<div class="post bg1"><dl class="postprofile"><dt><a href=u>bob</a></dt><dd>Posts: 12</dd><dd>Joined: 2009</dd></dl>
<div class="postbody"><p class="author">by bob</p><div class="content">{{[S4]<br>[S2]}}</div>
<div class="signature">[S1]</div></div></div>"""
    * 4
    + f"""<div class="pagination">[L3]</div></div>
<div id=page-footer>{FOOT}</div></div></body></html>""",
    "discourse": f"""<html><head><title>[H]</title></head><body>{NAV}<div id="main-outlet"><h1>[H]</h1>"""
    + """
<div itemprop="comment" class="topic-body crawler-post"><div class="crawler-post-meta">
<span class="creator">ann</span>
<span>May 4</span></div><div class="post" itemprop="text">{{[P2]}}</div></div>"""
    * 4
    + f"""<div class="related-topics">
<table>[T5]</table></div></div>{FOOT}</body></html>""",
    "questions and answers": f"""<html><head><title>[H]</title></head><body class="question-page">
<header class="s-topbar">{NAV}</header>
<div class="container"><div id="left-sidebar"><ul>[L6]</ul></div><div id="content"><div id="question-header">
<h1>[H]</h1></div>
<div id="mainbar"><div id="question" class="question"><div class="votecell">12</div>
<div class="s-prose js-post-body">{{{{[P3]
<pre><code>x = boat.load("mill")
print(x.rows)</code></pre>[P1]}}}}</div><div class="post-taglist"><a href=t>tide</a></div>
<div class="user-info">asked by Li</div>
<div class="comments js-comments-container"><ul class="comments-list"><li class="comment"><span>[S1]</span></li>
</ul></div></div>
<div id="answers"><h2>2 Answers</h2><div class="answer"><div class="s-prose js-post-body">{{{{[P3]}}}}</div>
<div class="user-info">Max 3,120</div><div class="comments"><ul><li class="comment"><span>[S2]</span></li></ul>
</div></div>
<div class="answer"><div class="s-prose js-post-body">{{{{[P2]}}}}</div></div></div></div>
<div id="sidebar"><h4>Hot Questions</h4><ul>[T9]</ul></div></div></div>{FOOT}</body></html>""",
    "only comments": """<html><head><title>[H]</title></head><body><table><tr><td>
<a href=n>new</a> | <a href=c>comments</a></td></tr>
<tr><td><a href=s>[H]</a></td></tr></table><table class="comment-tree">"""
    + """<tr class="athing comtr"><td>
<span class="comhead"><a href=u>ann</a></span>
<div class="comment">{{<span class="commtext">[S4]<p>[S2]</span>}}</div></td></tr>
"""
    * 6
    + """</table></body></html>""",
    "documentation": """<html><head><title>[H] - Manual</title></head><body><div class="navbar">
<a href=/>Manual</a></div>
<div class="sphinxsidebar"><h3>Table of Contents</h3><ul>[L8]</ul></div><div class="document">
<div class="documentwrapper">
<div class="bodywrapper"><div class="body" role="main"><section id="navigation-menu">{{<h1>[H]</h1>[P3]<pre>a = 1
b = harbour(a)</pre><section id="sidebar"><h2>[H]</h2>[P2]<dl><dt id=f>load(path)</dt><dd>[S2]</dd></dl>
</section>}}</section>
</div></div></div></div><div class="related"><ul>[L4]</ul></div><div class="footer">Copyright</div></body></html>""",
    "docs site of today": f"""<html><head><title>[H] | Docs</title></head><body class="docs">
<header class="navbar">{NAV}</header>
<div class="flex"><aside class="theme-doc-sidebar-container"><ul>[L9]</ul></aside><main class="docMainContainer">
<div class="row">
<div class="col"><nav class="theme-doc-breadcrumbs"><ul>[L2]</ul></nav><article>
<div class="theme-doc-markdown markdown">
{{{{<header><h1>[H]</h1></header>[P3]<h2 id=menu>[H]<a class="hash-link" href="#menu">#</a></h2>[P2]<ul>
<li>[S1]</li><li>[S1]</li></ul>
<table><tr><th>Name</th><th>Use</th></tr><tr><td>depth</td><td>[S1]</td></tr><tr><td>tide</td><td>[S1]</td></tr>
</table>}}}}</div>
</article><nav class="pagination-nav">[T2]</nav></div><div class="col--3"><div class="tableOfContents"><ul>[L5]</ul>
</div></div>
</div></main></div>{FOOT}</body></html>""",
    "shop": f"""<html><head><title>[H]</title></head><body>{NAV}<div class="breadcrumb">[L3]</div><main>
<div class="product">
<h1>[H]</h1><p class="price">19.90</p><form class="cart"><select><option>Red<option>Blue</select>
<button>Add to cart</button></form>
<div class="product-description">{{{{[P3]<ul><li>[S1]</li><li>[S1]</li></ul>}}}}</div></div>
<section class="related products"><h2>Related products</h2>[C4]</section></main>{FOOT}</body></html>""",
    "wiki": f"""<html><head><title>[H]</title></head><body class="mediawiki ns-0 skin-vector">
<div id="mw-page-base"></div>
<div id="content" class="mw-body" role="main"><h1 id="firstHeading">[H]</h1><div id="bodyContent">
<div id="siteSub">From the wiki</div>
<a class="mw-jump-link" href="#s">Jump to search</a><div id="mw-content-text">
<div class="mw-parser-output">{{{{[P2]}}}}
<div id="toc" class="toc"><ul>[L5]</ul>
</div>{{{{<h2>[H]</h2>}}}}<span class="mw-editsection">[<a href=e>edit</a>]</span>{{{{[P3]
<h2>[H]</h2>[P3]<ul><li>[S1]</li><li>[S1]</li></ul>}}}}<div class="navbox"><ul>[L12]</ul></div></div>
<div class="printfooter">Retrieved from x</div></div><div id="catlinks" class="catlinks">[L4]</div></div></div>
<div id="mw-navigation">{NAV}<div id="mw-panel"><ul>[L9]</ul></div></div>{FOOT}</body></html>""",
    "landing page": f"""<html><head><title>[W]</title></head><body><header>{NAV}</header>
<section class="hero">{{{{<h1>[H]</h1><p>[S2]</p>}}}}
<a class="btn" href=/go>Start</a></section><section class="features">{{{{<div><h3>[H]</h3><p>[S2]</p></div><div>
<h3>[H]</h3><p>[S2]</p></div>
<div><h3>[H]</h3><p>[S2]</p></div>}}}}</section><section class="faq">{{{{<h2>[H]</h2>
<p>[S3]</p>}}}}</section>{FOOT}</body></html>""",
    "tailwind": """<html><head><title>[H]</title></head><body class="bg-white"><div class="flex">
<div class="hidden md:block w-64"><ul>[L8]</ul></div>
<div class="flex-1 px-4"><div class="text-sm text-gray-500"><a href=/>Home</a> / <a href=/b>Blog</a></div>
<div class="hidden md:block prose">{{<h1>[H]</h1>[P6]}}</div></div></div>
<div class="mt-8 border-t">[L5]</div></body></html>""",
    "single-page app with noscript": """<html><head><title>[H]</title></head><body>
<noscript>You need to enable JavaScript to run this app.</noscript>
<div id="root"><div class="App"><div class="nav_3x">[L5]</div><div class="view_9k">{{<h1>[H]</h1>[P5]}}</div>
</div></div></body></html>""",
    "only noscript": """<html><head><title>[H]</title></head><body><div id=root></div>
<noscript>{{<h1>[H]</h1>[P3]}}</noscript></body></html>""",
    "live blog": f"""<html><head><title>[H]</title></head><body>{NAV}<main><h1>[H]</h1>
<div class="summary">{{{{<p>[S3]</p>}}}}</div>
<div class="live-blog">"""
    + """<div class="block" id="b"><p class="block-time published-time"><time>12.03</time></p>{{<h2>[H]</h2>[P2]}}
<div class="block-share"><a href=t>Share</a></div></div>"""
    * 5
    + f"""</div></main>{FOOT}</body></html>""",
    "blog home": f"""<html><head><title>[W]</title></head><body>{NAV}<div id=content>"""
    + """<article class="post"><h2><a href=p>[H]</a></h2>
<div class="entry-content">{{[P2]}}</div></article>"""
    * 4
    + f"""<div class="pagination">[L2]</div></div>{SIDE}{FOOT}</body></html>""",
    "gallery": f"""<html><head><title>[H]</title></head><body>{NAV}<main>
<h1>[H]</h1>{{{{<p>[S3]</p>}}}}<div class="gallery">
{{{{<figure><img src=1.jpg><figcaption>[S1]</figcaption></figure><figure><img src=2.jpg>
<figcaption>[S1]</figcaption></figure>
<figure><img src=3.jpg><figcaption>[S1]</figcaption></figure>}}}}</div></main>{RELATED}{FOOT}</body></html>""",
    "recipe": f"""<html><head><title>[H]</title></head><body>{NAV}<main><article><h1>[H]</h1>
<div class="entry-content">{{{{[P3]
<div class="wprm-recipe-container"><h2>[H]</h2><ul class="wprm-recipe-ingredients"><li>200 g flour</li>
<li>two eggs</li><li>salt</li></ul>
<ol class="wprm-recipe-instructions"><li>[S1]</li><li>[S1]</li><li>[S1]</li></ol></div>}}}}</div>
</article>{COMMENTS}</main>{SIDE}{FOOT}</body></html>""",
    "government": f"""<html><head><title>[H] - GOV</title></head><body>
<div id="global-cookie-message" class="gem-c-cookie-banner"><p>[S2]</p></div>
<header class="gem-c-layout-super-navigation-header">{NAV}</header><div class="govuk-width-container">
<main id="content" class="govuk-main-wrapper">
<div class="gem-c-title"><h1>[H]</h1></div><div class="gem-c-metadata"><dl><dt>Published</dt><dd>4 May</dd></dl></div>
<div class="govuk-grid-column-two-thirds"><div class="gem-c-govspeak govuk-govspeak">{{{{[P4]<h2>[H]</h2>[P3]<ul>
<li>[S1]</li><li>[S1]</li></ul>}}}}
</div></div><div class="gem-c-contextual-sidebar"><ul>[T4]</ul></div></main></div><div class="gem-c-feedback">
<p>Is this page useful?</p></div>
{FOOT}</body></html>""",
    "asp.net form around all": f"""<html><head><title>[H]</title></head><body><form id="aspnetForm" method=post>
<div id="header">{NAV}</div>
<div id="left"><ul>[L6]</ul></div><div id="middle">{{{{<h1>[H]</h1>[P5]}}}}</div><div id="footer">[S1]</div></form>
</body></html>""",
    "comment in the wrapper's class": f"""<html><head><title>[H]</title></head>
<body class="comments-enabled">{NAV}<div class="comment-page content-comments">
<article>{{{{<h1>[H]</h1>[P6]}}}}</article></div>{FOOT}</body></html>""",
    "long comments": f"""<html><head><title>[H]</title></head><body>{NAV}<article class="story"><h1>[H]</h1>
<div class="story-body">{{{{[P3]}}}}</div></article>
<section class="comments">"""
    + """<div class="comment"><p>[S5]</p></div>""" * 12
    + f"""</section>{FOOT}</body></html>""",
    "hidden until shown": f"""<html><head><title>[H]</title></head>
<body style="visibility:hidden" class=loading>{NAV}<div class="article-content" style="display:none">
{{{{<h1>[H]</h1>[P6]}}}}</div><div style="display:none"><p>[S2]</p></div>{FOOT}</body></html>""",
    "related inside the article": f"""<html><head><title>[H]</title></head><body>{NAV}<article>
<h1>[H]</h1>{{{{[P3]}}}}<ul>[T4]</ul>{{{{[P4]}}}}
<h3>Related stories</h3><ul>[T5]</ul></article>{FOOT}</body></html>""",
    "drupal": f"""<html><head><title>[H]</title></head><body class="html not-front page-node node-type-article">
<div id="page"><div id="header">{NAV}</div>
<div id="main"><div id="content" class="column"><div class="section"><h1 class="title">[H]</h1>
<div class="node node-article"><div class="meta submitted">
Submitted by admin</div><div class="content"><div class="field field-name-body"><div class="field-items">
<div class="field-item even">{{{{[P6]}}}}
</div></div></div><div class="field field-name-field-tags"><div class="field-label">Tags:</div>[L3]</div></div>
</div></div></div>
<div id="sidebar-first" class="column sidebar"><div class="block"><h2>Menu</h2><ul>[L5]</ul></div>
<div class="block"><p>[S4]</p></div></div></div>
{FOOT}</div></body></html>""",
    "blogger": """<html><head><title>[H]</title></head><body><div class="content-outer"><div class="header-outer">
<h1>[W]</h1></div><div class="main-outer">
<div class="column-center-outer"><div class="main section"><div class="widget Blog"><div class="blog-posts hfeed">
<div class="date-outer">
<h2 class="date-header"><span>May 3</span></h2><div class="post hentry"><h3 class="post-title entry-title">[H]</h3>
<div class="post-body entry-content">{{[S4]<br /><br />[S5]<br /><br />[S4]}}</div><div class="post-footer">
<span class="post-author">by Al</span>
</div></div><div class="comments" id="comments"><h4>2 comments:</h4><dl><dd class="comment-body"><p>[S3]</p></dd>
</dl></div></div></div></div></div></div>
<div class="column-right-outer"><div class="sidebar section"><div class="widget"><h2>Archive</h2><ul>[T6]</ul></div>
</div></div></div></div></body></html>""",
    "divs without paragraphs": f"""<html><head><title>[H]</title></head><body><div class=a1>{NAV}</div>
<div class=b2><div class=c3>{{{{<div>[S3]</div><div>[S4]</div>
<div>[S3]</div><div>[S2]</div>}}}}</div><div class=d4>[T6]</div></div><div class=e5>[S1]</div></body></html>""",
    "job advert": f"""<html><head><title>[H]</title></head><body>{NAV}<main><h1>{{{{[H]}}}}</h1>
<div class="job-description">{{{{<p>[S3]</p><h3>[H]</h3><ul><li>[S1]</li>
<li>[S1]</li><li>[S1]</li></ul><h3>[H]</h3><ul><li>[S1]</li><li>[S1]</li></ul>}}}}</div><div class="apply-form">
<form><label>Name</label><input></form></div>
<aside><h3>Similar jobs</h3>[T5]</aside></main>{FOOT}</body></html>""",
    "index of links": f"""<html><head><title>[H]</title></head><body>{NAV}<main>
<h1>{{{{[H]}}}}</h1>{{{{<ul>[T20]</ul>}}}}</main>{FOOT}</body></html>""",
    "mailing list": """<html><head><title>[H]</title></head><body><h1>[H]</h1><b>Ann</b> <a href=m>ann at x.org</a>
<br><i>Tue May 4</i><p><ul>
<li>Previous message: <a href=p>[H]</a></li><li>Next message: <a href=n>[H]</a></li></ul><hr><pre>{{[S3]

[S4]

[S2]}}</pre><hr><ul><li>Previous message: <a href=p>[H]</a></li></ul></body></html>""",
    "json-ld only": """<html><head><title>[H]</title>
<script type="application/ld+json">{"@type":"NewsArticle","articleBody":"{{[S12]}}"}</script></head>
<body><div id="app"></div><footer>[S1]</footer></body></html>""",
    "amp": f"""<html amp><head><title>[H]</title></head><body><amp-sidebar id=s><ul>[L6]</ul></amp-sidebar>
<header class="header">[W]</header>
<article class="amp-wp-article"><header class="amp-wp-article-header"><h1>[H]</h1>
<div class="amp-wp-meta amp-wp-byline">By Bo</div></header>
<div class="amp-wp-article-content">{{{{[P6]}}}}</div><footer class="amp-wp-article-footer">[L3]</footer>
</article>{FOOT}</body></html>""",
    "premium content": f"""<html><head><title>[H]</title></head>
<body>{NAV}<div class="paywall-article sponsored-content"><h1>[H]</h1><div class="ad-free">{{{{[P6]}}}}</div></div>
<div class="paywall-offer"><p>[S2]</p></div>{FOOT}</body></html>""",
    "table of data": f"""<html><head><title>[H]</title></head><body>{NAV}<div id=main>{{{{<h1>[H]</h1><p>[S2]</p>
<table><tr><th>Place</th><th>Depth</th><th>Year</th></tr>
<tr><td>Harbour</td><td>12</td><td>1901</td></tr><tr><td>Quarry</td><td>31</td><td>1954</td></tr><tr><td>Canal</td>
<td>4</td><td>1877</td></tr></table>
<p>[S3]</p>}}}}</div>{FOOT}</body></html>""",
    "chinese news": """<html lang=zh><head><title>新闻</title></head><body><div class="nav"><a href=1>首页</a>
<a href=2>国内</a><a href=3>国际</a><a href=4>财经</a></div>
<div class="main"><h1>河流治理取得进展</h1>
<div class="text">{{
<p>委员会的报告介绍了十年来河流治理的情况，水质明显改善，鱼类重新回到河中。</p>
<p>专家认为，今后应当继续减少污水排放，并在两岸种植树木，以保护堤岸。</p>
<p>当地居民表示，他们希望孩子们能够在干净的河水里游泳。</p>}}</div><div class="share">分享到：微信 微博</div></div>
<div class="right"><h3>热门新闻</h3>
<ul><li><a href=a>铁路新线开通运行</a></li><li><a href=b>图书馆延长开放时间</a></li><li>
<a href=c>市场价格保持平稳</a></li></ul></div>
<div class="footer">版权所有 未经许可不得转载</div></body></html>""",
}
# Pages as larger sites have them, with all that stands around an article: names as such templates use them.
TEMPLATES |= {
    "townnews article": f"""<html class="no-js"><head><title>[H] | News | herald.example</title></head>
<body class="mode-app asset_page site-full section-news"><div id="site-navbar-container" class="not-front">
<nav class="navbar navbar-inverse">[L8]</nav></div><div id="site-container"><section id="main-page-container"
class="container"><div class="row"><div class="col-md-8 col-lg-8"><div class="asset asset-article">
<header class="asset-header"><h1 class="headline">[H]</h1><div class="meta"><span class="hidden-print">
<ul class="list-inline"><li>By [W] Writer staff@herald.example</li><li>May 3</li></ul></span></div></header>
<div class="share-container content-above"><ul class="social-share-links"><li><a href=f>Facebook</a></li><li>
<a href=t>Twitter</a></li><li><a href=e>Email</a></li></ul></div><div class="asset-photo"><figure class="photo
layout">
<img src=a.jpg><figcaption class="caption"><p>[S1]</p><span class="tnt-byline">Photo by
Jo</span></figcaption></figure>
</div>
<div class="asset-content subscriber-premium"><div class="asset-body"><div
itemprop="articleBody">{{{{<p>[S2]</p><p>[S2]
</p><p>[S3]</p>}}}}<div id="tncms-region-article_instory_top" class="tncms-region"><div class="tncms-block">
<div class="card-panel panel panel-default"><div class="panel-heading"><h3>Top
stories</h3></div><ul>[T3]</ul></div></div>
</div>{{{{<p>[S2]</p><p>[S3]</p><p>[S2]</p>}}}}</div></div></div>
<div class="asset-tagline text-muted"><p>Jo Park covers schools. Reach her at 555-0100.</p></div>
<div class="asset-tags"><h4>Tags</h4><ul>[L6]</ul></div><div class="recommended-stories"><h3>Recommended for
you</h3>[C4]
</div></div></div><div class="col-md-4"><div class="block tncms-block"><h3>Most popular</h3><ol>[T5]</ol></div>
<div class="block email-form"><h3>Get up-to-the-minute news</h3><p>[S2]</p></div></div></div></section>{FOOT}</div>
</body></html>""",
    "broadcaster story": f"""<html><head><title>[H] - News</title></head><body>
<div id="orb-banner" class="orb-nav-pri"><div class="orb-nav-section"><ul>[L7]</ul></div></div>
<div id="site-container"><div class="site-brand">[L9]</div><div class="column--primary"><div class="story-body">
<h1 class="story-body__h1">[H]</h1><div class="with-extracted-share-icons"><div class="share share--lightweight">
<h2>Share this with</h2><ul><li>Facebook</li><li>Messenger</li><li>Copy this link</li></ul></div></div>
<div class="story-body__inner" property="articleBody"><figure class="media-landscape full-width lead">
<span class="image-and-copyright-container"><img alt="[W]" src=i.jpg><span class="off-screen">Image copyright</span>
<span class="story-image-copyright">Getty Images</span></span><figcaption class="media-caption">
<span class="off-screen">Image caption</span><span class="media-caption__text">[S1]</span></figcaption></figure>
{{{{<p class="story-body__introduction">[S2]</p><p>[S1]</p><p>[S2]</p><p>[S1]</p>}}}}
<ul class="story-body__unordered-list"><li class="story-body__list-item"><a href=a
class="story-body__link">[H]</a></li>
<li class="story-body__list-item"><a href=b class="story-body__link">[H]</a></li></ul>
{{{{<h2 class="story-body__crosshead">[H]</h2><p>[S2]</p><p>[S1]</p><hr><p>[S2]</p><p>[S3]</p>}}}}</div></div>
<div class="share share--full"><h2>Share this story</h2></div><div id="topic-tags"><h2>Related
topics</h2><ul>[L4]</ul>
</div><div class="story-more"><div class="group"><h2 class="group__title">More on this story</h2>
<ul class="units-list">[T5]</ul></div></div></div><div class="column--secondary"><div id="comp-top-stories-promo">
<h2>Top Stories</h2><a href=x><h3>[H]</h3></a><p class="top-stories-promo-story__summary">[S1]</p><a href=y>
<h3>[H]</h3></a><p>[S1]</p></div><div class="features"><h2>Features</h2>[C5]</div><div class="most-read"><ol>[T9]</ol>
</div></div></div>{FOOT}</body></html>""",
    "paper with inline boxes": f"""<html><head><title>[H]</title></head><body>
<header class="l-header"><div class="nav">[L8]</div></header><article class="content content--article" role="main">
<div class="content__header"><h1 class="content__headline">[H]</h1><div class="content__standfirst"><p>[S1]</p></div>
<div class="content__meta-container"><p class="byline">[W] Smith</p><p class="content__dateline"><time>Tue</time></p>
<div class="meta__extras"><ul class="social social--top"><li><a>Share on Facebook</a></li></ul></div></div></div>
<div class="content__main-column content__main-column--article"><figure class="media-primary"><img src=a>
<figcaption class="caption caption--img">[S1] Photograph: Kim/Getty</figcaption></figure>
<div class="content__article-body from-content-api">{{{{<p>[S3]</p><p>[S2]</p>}}}}
<aside class="element element-rich-link"><div class="rich-link"><h2><a href=r>[H]</a></h2><div>Read more</div></div>
</aside>{{{{<p>[S3]</p><p>[S3]</p>}}}}<div class="ad-slot ad-slot--inline"
data-name="inline1"><p>Advertisement</p></div>
{{{{<p>[S2]</p><blockquote class="quoted"><p>[S2]</p></blockquote><p>[S3]</p>}}}}
<div class="contributions__epic"><h2>[H]</h2><p>Since you are here we have a small favour to ask.
[S4]</p><p>[S2]</p></div>
</div><div class="submeta"><span>Topics</span><ul class="submeta__links">[L5]</ul><div class="submeta__syndication">
<a href=z>Reuse this content</a></div></div></div></article><div class="fc-container" data-component="related">
<h2>More on this story</h2>[C4]</div><div class="discussion"><h2>Comments (211)</h2><div class="d-comment">
<div class="d-comment__body"><p>[S3]</p></div></div><div class="d-comment"><div
class="d-comment__body"><p>[S3]</p></div>
</div></div>{FOOT}</body></html>""",
    "tech blog with newsletter": f"""<html><head><title>[H]</title></head><body class="post-template single">
<div class="site-wrap">{NAV}<div class="l-main-container"><div class="l-main"><article class="article-container
article--post"><header class="article__title-wrapper"><h1 class="article__title">[H]</h1><div class="article__byline">
<a href=a>Lee Wu</a> @lee / 3 days</div></header><div class="article-content">{{{{<p
id="speakable-summary">[S2]</p><p>[S3]
</p>}}}}<div class="embed breakout embed--newsletter"><h4>[H]</h4><p>[S2] Sign up here.</p><form><input></form></div>
{{{{<p>[S3]</p><p>[S2]</p><p>[S3]</p><ul><li>[S1]</li><li>[S1]</li></ul><p>[S3]</p>}}}}
<div class="wp-block-tc-post-card"><p class="crunchboard"><a href=x>[H]</a></p></div></div>
<div class="article__contributor-info"><p>Lee Wu is a reporter. [S2]</p></div></article>
<div class="aside__newsletter"><p>[S2]</p></div>
<div class="river-block"><h2>Latest stories</h2>[C6]</div></div></div></div>{FOOT}</body></html>""",
    "short news note": f"""<html><head><title>[H]</title></head><body>{NAV}<div class="container"><div class="row">
<div class="col-8"><h1 class="title">[H]</h1><p class="info">03.05. | 12:40</p><div
class="news-detail-text">{{{{<p>[S2]</p>
<p>[S1]</p>}}}}</div><div class="more-news-block"><h3>More</h3>[C8]</div></div><div class="col-4"><div class="block">
<h4>[W]</h4><p>[S3]</p></div><div
class="block"><h4>[W]</h4><p>[S4]</p></div></div></div></div>{FOOT}</body></html>""",
    "article in many sections": f"""<html><head><title>[H]</title></head><body>{NAV}<div id="root"><div class="sc-1">
<h1>[H]</h1><div class="sc-2"><section class="sc-3">{{{{[P2]}}}}</section><section class="sc-4"><div class="sc-ad">
<span>Advertising</span></div></section><section class="sc-3">{{{{[P2]}}}}</section><section
class="sc-3">{{{{<h2>[H]</h2>
[P2]}}}}</section></div></div><div class="sc-9"><h4>Read next</h4><div>[C4]</div></div></div>{FOOT}</body></html>""",
    "paragraphs beside the chrome": """<html><head><title>[H]</title></head><body><div id="wrap"><div
id="top">[L9]</div>
<h1>[H]</h1><div class="date">May 3</div>{{[P7]}}<div
id="box"><b>Search</b><form><input></form><ul>[T6]</ul></div>
<div id="bottom">[L6]<br>[S1]</div></div></body></html>""",
    "press release": f"""<html><head><title>[H]</title></head><body>{NAV}<main><article class="news-release
inline-gallery-template">
<header class="container release-header"><h1>[H]</h1><div class="row detail-headline"><p class="mb-no">May 03,
08:00 ET
</p></div></header><section class="release-body container"><div class="row"><div
class="col-lg-10">{{{{<p>[S2]</p><p>[S3]</p>
<p><b>[H]</b></p><p>[S3]</p><ul><li>[S1]</li><li>[S1]</li></ul><p>[S2]</p><p>SOURCE [W]
Works</p>}}}}</div></div></section>
<section class="container related-links"><h2>Related Links</h2><p><a href=h>http://works.example</a></p></section>
<section class="also-from"><h2>Also from this source</h2>[C3]</section></article></main>{FOOT}</body></html>""",
    "magazine with drop caps and pull quotes": f"""<html><head><title>[H]</title></head><body><div
id="piano-nav">[L9]</div>
<div class="l-article"><div class="c-article-header"><h1>[H]</h1><p class="c-dek">[S1]</p><p class="c-byline">Ada
Roe</p>
</div><section class="l-article__section s-cms-content" id="article-section-1">{{{{<p
class="dropcap">[S4]</p><p>[S4]</p>}}}}
<aside class="pullquote instapaper_ignore">[S1]</aside>{{{{<p>[S3]</p><p>[S5]</p>}}}}<p
id="injected-recirculation-link-0"
class="c-recirculation-link"><a href=q>Read: [H]</a></p>{{{{<p>[S4]</p><p>[S3]</p>}}}}</section>
<div class="c-letters-cta"><p>We want to hear what you think. [S1]</p></div>
<div class="c-author-bio"><a href=b>Ada Roe</a> is a staff writer. [S1]</div></div><div class="l-popular"><h2>Most
popular
</h2>[C6]</div>{FOOT}</body></html>""",
    "medium story": """<html><head><title>[H] | by Al | Stories</title></head><body><div id="root"><div class="a b c">
<nav class="d e"><a href=/>Stories</a><a href=s>Sign in</a></nav><main class="f"><article><div class="g
h"><section><div>
<div class="i j"><h1 id="55aa" class="k l">[H]</h1><div class="m"><div class="n"><a href=al>Al</a><p class="o
p">Follow</p>
</div><div><span>6 min read</span><span>May 3</span></div></div><div
class="q"><button>Listen</button><button>Share</button>
</div>{{<p id="a1" class="pw-post-body-paragraph r s">[S4]</p><figure class="t"><img src=1></figure><p id="a2"
class="pw-post-body-paragraph r s">[S4]</p><h2 id="a3" class="u">[H]</h2><p id="a4"
class="pw-post-body-paragraph">[S5]</p>
<ul><li id="a5">[S1]</li><li id="a6">[S1]</li></ul><p id="a7">[S4]</p>}}</div></div></section></div></article>
<div class="v w"><div class="tags">[L5]</div><div class="x"><h2>Written by Al</h2><p>[S1]</p></div><div
class="y"><h2>More
from Al</h2>[C4]</div><div class="y"><h2>Recommended from Stories</h2>[C6]</div></div></main>
</div></div></body></html>""",
    "substack post": """<html><head><title>[H]</title></head><body><div id="entry"><div id="main" class="main
typography
use-theme-bg"><div class="main-menu">[L4]</div><div class="single-post-container"><div class="container"><div
class="single-post">
<article class="typography newsletter-post post"><div role="region" class="post-header"><h1
class="post-title">[H]</h1>
<h3 class="subtitle">[S1]</h3></div><div class="available-content"><div dir="auto" class="body
markup">{{<p>[S4]</p><p>[S3]
</p>}}<div class="subscription-widget-wrap"><div
class="preamble"><p>[S2]</p></div><form><input></form></div>{{<p>[S4]</p>
<h2 class="header-anchor-post">[H]</h2><p>[S4]</p><p>[S2]</p>}}</div></div></article></div></div></div>
<div id="discussion" class="container"><h4>Discussion about this post</h4><div class="comment-list"><div
class="comment">
<p>[S3]</p></div><div class="comment"><p>[S2]</p></div></div></div></div></div></body></html>""",
    "ghost blog": f"""<html><head><title>[H]</title></head><body class="post-template tag-news"><div class="viewport">
<header id="gh-head" class="gh-head">[L5]</header><div class="site-content"><main id="site-main" class="site-main">
<article class="article post tag-news featured"><header class="article-header gh-canvas"><h1
class="article-title">[H]</h1>
<div class="article-byline"><h4 class="author-name">Kim</h4><time>May</time></div></header>
<section class="gh-content gh-canvas">{{{{[P3]<h2 id="x">[H]</h2>[P3]}}}}</section></article></main>
<section class="footer-cta outer"><div class="inner"><h2>Sign up for more</h2><p>[S1]</p></div></section>
<aside class="read-more-wrap outer"><div class="read-more
inner">[C3]</div></aside></div>{FOOT}</div></body></html>""",
    "divi page": """<html><head><title>[H]</title></head><body class="post-template-default single
et_pb_pagebuilder_layout
et_right_sidebar"><div id="page-container"><header id="main-header"><div id="et-top-navigation">[L7]</div></header>
<div id="et-main-area"><div id="main-content"><div class="container"><div id="content-area" class="clearfix">
<div id="left-area"><article id="post-9" class="et_pb_post post-9 post hentry"><div class="et_post_meta_wrapper">
<h1 class="entry-title">[H]</h1><p class="post-meta">by <a>Al</a> | May 3 | <a>News</a> | 0 comments</p></div>
<div class="entry-content"><div id="et-boc" class="et-boc"><div class="et_builder_inner_content et_pb_gutters3">
<div class="et_pb_section et_pb_section_0"><div class="et_pb_row"><div class="et_pb_column et_pb_column_4_4"><div
class="et_pb_module et_pb_text"><div class="et_pb_text_inner">{{[P4]}}</div></div><div class="et_pb_module
et_pb_text et_pb_text_1 et_pb_text_align_left"><div
class="et_pb_text_inner">{{<h2>[H]</h2>[P3]}}</div></div></div></div>
</div></div></div></div><div class="et_post_meta_wrapper"><section id="comment-wrap"><h1 id="comments">0 Comments</h1>
<div id="respond" class="comment-respond"><h3>Submit a Comment</h3><p>Your email address will not be
published.</p></div>
</section></div></article></div><div id="sidebar"><div
class="et_pb_widget"><h4>Recent</h4><ul>[T5]</ul></div></div></div>
</div></div></div></div></body></html>""",
    "squarespace page": f"""<html><head><title>[H]</title></head><body id="collection-1"
class="transparent-header-sidebar
page-borders-none"><div id="siteWrapper"><header id="header">[L5]</header><main id="page"><section id="content"
class="main-content" data-content-field="main-content"><div class="sqs-layout sqs-grid-12 columns-12"><div
class="row sqs-row">
<div class="col sqs-col-12 span-12"><div class="sqs-block html-block sqs-block-html"><div
class="sqs-block-content">{{{{<h1>[H]
</h1><p>[S4]</p><p>[S3]</p>}}}}</div></div><div class="sqs-block image-block"><img src=a></div><div class="sqs-block
html-block"><div class="sqs-block-content">{{{{<h3>[H]</h3><p>[S3]</p><p>[S2]</p>}}}}</div></div><div class="sqs-block
newsletter-block"><p>Subscribe</p><p>Sign up with your address to receive
news.</p></div></div></div></div></section></main>
{FOOT}</div></body></html>""",
    "faq with folded answers": f"""<html><head><title>FAQ</title></head><body>{NAV}<div
class="page-content"><h1>{{{{[H]}}}}
</h1><div class="accordion">{{{{<div class="accordion-item"><h3 class="accordion-header"><button>[H]?</button></h3>
<div class="accordion-collapse collapse" style="display:none"><p>[S3]</p></div></div><div class="accordion-item">
<h3 class="accordion-header"><button>[H]?</button></h3><div class="accordion-collapse collapse"
style="display:none"><p>[S3]
</p></div></div><div class="accordion-item"><h3 class="accordion-header"><button>[H]?</button></h3><div
class="accordion-collapse collapse" aria-hidden="true"><p>[S4]</p></div></div>}}}}</div></div>{FOOT}</body></html>""",
    "service page of sections": f"""<html><head><title>[H]</title></head><body><header
class="site-header">{NAV}</header>
<section class="hero banner"><div class="container">{{{{<h1>[H]</h1><p>[S2]</p>}}}}<a class="btn" href=c>Book
now</a></div>
</section><section class="features"><div class="container">{{{{<h2>[H]</h2><div class="row"><div class="col
card"><h3>[H]</h3>
<p>[S2]</p></div><div class="col card"><h3>[H]</h3><p>[S2]</p></div><div class="col
card"><h3>[H]</h3><p>[S2]</p></div></div>}}}}
</div></section><section
class="testimonials">{{{{<blockquote>[S2]</blockquote><blockquote>[S2]</blockquote>}}}}</section>
<section class="pricing">{{{{<h2>[H]</h2><p>[S2]</p><ul><li>[S1]</li><li>[S1]</li></ul>}}}}</section>{FOOT}
</body></html>""",
    "elementor landing": """<html><head><title>[H]</title></head><body class="page elementor-default
elementor-page"><div
data-elementor-type="header" class="elementor elementor-location-header">[L6]</div><div data-elementor-type="wp-page"
class="elementor elementor-22"><section class="elementor-section elementor-top-section"><div
class="elementor-container">
<div class="elementor-column"><div class="elementor-widget-wrap"><div class="elementor-element elementor-widget
elementor-widget-heading"><div class="elementor-widget-container">{{<h1
class="elementor-heading-title">[H]</h1>}}</div></div>
<div class="elementor-element elementor-widget elementor-widget-text-editor"><div
class="elementor-widget-container">{{<p>[S4]
</p><p>[S3]</p>}}</div></div></div></div></div></section><section class="elementor-section"><div
class="elementor-column">
<div class="elementor-element elementor-widget elementor-widget-icon-box"><div
class="elementor-widget-container">{{<h3>[H]</h3>
<p>[S2]</p>}}</div></div><div class="elementor-element elementor-widget elementor-widget-icon-box"><div
class="elementor-widget-container">{{<h3>[H]</h3><p>[S2]</p>}}</div></div></div></section></div><div
data-elementor-type="footer" class="elementor elementor-location-footer"><p>[S2]</p>[L6]</div></body></html>""",
    "woocommerce product": f"""<html><head><title>[H]</title></head><body class="product-template-default
single-product
woocommerce"><div id="page">{NAV}<nav class="woocommerce-breadcrumb">[L3]</nav><main><div id="product-5"
class="product
type-product"><div class="woocommerce-product-gallery"><img></div><div class="summary entry-summary">{{{{<h1
class="product_title entry-title">[H]</h1><p class="price">$19.00</p><div
class="woocommerce-product-details__short-description"><p>
[S2]</p></div>}}}}<form class="cart"><button>Add to cart</button></form><div class="product_meta">SKU: 8 Category:
[L2]</div></div>
<div class="woocommerce-tabs wc-tabs-wrapper"><ul class="tabs wc-tabs"><li><a href=#d>Description</a></li><li><a
href=#r>Reviews
(2)</a></li></ul><div class="woocommerce-Tabs-panel panel entry-content wc-tab"
id="tab-description">{{{{<h2>Description</h2><p>
[S4]</p><p>[S3]</p>}}}}</div><div class="woocommerce-Tabs-panel"
id="tab-additional_information">{{{{<table><tr><th>Weight</th>
<td>2 kg</td></tr><tr><th>Size</th><td>12 by 30 by 4 cm</td></tr></table>}}}}</div></div><section class="related
products">
<h2>Related products</h2><ul class="products">[T4]</ul></section></div></main>{FOOT}</div></body></html>""",
    "shop category": f"""<html><head><title>[W]</title></head><body>{NAV}<div class="page-wrapper"><div
class="sidebar filters">
<h3>Filter</h3><ul>[L9]</ul><h3>Price</h3><ul>[L4]</ul></div><main id="maincontent"><h1
class="page-title">{{{{[W]}}}}</h1>
<div class="toolbar"><p>Items 1-6 of 40</p><select><option>Position</option></select></div><ol class="products list
items
product-items">{{{{<li class="item product product-item"><div class="product-item-info"><strong><a
href=1>[H]</a></strong><span
class="price">$4.00</span><p>[S1]</p></div></li><li class="item product product-item"><div
class="product-item-info"><strong>
<a href=2>[H]</a></strong><span class="price">$5.00</span><p>[S1]</p></div></li><li class="item product
product-item"><div
class="product-item-info"><strong><a href=3>[H]</a></strong><span class="price">$6.00</span><p>[S1]</p></div></li><li
class="item product product-item"><div class="product-item-info"><strong><a href=4>[H]</a></strong><span
class="price">$7.00
</span><p>[S1]</p></div></li>}}}}</ol><div class="pages"><ul
class="pagination">[L4]</ul></div></main></div>{FOOT}</body></html>""",
    "blog archive": f"""<html><head><title>[W]</title></head><body class="archive category">{NAV}<div
id="content"><main><header
class="page-header"><h1>{{{{[W]}}}}</h1></header>{{{{<article class="post"><h2><a href=1>[H]</a></h2><div
class="entry-summary"><p>
[S2]</p></div></article><article class="post"><h2><a href=2>[H]</a></h2><div
class="entry-summary"><p>[S3]</p></div></article>
<article class="post"><h2><a href=3>[H]</a></h2><div class="entry-summary"><p>[S2]</p></div></article><article
class="post">
<h2><a href=4>[H]</a></h2><div class="entry-summary"><p>[S3]</p></div></article>}}}}<nav
class="pagination">[L4]</nav></main>
{SIDE}</div>{FOOT}</body></html>""",
    "phpbb topic": """<html><head><title>[H] - Board</title></head><body id="phpbb" class="section-viewtopic"><div
id="wrap">
<div id="page-header"><ul class="linklist navlinks">[L4]</ul></div><div id="page-body"><h2 class="topic-title"><a
href=t>[H]</a>
</h2><div class="action-bar top"><a href=r>Post a reply</a><div class="pagination">4 posts</div></div>
<div id="p1" class="post bg2"><div class="inner"><dl class="postprofile"><dt><a href=u>ann</a></dt><dd>Posts:
12</dd><dd>Joined:
May</dd></dl><div class="postbody"><h3><a href=#p1>[H]</a></h3><p class="author">by ann » May 3</p><div
class="content">{{[S4]
<br><br>[S3]}}</div><div class="signature">[S1]</div></div></div></div><div id="p2" class="post bg1"><div
class="inner">
<dl class="postprofile"><dt><a>bob</a></dt><dd>Posts: 9</dd></dl><div class="postbody"><h3><a href=#p2>Re:
[W]</a></h3><p
class="author">by bob » May 4</p><div class="content">{{[S3]}}</div></div></div></div><div id="p3" class="post
bg2"><div class="inner">
<dl class="postprofile"><dt><a>cy</a></dt><dd>Posts: 1</dd></dl><div class="postbody"><p class="author">by cy</p><div
class="content">{{<blockquote><div><cite>bob wrote:</cite>[S1]</div></blockquote>[S4]}}</div></div></div></div></div>
<div id="page-footer">[L4] Powered by board software</div></div></body></html>""",
    "vbulletin thread": """<html><head><title>[H]</title></head><body><div class="above_body"><div
id="header">[L6]</div></div>
<div class="body_wrapper"><div id="breadcrumb" class="breadcrumb">[L3]</div><div id="postlist" class="postlist"><ol
id="posts"
class="posts"><li class="postbitlegacy postbitim postcontainer"><div class="posthead"><span class="date">May
3</span></div>
<div class="postdetails"><div class="userinfo"><a>ann</a><dl
class="userinfo_extra"><dt>Posts</dt><dd>40</dd></dl></div><div
class="postbody"><div class="postrow"><h2 class="title">[H]</h2><div class="content"><blockquote class="postcontent
restore">{{[S5]}}
</blockquote></div></div></div></div><div class="postfoot"><a href=r>Reply With Quote</a></div></li><li
class="postbitlegacy
postcontainer"><div class="posthead">May 4</div><div class="postdetails"><div class="userinfo"><a>bob</a></div><div
class="postbody">
<div class="content"><blockquote class="postcontent restore">{{[S4]}}</blockquote></div></div></div><div
class="postfoot"><a>Reply
With Quote</a></div></li></ol></div><div class="navpopupmenu">[L5]</div></div><div
class="below_body">[S1]</div></body></html>""",
    "reddit old": """<html><head><title>[H] : boats</title></head><body class="listing-page comments-page"><div
id="header">[L8]
</div><div class="side"><div class="spacer"><div class="md"><p>[S3]</p><ol><li>[S1]</li></ol></div></div></div><div
class="content"
role="main"><div id="siteTable" class="sitetable linklisting"><div class="thing link self"><p class="title"><a
href=s>[H]</a></p>
<p class="tagline">submitted by ann</p><div class="expando"><form class="usertext"><div class="usertext-body"><div
class="md">{{<p>
[S5]</p><p>[S4]</p>}}</div></div></form></div></div></div><div class="commentarea"><div class="sitetable
nestedlisting"><div
class="thing comment"><p class="tagline"><a>bob</a> 4 points</p><form class="usertext"><div
class="usertext-body"><div class="md">{{
<p>[S4]</p>}}</div></div></form><div class="child"><div class="thing comment"><p class="tagline">cy</p><form
class="usertext"><div
class="usertext-body"><div
class="md">{{<p>[S3]</p>}}</div></div></form></div></div></div></div></div></div></body></html>""",
    "nabble style table forum": """<html><head><title>[H]</title></head><body><table width=100%><tr><td
class=menu>[L6]</td></tr></table>
<table class="forumline" width="100%"><tr><th>Author</th><th>Message</th></tr><tr><td class="row1" width=150><span
class="name"><b>ann
</b></span><br><span class="postdetails">Joined: May<br>Posts: 3</span></td><td class="row1"><span
class="postbody">{{[S5]}}</span>
</td></tr><tr><td class="row2"><span class="name"><b>bob</b></span><br><span class="postdetails">Posts:
7</span></td><td class="row2">
<span class="postbody">{{[S4]<br>[S2]}}</span></td></tr></table><div class="copyright">Powered by
boards</div></body></html>""",
    "stack question": f"""<html><head><title>[H]</title></head><body class="question-page"><header
class="s-topbar">[L5]</header><div
class="container"><div id="left-sidebar">[L6]</div><div id="content"><div
id="question-header"><h1>{{{{[H]}}}}</h1></div><div id="mainbar"
role="main"><div class="question" id="question"><div class="post-layout"><div class="votecell">12</div><div
class="postcell"><div
class="s-prose js-post-body">{{{{<p>[S3]</p><pre><code>for x in rows:
    print(x)</code></pre><p>[S2]</p>}}}}</div><div class="post-taglist">[L3]</div><div
class="post-signature"><a>ann</a> 12 gold</div>
</div></div></div><div id="answers"><h2>1 Answer</h2><div class="answer accepted-answer"><div
class="post-layout"><div class="votecell">
7</div><div class="answercell"><div class="s-prose js-post-body">{{{{<p>[S4]</p><p>[S2]</p>}}}}</div><div
class="post-signature">bob
</div></div><div class="comments"><ul class="comments-list"><li
class="comment">[S1]</li></ul></div></div></div></div></div><div
id="sidebar" class="show-votes"><div class="module
sidebar-related"><h4>Related</h4>[T8]</div></div></div></div>{FOOT}</body></html>""",
    "mkdocs page": """<html><head><title>[H]</title></head><body><header class="md-header">[L4]</header><div
class="md-container">
<main class="md-main"><div class="md-main__inner md-grid"><div class="md-sidebar md-sidebar--primary"><nav
class="md-nav">[L9]</nav></div>
<div class="md-sidebar md-sidebar--secondary"><nav class="md-nav">[L5]</nav></div><div class="md-content"><article
class="md-content__inner md-typeset"><a href=e class="md-content__button md-icon">Edit</a>{{<h1
id=a>[H]</h1><p>[S3]</p><div
class="admonition note"><p class="admonition-title">Note</p><p>[S2]</p></div><h2 id=b>[H]</h2><p>[S2]</p><div
class="highlight"><pre>
<code>pip install boats
boats --help</code></pre></div><table><tr><th>Name</th><th>Meaning of
it</th></tr><tr><td>depth</td><td>[S1]</td></tr></table><p>[S3]
</p>}}</article></div></div></main><footer class="md-footer"><nav>[L2]</nav></footer></div></body></html>""",
    "javadoc": """<html><head><title>Boat</title></head><body class="class-declaration-page"><header
role="banner"><nav
role="navigation"><div class="top-nav">[L8]</div><div class="sub-nav">[L4]</div></nav></header><div
class="flex-content"><main
role="main"><div class="header"><h1 class="title">{{Class Boat}}</h1></div>{{<section class="class-description"><div
class="type-signature"><span class="modifiers">public class </span>Boat</div><div
class="block">[S4]</div></section><section
class="summary"><ul class="summary-list"><li><section class="method-summary"><h2>Method Summary</h2><div
class="summary-table"><div
class="col-first">void</div><div class="col-second"><code><a href=#s>sail</a>()</code></div><div
class="col-last"><div class="block">[S1]
</div></div></div></section></li></ul></section><section class="details"><h2>Method Details</h2><section
class="detail" id="sail"><h3>
sail</h3><div class="member-signature">public void sail()</div><div
class="block">[S3]</div></section></section>}}</main></div></body>
</html>""",
    "wikipedia": """<html class="client-nojs"><head><title>[W] - Wiki</title></head><body class="skin-vector
mediawiki ltr
sitedir-ltr ns-0 action-view"><div id="mw-page-base" class="noprint"></div><div id="content" class="mw-body"
role="main"><h1
id="firstHeading" class="firstHeading">{{[W]}}</h1><div id="bodyContent" class="vector-body"><div id="siteSub"
class="noprint">From Wiki
</div><div id="mw-content-text" class="mw-body-content"><div class="mw-parser-output"><table class="infobox
vcard"><tr><th>Place</th>
<td>[W]</td></tr></table>{{<p>[S4]</p><p>[S4]</p>}}<div id="toc" class="toc"
role="navigation"><h2>Contents</h2><ul>[L5]</ul></div>
<h2><span class="mw-headline" id="A">{{[H]}}</span><span
class="mw-editsection">[edit]</span></h2>{{<p>[S5]</p><ul><li>[S1]</li><li>
[S1]</li></ul><p>[S4]</p>}}<div role="navigation"
class="navbox"><table><tr><td>[L12]</td></tr></table></div></div></div><div
id="catlinks" class="catlinks">[L4]</div></div></div><div id="mw-navigation"><div id="p-personal">[L4]</div><div
id="mw-panel">[L9]
</div></div><footer id="footer" class="mw-footer">[S1]</footer></body></html>""",
    "github readme": f"""<html><head><title>boats</title></head><body class="logged-out"><div
class="position-relative"><header
class="Header-old">[L6]</header></div><div class="application-main"><main id="js-repo-pjax-container"><div
class="pagehead">[L6]</div>
<div class="Layout Layout--sidebarPosition-end"><div class="Layout-main"><div class="Box mb-3"><div
class="Details-content--hidden-not-important"
>[L9]</div></div><div id="readme" class="Box"><article class="markdown-body entry-content container-lg"
itemprop="text">{{{{<h1>[W]</h1>
<p>[S3]</p><h2>[H]</h2><p>[S2]</p><pre>make
boats</pre><ul><li>[S1]</li><li>[S1]</li></ul><p>[S3]</p>}}}}</article></div></div><div
class="Layout-sidebar"><h2>About</h2><p>[S1]</p><h2>Releases</h2>[L3]</div></div></main></div>{FOOT}</body></html>""",
    "old table news": """<html><head><title>[H]</title></head><body bgcolor=white><table width=760><tr><td
colspan=3>[L8]</td></tr><tr>
<td width=150 valign=top><font size=1>[L6]<br>[S2]</font></td><td width=450><font size=4><b>[H]</b></font><br><font
size=1>May 3</font>
<br><br><font face=arial size=2>{{[S4]<br><br>[S4]<br><br>[S5]<br><br>[S3]}}</font></td><td
width=160><table><tr><td>[T4]</td></tr><tr><td>
[S2]</td></tr></table></td></tr></table><center><font size=1>[S1]</font></center></body></html>""",
    "article split over containers": f"""<html><head><title>[H]</title></head><body>{NAV}<main class="main"><div
class="wysiwyg-1
field-text">{{{{[P3]}}}}</div><div class="promo-banner"><p>[S1]</p></div><div class="wysiwyg-2
field-text">{{{{<h2>[H]</h2>[P3]}}}}</div>
<div class="newsletter-signup"><h3>Stay informed</h3><p>[S2]</p></div><div
class="field-text">{{{{[P2]}}}}</div><div class="listing"><h3>
More from us</h3>[C3]</div></main>{FOOT}</body></html>""",
    "german paper": """<html lang=de><head><title>Brücke gesperrt</title></head><body><header
class="page-header"><ul><li><a href=1>Politik</a>
<li><a href=2>Wirtschaft</a><li><a href=3>Sport</a></ul></header><main><article class="article"><h1
class="article__headline">Brücke
gesperrt</h1><p class="article__date">3. Mai, 12:40 Uhr</p><div class="article-toolbar">Drucken Teilen</div><div
class="article__content">
{{<p>Die Brücke über den Fluss bleibt nach dem Hochwasser der vergangenen Woche bis auf Weiteres gesperrt, wie die
Stadt mitteilte.</p><p>
Fachleute prüfen nun die Pfeiler, die das Treibgut beschädigt haben könnte; mit einem Ergebnis wird am Montag
gerechnet.</p>}}<div
class="teaser-box">Lesen Sie auch: <a href=x>Die schönsten Brücken des Landes im Vergleich</a></div>{{<p>Bis dahin
müssen Pendler einen
Umweg über das Nachbardorf nehmen, der etwa zwanzig Minuten dauert.</p><p>Der Bürgermeister bat um Geduld und
dankte den Helfern, die in der
Nacht Sandsäcke gefüllt hatten.</p>}}</div><div class="article-footer__keywords"><a href=k>Hochwasser</a> <a
href=l>Verkehr</a></div></article>
<section class="leserkommentare"><h3>Kommentare</h3><p>Das war zu erwarten, denn die Pfeiler sind seit Jahren in
schlechtem Zustand.</p>
</section><section class="teaser-list"><h3>Mehr zum Thema</h3><a href=a>Pegel sinken nur langsam nach dem
Regen</a><p>Am Wochenende soll es
trocken bleiben, sagen die Meteorologen voraus.</p></section></main><footer>Impressum Datenschutz Alle Rechte
vorbehalten</footer></body>
</html>""",
    "french blog": """<html lang=fr><head><title>Le marché</title></head><body><div id=menu><ul><li><a
href=1>Accueil</a><li><a href=2>Voyages</a>
</ul></div><div id=contenu><div class=billet><h2>Le marché du samedi</h2><p class=info-date>Publié le 3 mai par
Zoé</p><div
class="texte-article">{{<p>Le samedi matin, la place se couvre de tréteaux et les producteurs de la vallée y
vendent leurs légumes jusqu'à
midi.</p><p>On y trouve des fromages que l'on ne voit nulle part ailleurs, et le boulanger apporte un pain de
seigle encore chaud.</p><p>Les
enfants, eux, attendent le marchand de gaufres, qui arrive toujours en retard.</p>}}</div><div
class=partager>Partager cet article</div>
<div id=commentaires class=commentaires><h3>2 commentaires</h3><p>Quelle belle description, cela donne envie de
venir passer un week-end
chez vous !</p><p>Merci pour ce billet, le boulanger est mon voisin et son pain est
excellent.</p></div></div></div><div id=colonne><h3>À
propos</h3><p>Je suis une grand-mère curieuse qui aime raconter ce qu'elle voit autour d'elle.</p></div><div
id=pied>Mentions légales</div>
</body></html>""",
    "japanese post": """<html lang=ja><head><title>庭の話</title></head><body><div class="globalNavi"><a
href=1>ホーム</a><a href=2>記事一覧</a></div><div
class="skin-columnA"><div class="skinMain"><article class="js-entryWrapper"><h1>庭の話</h1><div id="entryBody"
class="articleText">{{今朝、庭に出ると
梅の花が一輪だけ咲いていました。冬のあいだずっと待っていたので、とても嬉しく思いました。<br><br>祖母はこの木を五十年前に植えたそうです。幹は太くなり、枝は隣の家の塀を
越えています。<br>}}</div><div class="articleDetailArea">テーマ：ブログ</div></article></div><div
class="skinSub"><h2>最新の記事</h2><ul><li><a href=a>冬の朝の
散歩について書きました</a></li><li><a
href=b>新しい茶碗を買いました</a></li></ul><p>プロフィール：田舎で暮らしながら、毎日の小さな出来事を書いています。</p></div></div></body>
</html>""",
    "news behind cookie text": f"""<html><head><title>[H]</title></head><body><div class="qc-cmp2-container"
id="qc-cmp2-container"><p>We value
your privacy. [S4]</p><p>[S4]</p></div><div id="onetrust-consent-sdk"><p>[S5]</p></div>{NAV}<div
class="article-page"><h1>[H]</h1><div
class="article-paragraphs">{{{{[P3]}}}}</div><div class="poll-module"><p>[S1]</p></div></div>{FOOT}</body></html>""",
    "gallery story with captions": f"""<html><head><title>[H]</title></head><body>{NAV}<article
class="story"><h1>[H]</h1><div class="story-text">
{{{{<p>[S3]</p><p>[S3]</p>}}}}<figure class="image"><img><figcaption>[S1] (Photo:
Kim)</figcaption></figure>{{{{<p>[S3]</p><p>[S2]</p>}}}}
<div class="wp-caption alignright"><img><p class="wp-caption-text">[S1]</p></div>{{{{<p>[S4]</p>}}}}<div
class="image-caption">[S1]</div>
{{{{<p>[S3]</p>}}}}</div></article>{FOOT}</body></html>""",
    "mail paper": """<html><head><title>[H]</title></head><body><div id="page-container" class="article"><div
class="masthead">[L9]</div><div
id="content" class="content"><div class="articleWide cleared"><div class="alpha"><div id="js-article-text"
class="article-text wide heading-tag-switch">
<h1>[H]</h1><ul class="mol-bullets-with-font">{{<li><strong>[S1]</strong></li><li><strong>[S1]</strong></li>
<li><strong>[S1]</strong></li>}}
</ul><p class="author-section byline-plain">By Jo Roe</p><p class="byline-section"><span>Published:</span> 12:40, 3
May</p><div
itemprop="articleBody">{{<p class="mol-para-with-font">[S1]</p><p class="mol-para-with-font">[S2]</p>}}<div
class="artSplitter
mol-img-group"><p class="imageCaption">[S1]</p></div>{{<p class="mol-para-with-font">[S2]</p><p
class="mol-para-with-font">[S3]</p>}}<div
class="mol-factbox news"><h3 class="mol-factbox-title">[H]</h3><div class="ins cleared"><p>[S4]</p></div></div>{{<p
class="mol-para-with-font">[S2]</p>}}</div><div class="related-carousel"><ul>[T5]</ul></div></div><div
id="reader-comments"
class="reader-comments"><h3>Comments 20</h3><p>[S2]</p><p>[S3]</p></div></div><div
class="beta">[C9]</div></div></div></div></body></html>""",
    "two languages of comments": f"""<html><head><title>[H]</title></head><body>{NAV}<div
class="post-wrap"><h1>[H]</h1><div class="the-content">
{{{{[P4]}}}}</div><div class="fb-comments-wrap"><div class="cmt"><b>ann</b><p>[S3]</p></div></div><section
class="responses"><h3>4
responses</h3><div class="comment-item"><p>[S4]</p></div><div class="comment-item"><p>[S4]</p></div><div
class="comment-item"><p>[S3]</p></div>
</section></div>{FOOT}</body></html>""",
    "author box and disclaimer": f"""<html><head><title>[H]</title></head><body>{NAV}<div class="td-container"><div
class="td-pb-row"><div
class="td-pb-span8 td-main-content" role="main"><div class="td-ss-main-content"><article class="post hentry"
itemscope><div class="td-post-header">
<ul class="td-category"><li>[L1]</li></ul><h1 class="entry-title">[H]</h1><div class="td-module-meta-info"><div
class="td-post-author-name">By Al
</div></div></div><div class="td-post-sharing-top">Share on Facebook Tweet on Twitter</div><div
class="td-post-content"><div
class="td-post-featured-image"><figure><img><figcaption
class="wp-caption-text">[S1]</figcaption></figure></div>{{{{[P4]}}}}<div class="td-a-rec
td-a-rec-id-content_inline"><p>- Advertisement -</p></div>{{{{[P3]}}}}</div><footer><div
class="td-post-source-tags"><ul>[L5]</ul></div><div
class="td-post-next-prev">[T2]</div><div class="author-box-wrap"><img><div class="desc"><div
class="td-author-name">Al</div><div
class="td-author-description">[S3]</div></div></div></footer></article><div class="td_block_wrap
td_block_related_posts"><h4>RELATED
ARTICLES</h4>[C3]</div><div class="comments" id="comments"><p>[S3]</p></div></div></div><div class="td-pb-span4
td-main-sidebar">
<aside class="td_block_template_1 widget">[C4]</aside></div></div></div>{FOOT}</body></html>""",
}


# Kinds of pages; all that is not named here is an article.
KINDS = {
    "forum": (
        *("forum", "discourse", "questions and answers", "only comments", "mailing list", "phpbb topic"),
        *("vbulletin thread", "reddit old", "nabble style table forum", "stack question"),
    ),
    "documentation": (
        *("documentation", "docs site of today", "wiki", "mkdocs page", "javadoc", "wikipedia", "github readme"),
        "table of data",
    ),
    "product": ("shop", "woocommerce product"),
    "listing": ("blog home", "index of links", "gallery", "shop category", "blog archive"),
    "service": (
        *("landing page", "tailwind", "elementor widgets", "elementor landing", "squarespace page", "government"),
        *("service page of sections", "faq with folded answers", "job advert", "asp.net form around all"),
    ),
    "other languages": ("chinese news", "german paper", "french blog", "japanese post"),
}
_KIND_OF = {name: kind for kind, names in KINDS.items() for name in names}
_NAMES = re.compile(r"\s(?:class|id|itemprop|property|data-[\w-]+|role)=(?:\"[^\"]*\"|[^\s>]+)")


@dataclass(frozen=True)
class AnnotatedPage:
    """A page: its name, its HTML, its main text in one line, and its kind."""

    name: str
    html: str
    text: str
    kind: str = "article"

    def without_names(self, seed: int = 0) -> AnnotatedPage:
        """Return the page with a class that says nothing in place of each class, id and role."""
        pick, known = random.Random(f"{self.name} {seed}"), dict[str, str]()
        html = _NAMES.sub(lambda found: known.setdefault(found[0], f' class="c{pick.getrandbits(20):x}"'), self.html)
        return AnnotatedPage(self.name, html, self.text, self.kind)


def annotated_pages(variants: int = 2, seed: int = 0) -> Iterator[AnnotatedPage]:
    """Make the pages: each template, filled with different words."""
    for number, (name, template) in enumerate(TEMPLATES.items()):
        for variant in range(variants):
            words = Words(seed + 1000 * number + variant)
            filled = re.sub(r"\[([PSTLHCW])(\d*)\]", lambda mark, words=words: _fill(words, mark), template)
            wanted = " ".join(re.findall(r"\{\{(.*?)\}\}", filled, re.DOTALL))
            text = unescape(re.sub(r"<[^>]*>", " ", re.sub(r"</?(?:b|a|i|span)\b[^>]*>", "", wanted)))
            html = filled.replace("{{", "").replace("}}", "")
            yield AnnotatedPage(f"{name} {variant}", html, " ".join(text.split()), _KIND_OF.get(name, "article"))


def _fill(words: Words, mark: re.Match[str]) -> str:
    n = int(mark[2] or 1)
    if mark[1] == "P":
        return words.paragraphs(n)
    if mark[1] == "S":
        return words.text(n)
    if mark[1] == "C":
        return words.teasers(n)
    if mark[1] in "TL":
        return words.links(n, titles=mark[1] == "T")
    return words.title() if mark[1] == "H" else words.word()


def shingle_f1(wanted: str, found: str, n: int = 4) -> tuple[float, float, float]:
    """Compare two texts by the multisets of their word n-grams.

    Returns:
        Precision, recall and F1, 0 to 1.
    """

    def shingles(text: str) -> Counter[tuple[str, ...]]:
        words = re.findall(r"[\u3400-\u9fff]|\w+", text)
        return Counter(zip(*[words[i:] for i in range(min(n, max(len(words), 1)))], strict=False))

    a, b = shingles(wanted), shingles(found)
    both = sum((a & b).values())
    precision = both / sum(b.values()) if b else float(not a)
    recall = both / sum(a.values()) if a else 1.0
    return precision, recall, 2 * precision * recall / (precision + recall) if both else float(not a and not b)
