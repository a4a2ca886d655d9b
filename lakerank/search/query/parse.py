"""The query language: words, "phrases", +must, -not, OR, site:host, title:word; and a query's terms."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum

from lakerank.search.text.analyzer import Analyzer, Term

_PIECE = re.compile(
    r"""(?P<sign>[+-])?(?:(?P<key>site|title):)?(?:"(?P<phrase>[^"]*)"?|(?P<word>[^\s"]+))""", re.IGNORECASE
)


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
    """

    clauses: tuple[Clause, ...] = ()
    sites: tuple[str, ...] = ()
    not_sites: tuple[str, ...] = field(default=())

    @property
    def plain(self) -> bool:
        """Whether it consists of words alone."""
        ordinary = all(clause.occur is Occur.SHOULD for clause in self.clauses)
        return ordinary and not self.sites and not self.not_sites

    @property
    def words(self) -> str:
        """All words and phrases that are wanted, as one text."""
        wanted = (part.text for clause in self.clauses if clause.occur is not Occur.NOT for part in clause.parts)
        return " ".join(wanted)


def parse(text: str) -> Query:
    """Read a query; anything is one, an unclosed quote ends with the text.

    Quoted phrases, words for the title and words around OR must be there (one of those around OR). Other words add to
    a page's score, none of them must be there. A hyphen is a sign only at the start of a word.
    """
    clauses: list[Clause] = []
    sites: list[str] = []
    not_sites: list[str] = []
    joining = False
    for found in _PIECE.finditer(text):
        word, phrase = found["word"], found["phrase"]
        if word == "OR" and not found["sign"] and not found["key"]:
            joining = bool(clauses)
            continue
        content = (phrase if phrase is not None else word).strip()
        if not any(char.isalnum() for char in content):
            continue
        key = (found["key"] or "").lower()
        if key == "site":
            host = content.lower().split("//")[-1].split("/")[0].removeprefix("*.").strip(".")
            (not_sites if found["sign"] == "-" else sites).append(host)
            continue
        part = Part(content, phrase is not None, key == "title")
        occur = Occur.MUST if part.phrase or part.title or found["sign"] == "+" else Occur.SHOULD
        if found["sign"] == "-":
            occur = Occur.NOT
        if joining and occur is not Occur.NOT and clauses[-1].occur is not Occur.NOT:
            clauses[-1] = Clause((*clauses[-1].parts, part), Occur.MUST)
        else:
            clauses.append(Clause((part,), occur))
        joining = False
    return Query(tuple(clauses), tuple(sites), tuple(not_sites))


def plain(text: str) -> Query:
    """Read a text as a query of words alone, for collections of questions in which quotes and hyphens mean nothing."""
    words = (word.strip("\"'+-") for word in text.split())
    return Query(tuple(Clause((Part(word),)) for word in words if any(char.isalnum() for char in word)))


@dataclass(frozen=True)
class AnalyzedQuery:
    """A query in terms, whatever index it is put to.

    Attributes:
        clauses: each with its parts and their terms.
        weights: of the wanted terms, in the order they were written: how often each is there.
        units: words that count, a pair and its halves as one.
    """

    clauses: tuple[tuple[Clause, tuple[tuple[Part, tuple[Term, ...]], ...]], ...]
    weights: dict[str, float]
    units: int


def analyze_query(query: Query, analyzer: Analyzer) -> AnalyzedQuery:
    """Analyse a query's parts. Stop words are wanted only where they must be there, or where there is nothing else."""
    clauses = tuple(
        (clause, tuple((part, tuple(analyzer.analyze(part.text))) for part in clause.parts)) for clause in query.clauses
    )
    only_stops = all(term.stop or term.is_pair for _, parts in clauses for _, terms in parts for term in terms)
    weights: dict[str, float] = {}
    units = 0
    for clause, parts in clauses:
        for part, terms in parts if clause.occur is not Occur.NOT else ():
            for term in terms:
                wanted = only_stops or clause.occur is Occur.MUST or not term.stop
                if wanted and not (part.phrase and term.is_pair):
                    weights[term.text] = weights.get(term.text, 0.0) + 1.0
            units += any(not term.stop for term in terms)
    return AnalyzedQuery(clauses, weights, units)
