"""What the page needs of a search engine, as protocols: the rooms do not import one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

Pieces = Sequence[tuple[str, bool]]  # text, and whether it is a match to be marked


class PageText(Protocol):
    """What is shown of a page."""

    @property
    def page_id(self) -> int:
        """64 bits, signed."""

    @property
    def url(self) -> str:
        """Its address."""

    @property
    def title(self) -> str:
        """May be empty."""

    @property
    def description(self) -> str:
        """What the page says of itself; may be empty."""


class TermShare(Protocol):
    """One term's share of a score."""

    @property
    def term(self) -> str:
        """As it stands in the index."""

    @property
    def weight(self) -> float:
        """In the query: 1 for words as written."""

    @property
    def idf(self) -> float:
        """How much it tells."""

    @property
    def pages(self) -> int:
        """How many pages have it."""

    @property
    def frequencies(self) -> Mapping[str, int]:
        """How often the page has it, by field."""

    @property
    def share(self) -> float:
        """Its part of the score."""


class Explanation(Protocol):
    """A score in parts that add up to it."""

    @property
    def terms(self) -> Sequence[TermShare]:
        """Largest first."""

    @property
    def phrases(self) -> Sequence[tuple[str, float]]:
        """Each phrase and its share."""

    @property
    def prior(self) -> float:
        """The share of the links."""

    @property
    def pagerank(self) -> float:
        """Probability."""

    @property
    def lengths(self) -> Mapping[str, int]:
        """Words by field."""

    @property
    def score(self) -> float:
        """The sum."""


class Hit(Protocol):
    """One result."""

    @property
    def place(self) -> int:
        """From 1, over all pages of results."""

    @property
    def score(self) -> float:
        """Higher is better."""

    @property
    def page(self) -> PageText:
        """What was found."""

    @property
    def title(self) -> Pieces:
        """With matches marked; the address where there is no title."""

    @property
    def snippet(self) -> Pieces:
        """A piece of the text, matches marked."""

    @property
    def pagerank(self) -> float:
        """Probability, 0 if unknown."""

    @property
    def prominence(self) -> float:
        """0 to 1: what a bar shows of the rank."""

    @property
    def copies(self) -> Sequence[str]:
        """Addresses of pages with the same content."""

    @property
    def explanation(self) -> Explanation | None:
        """If it was asked for."""


class Answer(Protocol):
    """One page of results."""

    @property
    def hits(self) -> Sequence[Hit]:
        """Best first."""

    @property
    def more(self) -> bool:
        """Whether a further page of results is not empty."""

    @property
    def suggestion(self) -> str | None:
        """The query as it was probably meant."""

    @property
    def expanded(self) -> bool:
        """Whether words of the first results were added."""

    @property
    def seconds(self) -> float:
        """Time taken."""


class Index(Protocol):
    """The pages by number, 0 to n - 1."""

    @property
    def block(self) -> Mapping[str, NDArray[Any]]:
        """Arrays by name; used are `page_ids` int64 (n) and `pageranks` float64 (n), 0 where unknown."""

    def __len__(self) -> int: ...

    def page(self, number: int) -> PageText:
        """What is shown of a page."""

    def number_of(self, page_id: int) -> int | None:
        """A page's number from its id."""

    def term_number(self, term: str) -> int:
        """A term's number, or -1."""

    def string(self, name: str, number: int) -> str:
        """A page's `url`, `title` or `text`, or with a term's number its most frequent written form, `word`."""


class Engine(Protocol):
    """Answers queries, from several threads at once."""

    @property
    def index(self) -> Index:
        """What is searched."""

    def search(self, text: str, top: int = 10, page: int = 1, *, reasons: bool = False) -> Answer:
        """Answer any text that somebody types."""

    def related(self, number: int, top: int = 5) -> Sequence[PageText]:
        """Pages with much the same words as a page."""
