"""The query language: words, "phrases", +must, -not, OR, site:host, title:word; and a query's terms."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import Enum

from lakerank.search.query.word_classes import classes_of
from lakerank.search.text.analyzer import PART, WHOLE, Analyzer, Term
from lakerank.search.text.languages import NONE, stop_words

_PIECE = re.compile(
    r"""(?P<sign>[+-])?(?:(?P<key>site|title|after|before):)?(?:"(?P<phrase>[^"]*)"?|(?P<word>[^\s"]+))""",
    re.IGNORECASE,
)
# Words joined by a dot (but not `e.g.`) or `_`, brackets of a call, a capital within a word.
_NAME = re.compile(r"\w\w[._]\w|\w[._]\w\w|\(\)|__|[a-z0-9][A-Z]|::")

_ANY_WORD = re.compile(r"(?:(?<=\s)|^)\*(?=\s|$)")
_WILDCARD = re.compile(r"\w\*|\*\w|\w\?\w")
_DAY = re.compile(r"([0-9]{4})(?:-([0-9]{1,2}))?(?:-([0-9]{1,2}))?")
_ALL_DAYS = (-(2**31) + 1, 2**31 - 1)

_SIGNS = re.compile(r"\w\w\.\w|\w\.\w\w|[@+#]|^\.")  # within names; hyphens and slashes are mere punctuation


class Occur(Enum):
    """The role of a clause in a query."""

    SHOULD = "should"  # adds to the score
    MUST = "must"
    NOT = "not"


@dataclass(frozen=True)
class Part:
    """A word or a phrase.

    Attributes:
        text: as written, without quotes.
        phrase: whether it was quoted.
        title: whether it has to stand in the title.
    """

    text: str
    phrase: bool = False
    title: bool = False


@dataclass(frozen=True)
class Clause:
    """Parts joined by OR; one of them has to be there if `occur` is MUST, none if it is NOT."""

    parts: tuple[Part, ...]
    occur: Occur = Occur.SHOULD


@dataclass(frozen=True)
class Query:
    """A parsed query.

    Attributes:
        clauses: in order.
        sites: hosts of which one has to be the page's own or above it.
        not_sites: hosts that must not be.
        fetched: days since 1970 from which and before which the page was fetched; None: whenever.
    """

    clauses: tuple[Clause, ...] = ()
    sites: tuple[str, ...] = ()
    not_sites: tuple[str, ...] = field(default=())
    fetched: tuple[int, int] | None = None

    @property
    def plain(self) -> bool:
        """Whether it consists of words alone."""
        ordinary = all(clause.occur is Occur.SHOULD for clause in self.clauses)
        return ordinary and not self.sites and not self.not_sites and not self.fetched

    @property
    def words(self) -> str:
        """All words and phrases that are wanted, as one text."""
        wanted = (part.text for clause in self.clauses if clause.occur is not Occur.NOT for part in clause.parts)
        return " ".join(wanted)


def parse(text: str) -> Query:
    """Read a query; anything is one, an unclosed quote ends with the text.

    Quoted phrases, words for the title and words around OR must be there (one of those around OR). Other words add to
    a page's score, none of them must be there. A hyphen is a sign only at the start of a word. `a AND b` is `+a +b`,
    `NOT a` is `-a`, where not all of the query is in capitals. `after:` and `before:` take a year, a month or a day.
    """
    pieces = list(_PIECE.finditer(text))
    signs = not _shouted(pieces)
    clauses: list[Clause] = []
    sites: list[str] = []
    not_sites: list[str] = []
    joining = requiring = denying = False
    first_day, end_day = _ALL_DAYS
    for found in pieces:
        word, phrase = found["word"], found["phrase"]
        if word == "OR" and not found["sign"] and not found["key"]:
            joining = bool(clauses)
            continue
        if signs and word in ("AND", "NOT") and not found["sign"] and not found["key"]:
            requiring, denying = requiring or (word == "AND" and bool(clauses)), denying or word == "NOT"
            continue
        content = (phrase if phrase is not None else word).strip()
        if not any(char.isalnum() for char in content):
            continue
        key = (found["key"] or "").lower()
        if key == "site":
            hosts = site_hosts(content)
            (not_sites if found["sign"] == "-" or denying else sites).extend(hosts)
            joining = requiring = denying = False
            continue
        if key in ("after", "before"):
            day = day_number(content)
            if day is not None:
                if found["sign"] == "-" or denying:
                    key = "before" if key == "after" else "after"
                joining = requiring = denying = False
                first_day, end_day = (
                    (max(first_day, day), end_day) if key == "after" else (first_day, min(end_day, day))
                )
                continue
            content, key = f"{key}:{content}", ""  # no date: words
        part = Part(content, phrase is not None, key == "title")
        occur = Occur.MUST if part.phrase or part.title or found["sign"] == "+" else Occur.SHOULD
        if found["sign"] == "-" or denying:
            occur = Occur.NOT
        elif requiring:
            occur = Occur.MUST
            if clauses[-1].occur is Occur.SHOULD:
                clauses[-1] = Clause(clauses[-1].parts, Occur.MUST)
        if joining and occur is not Occur.NOT and clauses[-1].occur is not Occur.NOT:
            clauses[-1] = Clause((*clauses[-1].parts, part), Occur.MUST)
        else:
            clauses.append(Clause((part,), occur))
        joining = requiring = denying = False
    fetched = None if (first_day, end_day) == _ALL_DAYS else (first_day, end_day)
    return Query(tuple(clauses), tuple(sites), tuple(not_sites), fetched)


def _shouted(pieces: Sequence[re.Match[str]]) -> bool:
    """Tell whether all of a query's own words are in capitals, so that AND and NOT may be words like them.

    Filters and the signs themselves are none: what is put to a query changes nothing about how the rest is read.
    """
    own = [
        found["phrase"] if found["phrase"] is not None else found["word"] for found in pieces if not _is_aside(found)
    ]
    return " ".join(own).isupper()


def _is_aside(found: re.Match[str]) -> bool:
    return (found["key"] or "").lower() in ("site", "after", "before") or found["word"] in ("AND", "OR", "NOT")


def site_hosts(text: str) -> list[str]:
    """Return the host that `site:` names, by its name or by an address, in each form that pages may have it in."""
    host = text.lower().split("://", 1)[-1].removeprefix("//")
    host = re.split(r"[/?#]", host, maxsplit=1)[0].rpartition("@")[2].removeprefix("*.")
    if host.startswith("[") or host.count(":") == 1:
        host = re.sub(r":[0-9]*$", "", host)
    host = host.strip("[].")
    if host.isascii():
        return [host] if host else []
    try:
        return [host, host.encode("idna").decode()]
    except UnicodeError:
        return [host]


def day_number(text: str) -> int | None:
    """Return the number since 1970 of the first day of a year, a month or a day: `2024`, `2024-05`, `2024-05-01`."""
    parts = _DAY.fullmatch(text)
    if parts is None:
        return None
    try:
        return date(*(int(part or 1) for part in parts.groups())).toordinal() - date(1970, 1, 1).toordinal()
    except ValueError:
        return None


def not_understood(text: str) -> list[str]:
    """Say in sentences what stands in a query that looks like a sign of other query languages, and is none here."""
    said = []
    text = text.encode(errors="replace").decode()  # it is printed
    pieces = list(_PIECE.finditer(text))
    written = (found["word"] for found in pieces if found["word"] and not found["key"])
    if words := [word for word in written if _WILDCARD.search(word) and "://" not in word and "=" not in word]:
        said.append(
            f"{words[0]}: a * stands for a whole word within quotes, not for a part of a word, and a ? for nothing; it "
            "was left out."
        )
    for found in pieces:
        key, word = (found["key"] or "").lower(), found["word"] if found["phrase"] is None else found["phrase"]
        if key in ("after", "before") and day_number(word.strip()) is None:
            said.append(f"{key}:{word} is no date: give a year, a month or a day, such as {key}:2024-05.")
    if re.search(r'"(~|\^)\d', text) or re.search(r"\w(~\d?|\^\d[\d.]*)(\s|$)", text):
        said.append("Signs for similar words (~) and for weights (^) mean nothing here; they were left out.")
    return said


def plain(text: str) -> Query:
    """Read a text as a query of words alone, for collections of questions in which quotes and hyphens mean nothing."""
    words = (word.strip("\"'+-") for word in text.split())
    return Query(tuple(Clause((Part(word),)) for word in words if any(char.isalnum() for char in word)))


@dataclass(frozen=True)
class FormWeights:
    """How much the forms of a query's words count.

    Attributes:
        exact: 0 to 1, share of a word as it is written; the rest is its class's, in which that word is, too: so a form
            never loses to its relatives.
        named: the same in a query that has a name of a program in it: names are not inflected.
        whole: of a name of several words beside its words: `np.linalg`.
        joined: of words with hyphens or slashes beside them: `boundary-layer`.
        part: of what stands within a word.
    """

    exact: float = 0.35
    named: float = 0.9
    whole: float = 1.0
    joined: float = 0.4
    part: float = 0.1

    def of(self, term: Term) -> float:
        """Return the weight of a compound or of a part of a word."""
        if term.kind == PART:
            return self.part
        return self.whole if _SIGNS.search(term.word) else self.joined


@dataclass(frozen=True)
class Vocabulary:
    """What a query needs to know of the collection it is put to.

    Attributes:
        languages: of its pages, those of most pages first.
        idf: a term's inverse document frequency; 0 if no page has it.
        pages: how many there are.
    """

    languages: Sequence[str]
    idf: Callable[[str], float]
    pages: int

    def joint_idf(self, terms: Sequence[str]) -> float:
        """Return the idf that several terms would have as one, no page having two of them."""
        half = 0.5 / (self.pages + 1)
        share = sum(math.exp(-self.idf(term)) - half for term in terms) + half  # (df + ½) / (N + 1) of all
        return max(-math.log(share), -math.log1p(-half)) if len(terms) > 1 else self.idf(terms[0])


@dataclass(frozen=True)
class Lookup:
    """The terms by which a word is found: as written, by the rules of each language's case, and its classes."""

    forms: tuple[str, ...]
    classes: tuple[str, ...]

    @property
    def known(self) -> bool:
        """Whether any page has the word or a relative of it."""
        return bool(self.forms or self.classes)


