"""The demo's generated films: genres that say who likes them, titles of these genres' words, the same ratings."""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from statistics import mean

import pytest
from tests_root import ROOT

# By its path: a benchmark has a module of the same name.
_SPEC = spec_from_file_location("example_make_ratings", ROOT / "examples" / "make_ratings.py")
assert _SPEC is not None
assert _SPEC.loader is not None
make_ratings = module_from_spec(_SPEC)
_SPEC.loader.exec_module(make_ratings)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ratings")
    before, sys.argv = sys.argv, ["make_ratings.py", str(out), "--bad-lines"]
    try:
        make_ratings.main()
    finally:
        sys.argv = before
    return out


def rows(file: Path) -> list[list[str]]:
    with file.open(newline="", encoding="utf-8") as opened:
        return list(csv.reader(opened))[1:]


def test_each_film_has_two_genres_and_a_title_of_their_words(made: Path) -> None:
    films = rows(made / "movies.csv")
    assert len(films) == 400
    titles = [title.rsplit(" (", 1)[0] for _, title, _ in films]
    assert len(set(titles)) == 400
    for title, (_, _, genres) in zip(titles, films, strict=True):
        first, second = genres.split("|")
        assert first != second
        assert any(title.startswith(word) for word in make_ratings.WORDS[first][0]), title
        assert any(title.split(", Part ")[0].endswith(word) for word in make_ratings.WORDS[second][1]), title


def test_titles_that_run_out_of_words_get_a_number() -> None:
    titles = make_ratings.titles_of([("War", "Horror")] * 30)
    assert len(set(titles)) == 30
    assert titles[0] == "Battalion of the Undead"
    assert titles[12] == "Battalion of the Undead, Part 2"


def test_no_word_is_of_two_genres() -> None:
    words = [word for heads, tails in make_ratings.WORDS.values() for word in (*heads, *tails)]
    assert len(set(words)) == len(words)


def test_users_with_the_clearest_tastes_rate_their_genre_above_its_opposite(made: Path) -> None:
    genres = {film: of.split("|") for film, _, of in rows(made / "movies.csv")}
    users = (made / "users.txt").read_text(encoding="utf-8").split(",")
    assert len(set(users)) == 3
    given = defaultdict(lambda: defaultdict(list))
    for user, film, rating, _ in rows(made / "ratings.csv")[:-3]:
        for genre in genres[film]:
            given[user][genre].append(float(rating))
    favourites = set()
    for user in users:
        means = {genre: mean(ratings) for genre, ratings in given[user].items() if len(ratings) >= 3}
        pairs = zip(make_ratings.GENRES[::2], make_ratings.GENRES[1::2], strict=True)  # the two ends of a factor
        known = [pair for pair in pairs if {*pair} <= {*means}]
        gaps = {max(pair, key=means.__getitem__): abs(means[pair[0]] - means[pair[1]]) for pair in known}
        favourite = max(gaps, key=gaps.__getitem__)
        assert gaps[favourite] > 1, (user, means)
        assert favourite in sorted(means, key=means.__getitem__)[-2:]
        favourites.add(favourite)
    assert len(favourites) == 3


def test_bad_lines_are_three_and_only_on_request(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["make_ratings.py", str(tmp_path)])
    make_ratings.main()
    assert rows(made / "ratings.csv") == [*rows(tmp_path / "ratings.csv"), *map(list, make_ratings.BAD_LINES)]
