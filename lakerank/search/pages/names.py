"""What elements are for, by their names: tags, ARIA roles, microdata, and the words that sites use in class and id.

A name is a hint and never a proof: what to do with a block that is called `sidebar` and holds the page's whole text is
decided in `lakerank.search.pages.boilerplate`, which counts.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

# Why a block may not be main text.
UNSEEN = 1  # no reader sees it as text: scripts, pictures, controls, templates
HIDDEN = 2  # styled away, perhaps until a script shows it
MENU = 3  # nav, footer, aside, …, by tag or ARIA role
NAMED = 4  # called menu, share, related, …
COMMENTS = 5  # what readers wrote below
DETAIL = 6  # author, date, tags of an article: not main text where they are short
FORM = 7
CAPTION = 8  # of a picture
# How a block says that it is main text, surest first; 0 for one that does not.
PRODUCT, BODY, ARTICLE, STORY, MAIN = 1, 2, 3, 4, 5


class Role(NamedTuple):
    """What a block says that it is: why it may not be main text (0: it may), how sure it claims to be that."""

    drops: int
    claims: int
    word: str  # that told it is NAMED
    has_id: bool


NOTHING = Role(0, 0, "", False)
HARD = frozenset(
    (
        *(
            "svg",
            "template",
            "noscript",
            "object",
            "applet",
            "audio",
            "video",
            "canvas",
            "select",
            "button",
            "datalist",
        ),
        *("dialog", "rt", "rp", "rtc", "frameset"),
    )
)
_MENU_TAGS = frozenset(("nav", "footer", "aside", "menu", "header"))
_MENU_ROLES = frozenset(
    (
        *("navigation", "banner", "contentinfo", "complementary", "search", "menu", "menubar", "tablist", "toolbar"),
        *("dialog", "alertdialog"),
    )
)
ROLE_ATTRIBUTES = ("class", "id", "role", "itemprop", "style", "hidden", "aria-hidden")
_STYLED_AWAY = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_PARTS = re.compile(r"(?<=[a-z])(?=[A-Z])|[-_\s:./]+")
_LONGEST_NAME, _LONGEST_ID = 400, 40  # characters; of an id more is made from a heading's words
# Classes that name no part of the page: what a post is about (WordPress), builders' boxes, responsive display.
_NO_NAME = re.compile(r"^(?:category|tag|tags|type|status|format|author|elementor|wp-block|js|is|has|postid|page-id)-")
_RESPONSIVE = re.compile(r":(?:block|flex|grid|inline|table|contents)")
_WORDS = (
    r"nav|navi|navs|navbar|navigation|navlinks|subnav|topnav|sidenav|mainnav|menu|menus|submenu|megamenu|"
    r"breadcrumbs?|"
    r"bread crumbs?|sidebars?|side bar|siderail|right rail|left rail|rail|footer|foot|masthead|topbar|top bar|"
    r"toolbar|"
    r"cookies?|consent|gdpr|pagination|paginator|pager|paging|skip|skip link|skiplink|related|recommended|"
    r"recommendations?|"
    r"recirc|recirculation|more stories|more news|more from|more on|more articles|read more|read next|read also|"
    r"also like|also read|you may like|trending|most popular|popular posts|most read|most viewed|latest news|"
    r"latest posts|"
    r"share|shares|sharing|sharebar|sharedaddy|addtoany|addthis|social|socials|social media|follow us|sponsors?|"
    r"sponsored|promo|promos|promotion|advert|adverts|advertisement|advertising|ads|ad|adsense|adbox|adslot|dfp|"
    r"outbrain|"
    r"taboola|zergnet|newsletters?|subscribe|subscription|signup|sign up|optin|login|signin|toc|table of contents|"
    r"sphinxsidebar|edit section|editsection|noprint|navbox|taglist|tag list|tagcloud|tag cloud|tags|"
    r"author box|author bio|author info|author card|authorbox|about author|about the author|widgets?|widget area|"
    r"modal|"
    r"popup|pop up|overlay|lightbox|paywall|sr only|screen reader text|visually hidden|visuallyhidden|assistive text|"
    r"prev next|next prev|prevnext|post navigation|up next|next article|teasers?|back to top|printfooter|catlinks|"
    r"siteSub|jump to nav|signature|post profile|postprofile|user info|feedback|helpful|rate this|call to action|cta|"
    r"announcement|flash|ticker|hidden|invisible|offscreen|off screen|onetrust|usercentrics|cookiebot|didomi|"
    r"cmpbox|qc cmp2?|fc consent|also from|rich link|recirculation link|contributions epic|factbox|fact box|"
    r"teaser ?(?:box|list|liste)|"
    # German, French, Spanish and Portuguese, Italian, Dutch
    r"seitenleiste|randspalte|fusszeile|teilen|werbung|werbeanzeige|verwandte|partager|"
    r"colonne (?:laterale|droite|gauche)|pied (?:de )?page|publicite|"
    r"a lire aussi|lire aussi|barra lateral|pie (?:de )?pagina|compartir|compartilhar|publicidad|publicidade|"
    r"relacionad[oa]s|notas relacionadas|"
    r"veja mais|leia mais|leia tambem|condividi|pubblicita|correlati|reclame|verwant"
)
_MENU_WORD = re.compile(rf"(?:^| )({_WORDS})(?: |$)")
# Words that are said of nothing but what they mean; of the others a wrapper of the whole page may be called.
SURE = frozenset(
    (
        *("nav", "footer", "navigation", "contentinfo", "cookie", "cookies", "consent", "gdpr", "onetrust", "didomi"),
        *("qc cmp", "qc cmp2", "usercentrics", "cookiebot", "related", "recommended", "recommendations", "recirc"),
        *("recirculation", "more stories", "more news", "more from", "more on", "more articles", "also from"),
        *("read next", "read also", "also like", "also read", "you may like", "trending", "most popular"),
        *("popular posts", "most read", "most viewed", "latest news", "latest posts", "outbrain", "taboola"),
        *("zergnet", "newsletter", "newsletters", "breadcrumb", "breadcrumbs", "pagination", "share", "sharedaddy"),
        *("addtoany", "taglist", "tagcloud"),
    )
)
# What a wrapper is called after the side bar that it has or has not.
_ABOUT_LAYOUT = re.compile(
    r"(?:^| )(?:with|has|no|without|wrap|wrapper|layout|main|page|site|grid|row|columns?)(?: |$)"
)
_COMMENT_WORD = re.compile(
    r"^(?:(?:post|article|entry|user|reader|readers|the|js|all|view|wp|fb|facebook) )*(?:comments?|commentlist|"
    r"commentarea|respond|responses|d comment|leserkommentare|kommentare?|commentaires?|comentarios?|commenti|reacties|"
    r"disqus|livefyre|replies|discussion|conversation)(?: (?:list|area|section|wrapper|wrap|container|box|block|item|"
    r"items|entry|row|card|node|thread|"
    r"threads|form|respond|content|body|text|holder|module|template|embed|wp|\d+))*$"
)
_DETAIL_WORD = re.compile(
    r"(?:^| )(?:byline|by line|author|authors|post ?meta|entry meta|article meta|story meta|meta|postinfo|post info|"
    r"dateline|timestamp|pubdate|publish date|published|posted on|post date|entry date|post tags|entry tags|"
    r"tag links|"
    r"cat links|entry utility|entry footer|post footer|credits?|photo credit|reading time|read time|edit link|reply|"
    r"permalink|post views|viewcount|print|post nav|headerlink|votecell|vote|posthead|postfoot|userinfo|autor|auteur|"
    r"autore|fecha|datum|standfirst credit)(?: |$)"
)
_CAPTION_WORD = re.compile(
    r"(?:^| )(?:captions?|imagecaption|figcaption|(?:image|photo|picture|media|story image) (?:text|credit|copyright)|"
    r"bildunterschrift|legende|pie de foto|didascalia)(?: |$)"
)
_BODY_WORD = re.compile(
    r"(?:^| )(?:(?:article|entry|story|post|news|art|review|recipe|release|artikel|beitrag|noticia|nota|"
    r"articulo|articolo|materia) ?(?:main |detail |full |inner |page |js )?(?:body|content|text|copy|paragraphs|inhalt|"
    r"texte|texto|testo|contenido|contenu|conteudo|cuerpo)|(?:text|texte|texto|testo|cuerpo|content|contenu|contenido) "
    r"(?:article|articulo|articolo|noticia|nota)|"
    r"articletext|articlebody|storytext|newstext|the content|available content|detail text|"
    r"mw content text|mw parser output|markdown body|post ?body ?text|main ?text|full ?text|fulltext|postarea|"
    r"field name body|story ?body ?text)(?: (?:text|content|inner|wrapper|container|main|\d+))*(?: |$)"
)
_PRODUCT_WORD = re.compile(
    r"^(?:product|(?:single|main) product|product (?:main|detail|details|single|page|view|essential)|pdp)$"
)
_STORY_WORD = re.compile(
    r"^(?:story|article|post|entry|hentry|main ?content|(?:single|blog|text) ?content|content ?main|"
    r"primary ?content|blog ?post|single ?post|body ?(?:copy|text)|rich ?text|prose|content ?body|"
    r"article (?:container|wrapper|wrap|page|detail|main)|post (?:container|wrapper|single|detail)|topic body|"
    r"question|answer|message ?body|postbody)$"
)
_MAIN_WORD = re.compile(
    r"^(?:main|contents?|page ?(?:content|body)|body ?content|content area|site content|container main|primary)$"
)
_NOTE_WORD = re.compile(
    r"(?:^| )(?:note|notes|warning|tip|admonition|footnotes?|callout|info|caution|danger|important)(?: |$)"
)
_NO_DROP = frozenset(("html", "body", "main", "article", "tbody", "head", "h1"))
_CLAIMING = frozenset(("div", "section", "td", "article", "main", "table", "center", "span"))
_WITH_COMMENTS = frozenset(("div", "section", "ul", "ol", "aside", "details", "table", "dl", "article", "form"))
# Their ids are made from titles, which may be about menus, as that of a <div class="section">.
TITLED = frozenset(("section", "h1", "h2", "h3", "h4", "h5", "h6", "dt", "p", "li", "tr", "pre", "table"))


@lru_cache(maxsize=1 << 15)
def role_of(
    tag: str,
    classes: str | None = "",
    identity: str | None = "",
    role: str | None = "",
    item: str | None = "",
    style: str | None = "",
    hidden: str | None = "",
    aria_hidden: str | None = "",
) -> Role:
    """Return what an element says that it is.

    Args:
        tag: its name.
        classes, identity, role, item, style, hidden, aria_hidden: its `ROLE_ATTRIBUTES`, empty for those that it has
            not, None for those without a value.
    """
    has_id = bool(identity)
    if tag in HARD:
        return Role(UNSEEN, 0, "", has_id)
    drops = claims = 0
    word = ""
    role = (role or "").lower()
    if tag == "aside" and classes and _NOTE_WORD.search(_words(classes)):
        pass  # a note in a manual
    elif tag in _MENU_TAGS or role in _MENU_ROLES:
        drops = MENU
        word = tag if tag in _MENU_TAGS else role
    elif hidden != "" or (aria_hidden or "").lower() == "true" or (style and _STYLED_AWAY.search(style)):
        drops, word = HIDDEN, "unseen"
    elif tag == "form":
        drops = FORM
    elif tag == "figcaption":
        drops = CAPTION
    else:
        drops, word = _by_name(tag, classes or "", identity or "")
    if tag in _NO_DROP:
        drops = 0 if drops != HIDDEN or tag in ("html", "body", "main") else drops
    if tag == "main" or role == "main":
        claims = MAIN
    elif tag == "article" or role == "article":
        claims = ARTICLE
    if tag in _CLAIMING and (not drops or drops == NAMED):
        claimed = _claim(classes or "", identity or "", item or "")
        claims = min(filter(None, (claims, claimed)), default=0)
    return Role(drops, claims, word, has_id) if drops or claims or has_id else NOTHING


def _words(name: str) -> str:
    return _PARTS.sub(" ", name).strip().lower()


def _names(classes: str, identity: str, tag: str) -> list[str]:
    names = classes.split() if len(classes) <= _LONGEST_NAME else []
    if any(map(_RESPONSIVE.search, names)):
        names = [name for name in names if ":" not in name and name not in ("hidden", "invisible")]
    if identity and len(identity) <= _LONGEST_ID and tag not in TITLED and "section" not in names:
        names = [*names, *identity.split()]
    return [_words(name) for name in names if not _NO_NAME.match(name)]


def _by_name(tag: str, classes: str, identity: str) -> tuple[int, str]:
    if not classes and not identity:
        return 0, ""
    detail = 0
    in_classes = len(_names(classes, "", tag))
    for number, words in enumerate(_names(classes, identity, tag)):
        if tag in _WITH_COMMENTS and _COMMENT_WORD.match(words):
            return COMMENTS, "comments"
        found = _MENU_WORD.search(words)
        if found and not (found[1].startswith("side") and _ABOUT_LAYOUT.search(words)):
            return NAMED, found[1]
        if tag not in ("table", "caption") and number < in_classes and _CAPTION_WORD.search(words):
            detail = CAPTION
        elif number < in_classes and _DETAIL_WORD.search(words):
            detail = DETAIL
    return detail, ""


def _claim(classes: str, identity: str, item: str) -> int:
    if item and re.search(r"\b(?:articleBody|reviewBody|recipeInstructions)\b", item, re.IGNORECASE):
        return BODY
    best = 0
    for words in _names(classes, identity, "div"):
        claimed = BODY if _BODY_WORD.search(words) and not _MENU_WORD.search(words) else 0
        claimed = (
            PRODUCT
            if _PRODUCT_WORD.match(words)
            else claimed or (STORY if _STORY_WORD.match(words) else MAIN if _MAIN_WORD.match(words) else 0)
        )
        if claimed and (not best or claimed < best):
            best = claimed
    return best