@dataclass(frozen=True)
class AnalyzedQuery:
    """A query in terms, whatever part of a collection it is put to.

    Attributes:
        clauses: each with its parts and their terms.
        lookups: of each word.
        weights: of the wanted terms, in the order they were written.
        units: words that count, a compound and its words as one.
        words: the same, each word of a compound for itself.
        unknown: words that no page has.
        language: whose stop words were left out.
    """

    clauses: tuple[tuple[Clause, tuple[tuple[Part, tuple[Term, ...]], ...]], ...]
    lookups: dict[str, Lookup]
    weights: dict[str, float]
    units: int
    words: int
    unknown: tuple[str, ...]
    language: str


def analyze_query(
    query: Query, vocabulary: Vocabulary, weights: FormWeights | None = None, language: str = ""
) -> AnalyzedQuery:
    """Analyse a query's parts in the languages that the collection has.

    Stop words, of the language that most of the query's words are in, are wanted only where they must be there, or
    where there is nothing else.

    Args:
        query: parsed.
        vocabulary: of the whole collection.
        weights: of the forms of a word; None: the usual ones.
        language: that the query is in; empty: any that the collection has.
    """
    how, idf = weights or FormWeights(), vocabulary.idf
    languages = [language, ""] if language else list(vocabulary.languages)
    if NONE in languages:
        languages = [NONE]
    texts = [part.text for clause in query.clauses for part in clause.parts]
    dotted = [code for code in ("tr", "az") if code in languages]
    lookups: dict[str, Lookup] = {}
    for text in texts:
        spelt = [[term.text for term in Analyzer(code).analyze(text) if term.is_word] for code in ("", *dotted)]
        for forms in zip(*spelt, strict=True):
            classes = dict.fromkeys(name for form in forms for name in classes_of(form, languages))
            lookups[forms[0]] = Lookup(
                tuple(form for form in dict.fromkeys(forms) if idf(form) > 0),
                tuple(name for name in classes if idf(name) > 0),
            )
    main = language or _spoken(list(lookups), languages, idf)
    stops = stop_words(main)
    clauses = tuple((clause, tuple((part, _terms(part, stops)) for part in clause.parts)) for clause in query.clauses)
    only_stops = all(term.stop or not term.is_word for _, parts in clauses for _, terms in parts for term in terms)
    wanted: dict[str, float] = {}
    units = words = 0
    unknown = []
    exact = how.named if any(map(_is_name, texts)) else how.exact
    for clause, parts in clauses:
        for part, terms in parts if clause.occur is not Occur.NOT else ():
            wholes = [term.text for term in terms if term.kind == WHOLE and idf(term.text) > 0]
            for term in terms:
                if term.is_word:
                    lookup = lookups[term.text]
                    if not lookup.known:
                        unknown.append(term.text)
                    if only_stops or clause.occur is Occur.MUST or not term.stop:
                        for name, weight in _shares(lookup, exact, vocabulary):
                            wanted[name] = wanted.get(name, 0.0) + weight
                elif term.kind == WHOLE and any(term.text in other and term.text != other for other in wholes):
                    continue  # of compounds within one another the longest that some page has
                elif not part.phrase and idf(term.text) > 0:
                    wanted[term.text] = wanted.get(term.text, 0.0) + how.of(term)
            telling = sum(term.is_word and not term.stop for term in terms)
            units, words = units + (telling > 0), words + telling
    return AnalyzedQuery(clauses, lookups, wanted, units, words, tuple(unknown), main)


