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


@dataclass(frozen=True)
class AnnotatedPage:
    """A page: its name, its HTML, and its main text in one line."""

    name: str
    html: str
    text: str


def annotated_pages(variants: int = 2, seed: int = 0) -> Iterator[AnnotatedPage]:
    """Make the pages: each template, filled with different words."""
    for number, (name, template) in enumerate(TEMPLATES.items()):
        for variant in range(variants):
            words = Words(seed + 1000 * number + variant)
            filled = re.sub(r"\[([PSTLHCW])(\d*)\]", lambda mark, words=words: _fill(words, mark), template)
            wanted = " ".join(re.findall(r"\{\{(.*?)\}\}", filled, re.DOTALL))
            text = unescape(re.sub(r"<[^>]*>", " ", re.sub(r"</?(?:b|a|i|span)\b[^>]*>", "", wanted)))
            yield AnnotatedPage(f"{name} {variant}", filled.replace("{{", "").replace("}}", ""), " ".join(text.split()))


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
