"""Main content and boilerplate: which part of a page is which.

Three steps. Blocks that say they are menus, comments, side bars and the like are taken out, unless they hold most of
what there is to read. Of what is left, the block that says it is the article counts, if it holds enough; where no block
says so, the way leads down from the body as long as one block holds nearly all. In it, lists of links go.

Names are never believed alone: each decision asks how much of the page's readable text it would cost, and where little
is left the step before it counts.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, zip_longest

from lakerank.search.pages.names import (
    ARTICLE,
    BODY,
    CAPTION,
    COMMENTS,
    DETAIL,
    FORM,
    MAIN,
    MENU,
    PRODUCT,
    STORY,
    SURE,
    UNSEEN,
)
from lakerank.search.pages.page_tree import Heading, PageTree

_LARGEST = 0.5  # share of the readable text from which a block is no boilerplate, whatever it is called
_HINTED = 0.3  # the same for one that holds a block which says it is main text
_FEW = 150  # readable units; with fewer outside of the comments they are what the page is for
_DETAILS = 200  # units; a longer author's note, list of tags, … is text
_CAPTION, _CAPTIONS = 600, 0.2  # units, and share of the readable text; a longer caption is text
_LEFT = 300  # readable units that a block leaves which is surely boilerplate, however large it is
_FORM_TEXT = 200  # readable units; a form with more wraps the page (ASP.NET) or is what the page is for
# Of each claim: share of the readable text from which it is believed, and from which if it holds the page's <h1>.
_BELIEVED = {PRODUCT: (0.5, 0.4), BODY: (0.25, 0.2), ARTICLE: (0.4, 0.25), STORY: (0.45, 0.3), MAIN: (0.5, 0.4)}
_ENOUGH = 250  # readable units, which a claim below a half must hold
_ONE_OF_MANY = 0.6  # share of all that claim the same from which one of them is the article, not one of a list
_NEARLY = 0.9  # share from which one block says all that the block around it says
_BELOW_TITLE = 100  # units
_NARROW = 0.8  # share from which one block stands for the block around it
_BOXES = frozenset(
    ("div", "section", "article", "main", "td", "th", "tr", "tbody", "table", "center", "form", "body", "html", "aside")
)
_LISTS = frozenset(("ul", "ol", "div", "section", "table", "td", "dir", "p"))
_LINKS, _LINK_SHARE = 3, 0.8  # a block of so many links that is mostly links is a list of them
_LINK_LINE = 0.9  # share from which a paragraph is a link to another article ("Read more: …")
_SPACES = 2  # in a title, at least
_LINE_TITLE = 30  # units; shorter links of their own are terms
_TITLE = 16  # units; links of fewer on average are terms ("See also") or menus, not titles of other articles
_ALL_LINKS = 0.4  # share of the content; lists of links that are more of it are what the page is for
_FEW_TEXTS = 8  # of a heading
_NUMBERED = re.compile(
    r"(?:(?:extended data|supplementary|supplemental|online|source) )?(?:table|figs?(?:ure|\.)|listing|example|scheme|"
    r"algorithm|exhibit|chart|diagram|plate|box|tabelle|abb(?:ildung|\.)|tableau|tabla|tabela|tabella|tabel|figura|"
    r"figur|afb(?:eelding|\.)|ryc(?:ina|\.)|rys(?:unek|\.)|рис(?:унок|\.)?|табл(?:ица|\.)?|图表?|圖表?|表格?|図表?|"
    r"그림|표) ?(?:[ivxlc]+\b|(?:[a-z]{1,2}[.-]?)?\d)",
    re.IGNORECASE,
)
_FIGURES = frozenset(("table", "pre", "textarea"))  # whose captions are text
_PICTURE_BLOCKS = 1000  # a figure of more is no picture
_TEASERS = 3
_TEASER_LINKS, _TEXT_LINKS = 0.5, 0.8  # share of links' text in teasers, at least; in what claims to be text
_WHOLE = frozenset(("html", "body", "main"))
_OTHER_PAGES = re.compile(
    r"(?:related|recommended|latest|trending|similar|(?:most )?popular|verwandte|ähnliche|recent|other)"
    r"(?: (?:articles|posts|stories|news|reading|content|links|topics|coverage|videos|products|questions|recipes|"
    r"artikel|beiträge|themen|videos|rezepte|meldungen))+:?$|"
    r"(?:related|recommended|latest|trending|similar|(?:most )?popular|more)(?: now| for you| today)?:?$|"
    r"(?:latest|trending|popular|most popular|recommended|related) (?:from|in|on|now|for you)\b|"
    r"more (?:from|on|in|stories|news|articles|posts|to read|like this)\b|"
    r"you (?:may|might|will) (?:also )?(?:like|enjoy)|read (?:next|more|also)\b|also (?:from|read|in|on)\b|"
    r"most (?:read|viewed|shared)\b|top stories|up next\b|don.t miss|"
    r"mehr (?:zum|aus|von)\b|lesen sie auch|das k.nnte sie|à lire(?: aussi| également|:?$)|lire aussi|"
    r"articles? (?:similaires|liés)|(?:artículos|noticias|notas|notícias|artigos) relacionad|te puede (?:interesar|"
    r"gustar)|leia também|veja também|articoli correlati|leggi anche|lees ook|meer (?:over|van)\b|"
    r"czytaj (?:także|również|też|więcej|dalej)|читайте (?:также|ещё|еще|далее)|"
    r"相[关關](?:文章|新[闻聞]|[阅閱][读讀]|推[荐薦]|[链鏈][接結]|[内內]容|[报報][道導]|[资資][讯訊])|"
    r"関連(?:記事|ニュース|リンク|コンテンツ)|猜你喜欢|推荐阅读|推薦閱讀",
    re.IGNORECASE,
)
_COMMENT_WORDS = (
    r"(?:comments?|commentaires?|kommentare?|leserkommentare?|comentarios?|comentários?|commenti|commento|reacties?|"
    r"yorum(?:lar)?|komentarz[ey]?|комментари\w+|коментар\w+|コメント|评论|評論)"
)
_REPLY_WORDS = rf"(?:replies|reply|responses?|réponses?|antworten|respuestas?|respostas?|rispost[ae]|{_COMMENT_WORDS})"
_A_NUMBER = r"\d+(?:[.,]\d{3})*"  # of things, not of a section
# Headings of what readers wrote: how many comments there are, which no section of a text says of itself.
_REPLIES = re.compile(
    rf"(?:(?:view|show|see) )?(?:all )?(?:{_A_NUMBER}|no|one) ?(?:条|件の|条の)?{_REPLY_WORDS}"
    r"(?: (?:on|to|about|so far)\b.*|:)?$|"
    rf"(?:{_A_NUMBER}|one) thoughts? on\b.*|"
    rf"{_COMMENT_WORDS}:? ?[(（\[]{_A_NUMBER}[)）\]]$|{_COMMENT_WORDS}:? {_A_NUMBER}$",
    re.IGNORECASE,
)
# The same without a number, which a manual may say of a part of its own.
_REPLIES_PERHAPS = re.compile(
    r"(?:(?:leave|post|add|write|submit) (?:a|your) (?:comment|reply|response)(?: to\b.*)?|"
    r"join the (?:discussion|conversation)|(?:(?:(?:reader|user|your|all|view|show) )?comments|commentaires|"
    r"kommentare|leserkommentare|comentarios|comentários|commenti|reacties|yorumlar|komentarze|комментарии|коментарі|"
    r"コメント|评论|評論)|"
    r"(?:schreiben? (?:sie )?einen|hinterlassen? (?:sie )?einen) kommentar|(?:laisser|ajouter|écrire) un commentaire|"
    r"deja (?:un comentario|una respuesta)|deixe (?:um comentário|uma resposta)|lascia un commento|"
    r"geef een reactie|(?:оставить|добавить) комментарий|发表评论|發表評論|コメントを(?:残す|書く))(?: below)?[:!]?$",
    re.IGNORECASE,
)
_WITHIN = frozenset(("article", "main", "section"))
_TEASER, _COUNT, _PERHAPS = 1, 2, 3  # what stands below a heading
_LEVELS = {f"h{n}": n for n in range(1, 7)}
Stretch = tuple[int, int]


@dataclass
class MainContent:
    """Where the main content of a page stands.

    Attributes:
        begin, end: positions in `PageTree.texts`.
        without: stretches that are left out, in order.
        with_lists: the same with the lists of links that were left out of the text; None where there are none. What
            an article links to in a list, as a manual's chapter does, is linked to all the same.
    """

    begin: int
    end: int
    without: list[Stretch] = field(default_factory=list)
    with_lists: MainContent | None = None

    def holds(self, position: int) -> bool:
        """Tell whether a text is main content."""
        if not self.begin <= position < self.end:
            return False
        at = bisect_right(self.without, (position, 1 << 60)) - 1
        return at < 0 or position >= self.without[at][1]


class _Sums:
    """Sums over runs, with the runs of some blocks counted as nothing."""

    def __init__(self, values: Sequence[int], without: Sequence[Stretch] = ()) -> None:
        if without:
            values = list(values)
            for begin, end in without:
                values[begin:end] = [0] * (end - begin)
        self._sums = [0, *accumulate(values)]

    def of(self, begin: int, end: int) -> int:
        return self._sums[end] - self._sums[begin]


def find_main(page: PageTree, strict: bool = True, replies: bool = False) -> MainContent:
    """Find the main content of a page.

    Args:
        page: a page.
        strict: whether names count; without them only what no reader sees is left out.
        replies: whether what readers wrote below is content, as on a forum.
    """
    finder = _Finder(page, replies)
    if not page.names:
        return MainContent(0, len(page.texts))
    if not strict:
        return finder.content(0, finder.unseen)
    dropped = finder.boilerplate()
    dropped = finder.below_headings(dropped)
    dropped = finder.teasers(dropped)
    kept = finder.chosen(dropped)
    if replies:
        kept = finder.with_replies(kept)
    lists = finder.link_lists(kept, dropped)
    content = finder.content(kept, [*dropped, *lists])
    if lists and page.roles[kept].claims:
        content.with_lists = finder.content(kept, dropped)
    return content


class _Finder:
    """The state of one search: the page, its blocks and what they hold."""

    def __init__(self, page: PageTree, replies: bool) -> None:
        self.page, self.replies = page, replies
        self.units = _Sums(page.units)
        self.said_in: dict[int, int] = {}  # by figure, units besides captions and controls; very many in one of text
        self.numbers: set[str] | None = None  # that headings begin with
        self.unseen = self._topmost(at for at, role in enumerate(page.roles) if role.drops == UNSEEN)
        readable = _Sums(page.readable, self._runs(self.unseen))
        self.measure: Sequence[int] = page.readable
        if readable.of(0, len(page.readable)) < _FEW:  # hardly a sentence: short pieces count too
            self.measure = [size - linked for size, linked in zip(page.units, page.linked, strict=True)]
            readable = _Sums(self.measure, self._runs(self.unseen))
        self.readable = readable

    def held(self, at: int, sums: _Sums) -> int:
        """Return what a block holds."""
        return sums.of(self.page.run_begin[at], self.page.run_end[at])

    def _runs(self, blocks: Sequence[int]) -> list[Stretch]:
        return [(self.page.run_begin[at], self.page.run_end[at]) for at in blocks]

    def _topmost(self, blocks: Iterable[int]) -> list[int]:
        """Return the blocks that stand in none of the others; they come in the order of the document."""
        found: list[int] = []
        end = -1
        for at in blocks:
            if self.page.text_begin[at] >= end:
                found.append(at)
                end = self.page.text_end[at]
        return found

    def boilerplate(self) -> list[int]:
        """Return the blocks that are no main text by what they say, none within another."""
        page, held, readable = self.page, self.held, self.readable
        units, total = self.units, readable.of(0, len(page.units))
        claims = [at for at, role in enumerate(page.roles) if role.claims]
        by_word: dict[str, int] = {}
        captions = self._topmost(at for at, role in enumerate(page.roles) if role.drops == CAPTION)
        all_captions = sum(held(at, readable) for at in captions)
        if "pre" in page.names:  # of listings and figures in a manual, which its text tells of
            all_captions = total
        found: list[int] = []
        end = -1
        for at, role in enumerate(page.roles):
            if not role.drops or page.text_begin[at] < end or (self.replies and role.drops == COMMENTS):
                continue
            if role.drops != UNSEEN:
                size = held(at, readable)
                if role.drops == DETAIL:
                    if size > _DETAILS or held(at, units) > _DETAILS:
                        continue
                elif role.drops == FORM:
                    if size > _FORM_TEXT or (total and size > _HINTED * total):
                        continue
                elif role.drops == CAPTION:
                    if all_captions > _CAPTIONS * total or held(at, units) > _CAPTION:
                        continue
                    if self._captions_text(at, held(at, units)):
                        continue
                    if _NUMBERED.match(page.line(page.text_begin[at], page.text_end[at])):
                        continue
                elif role.drops == MENU and role.word == "header" and self._within(at):
                    continue
                elif role.word in SURE and self._is_surely(at, claims, total):
                    by_word[role.word] = by_word.get(role.word, 0) + size
                elif role.drops != COMMENTS and total > _ENOUGH:
                    if size > _LARGEST * total and not self._elsewhere(at, claims, total):
                        continue
                    if size > _HINTED * total and self._claimed_in(at, claims) > _HINTED * total:
                        continue
                    by_word[role.word] = by_word.get(role.word, 0) + size
                elif role.drops == COMMENTS and self._claimed_in(at, claims, BODY) > _LARGEST * total:
                    continue
            found.append(at)
            end = page.text_end[at]
        # The name of many blocks that are the text together (`widget` for each paragraph) says nothing either.
        common = {word for word, size in by_word.items() if word and size > _LARGEST * total}
        doubted = [at for at in found if page.roles[at].word in common & SURE]
        common -= {page.roles[at].word for at in doubted if self._elsewhere(at, claims, total)}
        found = [at for at in found if page.roles[at].word not in common or page.roles[at].drops == COMMENTS]
        return self._with_comments_if_all(found, total)

    def below_headings(self, dropped: Sequence[int]) -> list[int]:
        """Add the blocks that begin with a heading such as "Related articles" or "12 comments"."""
        page = self.page
        short = [head for head in page.headings if head.name in _LEVELS and head.end - head.begin <= _FEW_TEXTS]
        heads = [(head, kind) for head in short if (kind := self._kind_of(head))]
        if not heads:
            return list(dropped)
        gone = MainContent(0, len(page.texts), [(page.text_begin[at], page.text_end[at]) for at in dropped])
        said = [at for at, text in enumerate(page.texts) if text.replace("\xad", "").strip()]
        claims = [at for at, role in enumerate(page.roles) if role.claims in (PRODUCT, BODY, STORY)]
        units, linked = self.units, _Sums(page.linked)
        sums = _Sums(self.measure, self._runs(dropped))
        total = sums.of(0, len(page.units))
        found: list[int] = []
        for head, kind in heads:
            if not gone.holds(head.begin):
                continue
            next_said = said[at] if (at := bisect_left(said, head.end)) < len(said) else len(page.texts)
            at = bisect_right(page.text_begin, head.begin) - 1
            while at > 0 and page.text_end[at] <= next_said:
                at = page.parents[at]
            if (
                at <= 0
                or page.names[at] in _WHOLE
                or bisect_left(said, page.text_begin[at]) < bisect_left(said, head.begin)
            ):
                continue
            size = self.held(at, sums)
            is_text = page.names[at] == "section" or bool(page.roles[at].claims)
            if kind == _TEASER:
                share = _TEXT_LINKS if is_text else _TEASER_LINKS
                below = self.held(at, units) - len(
                    "".join(page.texts[head.begin : head.end]).encode("utf-8", "replace")
                )
                if page.link_end[at] - page.link_begin[at] < 2 or self.held(at, linked) < share * below:
                    continue
            if kind == _PERHAPS and is_text:
                continue
            first = bisect_left(claims, at)
            if first < len(claims) and claims[first] < self._behind(at):
                continue
            if total - size >= max(_FEW, size):
                found.append(at)
        return self._topmost(sorted({*dropped, *found})) if found else list(dropped)

    def _kind_of(self, head: Heading) -> int:
        """Return what a heading says that stands below it, 0 if that may be text."""
        said = self.page.line(head.begin, head.end)
        if _OTHER_PAGES.match(said):
            return _TEASER
        if self.replies:
            return 0
        if _REPLIES.match(said):
            number = re.match(r"\d{1,3} ", said)
            return _PERHAPS if number and self._is_section(int(number[0])) else _COUNT
        return _PERHAPS if _REPLIES_PERHAPS.match(said) else 0

    def _is_section(self, number: int) -> bool:
        """Tell whether a number counts the sections of a page: whether a heading begins with the one before it."""
        page = self.page
        if self.numbers is None:
            begins = ("".join(page.texts[head.begin : head.begin + _FEW_TEXTS]).lstrip()[:4] for head in page.headings)
            self.numbers = {found[0] for begin in begins if (found := re.match(r"\d+", begin))}
        return str(number - 1) in self.numbers

    def teasers(self, dropped: Sequence[int]) -> list[int]:
        """Add rows of teasers: blocks one after another, each with a heading that is a link to another page.

        They are what a list of articles is made of, so they go only where much else is left to read.
        """
        page = self.page
        if len(page.headings) < _TEASERS or len(page.links) < _TEASERS:
            return list(dropped)
        gone = MainContent(0, len(page.texts), [(page.text_begin[at], page.text_end[at]) for at in dropped])
        headings = [head for head in page.headings if head.name in _LEVELS and gone.holds(head.begin)]
        links = sorted((link.begin, link.end, link.attributes.get("href") or "#") for link in page.links)
        groups: list[list[int]] = [[]]
        for head in headings:
            if head.name != "h1" and _is_linked(head, links):
                groups[-1].append(head.begin)
            elif groups[-1]:
                groups.append([])
        found = [at for group in groups if len(group) >= _TEASERS for at in self._boxes_of(group)]
        found = [at for at in found if gone.holds(page.text_begin[at])]
        if not found:
            return list(dropped)
        sums = _Sums(self.measure, self._runs(dropped))
        cost, total = sum(self.held(at, sums) for at in found), sums.of(0, len(page.units))
        if total - cost < max(_LEFT, 0.4 * total):
            return list(dropped)
        return self._topmost(sorted({*dropped, *found}))

    def _boxes_of(self, positions: Sequence[int]) -> list[int]:
        """Return the blocks that hold one of these texts each, the largest such; none if there are no such blocks."""
        page = self.page
        boxes = []
        common = self._block_at(positions[0])
        while common > 0 and page.text_end[common] <= positions[-1]:
            common = page.parents[common]
        for position in positions:
            at = self._block_at(position)
            if at == common:
                return []
            while page.parents[at] != common:
                at = page.parents[at]
            boxes.append(at)
        return boxes if len(set(boxes)) == len(boxes) else []

    def _block_at(self, position: int) -> int:
        """Return the innermost block that holds a text."""
        page = self.page
        at = bisect_right(page.text_begin, position) - 1
        while at > 0 and page.text_end[at] <= position:
            at = page.parents[at]
        return max(at, 0)

    def _behind(self, at: int) -> int:
        """Return the position of the first block behind a block and all within it."""
        return bisect_left(self.page.text_begin, self.page.text_end[at], at)

    def _with_comments_if_all(self, found: list[int], total: int) -> list[int]:
        """Leave the comments in the page if there is hardly anything else on it."""
        comments = [at for at in found if self.page.roles[at].drops == COMMENTS]
        if comments:
            rest = _Sums(self.measure, self._runs(found)).of(0, len(self.page.units))
            in_comments = sum(self.held(at, self.readable) for at in comments)
            if rest < _FEW and rest < 0.5 * in_comments:
                return [at for at in found if self.page.roles[at].drops != COMMENTS]
        return found

    def _within(self, at: int) -> bool:
        """Tell whether a block is an article's own header, which holds its title: content, not navigation."""
        parent = self.page.parents[at]
        while parent >= 0:
            if self.page.names[parent] in _WITHIN or self.page.roles[parent].claims in (BODY, ARTICLE, STORY):
                return True
            parent = self.page.parents[parent]
        return False

    def _claimed_in(self, at: int, claims: Sequence[int], least: int = MAIN) -> int:
        """Return how much of a block's readable text stands in blocks within it that say they are main text."""
        page, largest = self.page, 0
        for claim in claims[bisect_left(claims, at) :]:
            if page.text_begin[claim] >= page.text_end[at]:
                break
            if page.roles[claim].claims <= least:
                largest = max(largest, self.held(claim, self.readable))
        return largest

    def _captions_text(self, at: int, size: int) -> bool:
        """Tell whether a caption is that of text: its figure is a table or code, or says more, as a quotation does."""
        page = self.page
        figure = page.parents[at]
        while figure >= 0 and page.names[figure] != "figure":
            figure = page.parents[figure]
        if figure < 0:
            return False
        if figure not in self.said_in:
            within = range(figure, self._behind(figure))
            said = self.held(figure, self.units)
            if len(within) <= _PICTURE_BLOCKS and not any(page.names[block] in _FIGURES for block in within):
                others = self._topmost(block for block in within if page.roles[block].drops)
                self.said_in[figure] = said - sum(self.held(block, self.units) for block in others)
            else:
                self.said_in[figure] = 1 << 60
        return self.said_in[figure] > size

    def _is_surely(self, at: int, claims: Sequence[int], total: int) -> bool:
        """Tell whether a block of a sure name is boilerplate: enough is left, and it is no wrapper of the main text."""
        size = self.held(at, self.readable)
        if total - size < _LEFT:
            return False
        if size <= _HINTED * total:
            return True
        return size <= total - size and self._claimed_in(at, claims) <= _HINTED * total

    def _elsewhere(self, at: int, claims: Sequence[int], total: int) -> bool:
        """Tell whether a block outside this one says that it is the article and holds a fair part of the text."""
        page = self.page
        begin, end = page.text_begin[at], page.text_end[at]
        return any(
            page.roles[claim].claims <= ARTICLE
            and (page.text_end[claim] <= begin or page.text_begin[claim] >= end)
            and self.held(claim, self.readable) > max(_FEW, 0.2 * total)
            for claim in claims
        )

    def chosen(self, dropped: Sequence[int]) -> int:
        """Return the block with the main content.

        Args:
            dropped: blocks that are none of it.
        """
        page = self.page
        sums = _Sums(self.measure, self._runs(dropped))
        total = sums.of(0, len(page.units))
        if not total:
            return 0
        gone = MainContent(0, len(page.texts), [(page.text_begin[at], page.text_end[at]) for at in dropped])
        heads = [heading.begin for heading in page.headings if heading.name == "h1" and gone.holds(heading.begin)]
        for claim, (share, with_title) in _BELIEVED.items():
            all_of_it = [at for at, role in enumerate(page.roles) if role.claims == claim]
            found = [at for at in self._topmost(all_of_it) if self.held(at, sums) and gone.holds(page.text_begin[at])]
            found = [self._innermost(at, all_of_it, sums) for at in found]
            if not found:
                continue
            sizes = [self.held(at, sums) for at in found]
            largest = max(sizes)
            best = found[sizes.index(largest)]
            if len(found) > 1 and largest < (_NEARLY if self.replies else _ONE_OF_MANY) * sum(sizes):
                many = [at for at, size in zip(found, sizes, strict=True) if size > 0.1 * largest]
                best = self._around(many)
                if page.names[best] in ("body", "html"):
                    continue
                if self.held(best, sums) >= share * total:
                    return best
                continue
            if page.names[best] == "main" and self.held(best, sums) >= _HINTED * total:
                return best
            titled = any(page.text_begin[best] <= head < page.text_end[best] for head in heads)
            size = self.held(best, sums)
            if size >= (with_title if titled else share) * total and (size >= _ENOUGH or size >= 0.5 * total):
                return best
        return self._narrowed(sums, heads)

    def with_replies(self, kept: int) -> int:
        """Return the block that holds the chosen one and what readers wrote."""
        page = self.page
        blocks = [at for at, role in enumerate(page.roles) if role.drops == COMMENTS and self.held(at, self.readable)]
        return self._around(sorted({kept, *self._topmost(blocks)})) if blocks else kept

    def _innermost(self, at: int, claims: Sequence[int], sums: _Sums) -> int:
        """Return the innermost block of the same claim that holds nearly all of one that has others within it."""
        for claim in claims[bisect_left(claims, at + 1) :]:
            if self.page.text_begin[claim] >= self.page.text_end[at]:
                break
            if self.held(claim, sums) >= _NEARLY * self.held(at, sums):
                at = claim
        return at

    def _around(self, blocks: Sequence[int]) -> int:
        """Return the block that holds all of these."""
        page = self.page
        at, end = blocks[0], max(page.text_end[block] for block in blocks)
        while page.parents[at] >= 0 and (page.text_end[at] < end or page.names[at] not in _BOXES):
            at = page.parents[at]
        return at

    def _narrowed(self, sums: _Sums, heads: Sequence[int]) -> int:
        """Go down from the body as long as one block holds nearly all of what there is to read."""
        page = self.page
        children: dict[int, list[int]] = {}
        for at, parent in enumerate(page.parents):
            if page.names[at] in _BOXES:
                children.setdefault(parent, []).append(at)
        at, title = 0, heads[0] if len(heads) == 1 else -1
        while below := children.get(at):
            sizes = [self.held(child, sums) for child in below]
            if max(sizes) < _NARROW * self.held(at, sums):
                break
            largest = sizes.index(max(sizes))
            # What stands between the page's title and a block is not passed over for it.
            between = zip(below[:largest], sizes, strict=False)
            if title >= 0 and sum(size for child, size in between if page.text_begin[child] > title) >= _BELOW_TITLE:
                break
            at = below[largest]
        return at

    def link_lists(self, kept: int, dropped: Sequence[int]) -> list[int]:
        """Return the lists of links in the chosen block; none if they are most of it."""
        page = self.page
        begin, end = page.text_begin[kept], page.text_end[kept]
        gone = MainContent(begin, end, [(page.text_begin[at], page.text_end[at]) for at in dropped])
        runs = self._runs(dropped)
        units, linked = _Sums(page.units, runs), _Sums(page.linked, runs)
        claimed = bool(page.roles[kept].claims)
        found: list[int] = []
        last = -1
        for at in range(kept + 1, len(page.names)):
            if page.text_begin[at] >= end:
                break
            if page.text_begin[at] < last or page.names[at] not in _LISTS or not gone.holds(page.text_begin[at]):
                continue
            if page.link_end[at] - page.link_begin[at] < (1 if page.names[at] == "p" else _LINKS):
                continue
            size, of_links = self.held(at, units), self.held(at, linked)
            line, number = page.names[at] == "p", page.link_end[at] - page.link_begin[at]
            if of_links <= (_LINK_LINE if line else _LINK_SHARE) * size:
                continue
            if not (claimed or line) or self._are_titles(at, number, of_links, _LINE_TITLE if line else _TITLE):
                found.append(at)
                last = page.text_end[at]
        cost = sum(self.held(at, units) for at in found)
        return found if cost <= _ALL_LINKS * self.held(kept, units) else []

    def _are_titles(self, at: int, number: int, units: int, least: int) -> bool:
        """Tell whether a block's links read like titles of articles, not like terms or names of functions."""
        if units < least * number:
            return False
        said = self.page.line(self.page.text_begin[at], self.page.text_end[at])
        return said.count(" ") >= _SPACES * number or not said.isascii()

    def content(self, kept: int, dropped: Sequence[int]) -> MainContent:
        """Return the chosen block without what is left out of it, and without headings of nothing but that."""
        page = self.page
        begin, end = page.text_begin[kept], page.text_end[kept]
        without = sorted(
            (page.text_begin[at], page.text_end[at])
            for at in dropped
            if page.text_begin[at] >= begin and page.text_end[at] <= end and at != kept
        )
        found = MainContent(begin, end, _outermost(without))
        empty = self._empty_headings(found)
        return MainContent(begin, end, _outermost(sorted([*found.without, *empty]))) if empty else found

    def _empty_headings(self, content: MainContent) -> list[Stretch]:
        """Return the headings below which all was left out ("Related articles")."""
        page, found = self.page, list[Stretch]()
        if not content.without:
            return found
        headings = [head for head in page.headings if head.name in _LEVELS and content.holds(head.begin)]
        for head, after in zip_longest(headings, headings[1:]):
            if after is not None and _LEVELS[after.name] > _LEVELS[head.name]:
                continue
            end = after.begin if after is not None else content.end
            at = bisect_left(content.without, (head.end, 0))
            if at == len(content.without) or content.without[at][0] >= end:
                continue
            if not page.line(head.end, end, content.without[at : bisect_left(content.without, (end, 0))]):
                found.append((head.begin, head.end))
        return found


def _is_linked(head: Heading, links: Sequence[tuple[int, int, str]]) -> bool:
    """Tell whether a heading is a link to another page, or in one."""
    at = bisect_left(links, (head.begin - 3,))
    for begin, end, target in links[at : at + 3]:
        if begin > head.end:
            return False
        if target[0] != "#" and end > head.begin and end >= head.end - 2:
            return True
    return False


def _outermost(stretches: Iterable[Stretch]) -> list[Stretch]:
    """Return sorted stretches without those that begin in another."""
    found: list[Stretch] = []
    for first, last in stretches:
        if not found or first >= found[-1][1]:
            found.append((first, last))
    return found