def _terms(part: Part, stops: frozenset[str]) -> tuple[Term, ...]:
    """Return a part's terms, each compound and part once; in a phrase a lone `*` takes the place of one word."""
    out: dict[tuple[str, int, int], Term] = {}
    begin = 0
    for text in _ANY_WORD.split(part.text) if part.phrase else [part.text]:
        last = begin - 1
        for term in Analyzer().analyze(text):
            place = begin + term.position
            last = max(last, place) if term.is_word else last
            key = (term.text, term.kind, -1 if term.kind == PART else place)
            out.setdefault(key, Term(term.text, term.word, place, term.text in stops, term.kind))
        begin = last + 2  # a word between
    return tuple(out.values())


def _is_name(text: str) -> bool:
    """Tell whether a word is the name of something in a program: `np.linalg`, `read_csv`, `sum()`, `DataFrame`."""
    return bool(_NAME.search(text))


def _shares(lookup: Lookup, exact: float, vocabulary: Vocabulary) -> list[tuple[str, float]]:
    """Return the terms of a word with their weights.

    The classes of several languages hold different pages. Each counts as if they were one, so that a word is not the
    more telling for standing on few pages of a small language.
    """
    if not lookup.classes:
        return [(form, 1.0) for form in lookup.forms]
    joint = vocabulary.joint_idf(lookup.classes)
    share = 1.0 - exact if lookup.forms else 1.0
    classes = [(name, share * joint / vocabulary.idf(name)) for name in lookup.classes]
    return [*((form, exact) for form in lookup.forms), *classes]


def _spoken(words: Sequence[str], languages: Sequence[str], idf: Callable[[str], float]) -> str:
    """Return the language that most of a query's words are in; of equals the one of most pages."""

    def explained(code: str) -> int:
        stops = stop_words(code)
        return sum(word in stops or any(idf(name) > 0 for name in classes_of(word, [code]) or [word]) for word in words)

    return max(languages, key=explained, default="")  # the first of equals
