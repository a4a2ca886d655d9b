"""The page: everything escaped, nothing from outside, sound HTML."""

from __future__ import annotations

import datetime as dt
import re
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from lakerank.report import page as words
from lakerank.report.page import Figure, Headline, Page, Section, Table, render, show_cell

EVIL = """<script>alert("x")</script><img src=http://evil.example/x onerror='y'>{{ 7 * 7 }}"""
VOID = {"meta", "link", "br", "img"}


class Checker(HTMLParser):
    """Collects tags and attributes and sees that they are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def full_page(text: str) -> Page:
    figure = Figure("f", text, '<svg role="img" aria-label="f"><path d="M 0 0" /></svg>', text, wide=True)
    table = Table(text, ("name", text, "n"), ((text, None, 1234567),), text, numbers=("n",))
    folded = Table("numbers", ("n",), ((0.25,),), folded=True)
    sections = (
        Section("one", "One", text, (figure, table, folded), (Headline(text, "1", text), Headline("b", "2"))),
        Section("two", "Two", "the table x is missing: run y"),
    )
    made = dt.datetime(2030, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    return Page(text, text, sections, made, {"lakerank": text}, Table("Tables", ("table",), ((text,),)))


def test_text_is_escaped_wherever_it_stands() -> None:
    html = render(full_page(EVIL))
    seen = Checker(html)
    assert "script" not in seen.tags
    assert "img" not in seen.tags
    assert "onerror" not in dict(seen.attributes)
    assert "".join(seen.text).count("alert(") >= 8
    assert "{{ 7 * 7 }}" in "".join(seen.text)


def test_nothing_comes_from_outside() -> None:
    html = render(full_page("plain"))
    seen = Checker(html)
    assert not re.search(r"https?:|//\w+\.|@import|url\(", html)
    assert not set(seen.tags) & {"script", "iframe", "object", "embed"}
    for name, value in seen.attributes:
        if name in ("src", "href", "action"):
            assert value.startswith(("#", "data:"))
    policy = dict(seen.attributes)["content"]
    assert policy.startswith("default-src 'none'")


def test_page_is_sound_and_reads_well_on_phones_and_in_the_dark() -> None:
    html = render(full_page("plain"))
    seen = Checker(html)
    ids = [value for name, value in seen.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    links = {value[1:] for name, value in seen.attributes if name == "href" and value.startswith("#")}
    assert links == {"one", "two"}
    assert links <= set(ids)
    assert html.startswith("<!doctype html>")
    assert seen.tags.count("figcaption") == seen.tags.count("figure") == 1
    assert ("name", "viewport") in seen.attributes
    assert "prefers-color-scheme: dark" in html
    assert "2030-01-02 03:04:05 UTC with lakerank plain." in html
    assert '<svg role="img"' in html
    assert "1,234,567" in html
    assert "the table x is missing: run y" in html


def test_a_page_without_numbers_or_tables_is_a_page() -> None:
    html = render(Page("t", "lake", (), dt.datetime(2030, 1, 1, tzinfo=dt.UTC)))
    Checker(html)
    assert "<dl" not in html


def test_template_is_part_of_the_package() -> None:
    assert (files("lakerank.report") / "templates" / "report.html.j2").is_file()


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (1234567, "1,234,567"),
        (0.87312, "0.8731"),
        (1234.5, "1,234"),
        (3.14159e-7, "3.14e-07"),
        (0.0, "0"),
        ("a\n b\x00\u202e", "a b"),
        ("x" * 500, "x" * 299 + "…"),
    ],
)
def test_cells(cell: str | int | float | None, said: str) -> None:
    assert show_cell(cell) == said


def test_long_names_are_cut_where_they_say_least() -> None:
    assert words.tidy_middle("https://example.org/a/b/c/index-17.html", 21) == "https://ex…ex-17.html"
    assert words.tidy_middle("short", 21) == "short"
    assert words.tidy("a long title", 7) == "a long…"


def test_ticks() -> None:
    assert [words.short(x) for x in (0, 0.5, 950, 1500, 2e6, 3e9)] == ["0", "0.5", "950", "1.5k", "2M", "3G"]
    assert [words.power(x) for x in (1e-8, 1, 10, 2e5, 0)] == ["10⁻⁸", "1", "10¹", "", ""]
    assert [words.percent(x) for x in (0, 0.004, 0.07, 0.0996, 0.5, 1)] == [
        "0 %",
        "0.4 %",
        "7.0 %",
        "10 %",
        "50 %",
        "100 %",
    ]
