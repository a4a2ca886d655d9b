"""Rules for recommendations, and recommendations served from mapped arrays, against a plain reading of both."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import sys
from pathlib import Path
from typing import Any

import lake_tables
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from lakerank.cli.errors import UserError
from lakerank.lake.publications import publishing
from lakerank.lake.schemas import ITEM_FACTORS, ITEMS, LINEAR_WEIGHTS, RATINGS, USER_FACTORS
from lakerank.recommend.latent_factors.config import LfmConfig
from lakerank.recommend.models.rules import EACH, exclusions, make_rules, read_rules
from lakerank.webapp.recommend_api import NewestModel, recommender_app
from spark_jobs import export_factors

N_USERS, N_ITEMS, K = 40, 25, 4
GENRES = ["Drama", "Comedy", "Western"]


def no_session() -> Any:
    raise AssertionError("asked for a Spark session")


def item_ids(text: bool) -> list[Any]:
    return [f"f{i:03}" if text else 100 + i for i in range(N_ITEMS)]


def write_lake(folder: Path, text: bool = False, seed: int = 0) -> str:
    """A lake with ratings, items, and factors and weights drawn by chance; the last three users are not in training."""
    rng, lake = np.random.default_rng(seed), str(folder)
    users: list[Any] = [f"u/{u:02}" if text else u for u in range(N_USERS)]
    items = item_ids(text)
    rated = [(u, i) for u in range(N_USERS - 1) for i in range(N_ITEMS) if rng.random() < 0.3]
    rows = [
        (users[u], items[i], float(1 + rng.integers(5)), dt.datetime(2020, 1, 1) + dt.timedelta(days=int(d)))
        for (u, i), d in zip(rated, rng.integers(0, 50, len(rated)), strict=True)
    ]
    factors = {"mean": 3.5, "low": 1.0, "high": 5.0, "reg": 0.05, "rank": K, "fallback": None}
    params = factors | {"settings": dataclasses.asdict(LfmConfig(factors=K))}
    with publishing(no_session, lake, "ratings") as run:
        run.write(RATINGS, table(RATINGS, rows, text))
        run.write(
            ITEMS, table(ITEMS, [(items[i], f"Film {i}", 1990 + i, [GENRES[i % 3]]) for i in range(N_ITEMS)], text)
        )
    with publishing(no_session, lake, "lfm", f"run{seed}") as run:
        p, q = rng.standard_normal((N_USERS - 3, K)), rng.standard_normal((N_ITEMS, K))
        bias = rng.standard_normal(N_USERS + N_ITEMS)
        run.write(USER_FACTORS, table(USER_FACTORS, [(users[u], bias[u], p[u].tolist()) for u in range(len(p))], text))
        run.write(
            ITEM_FACTORS,
            table(ITEM_FACTORS, [(items[i], bias[N_USERS + i], q[i].tolist()) for i in range(N_ITEMS)], text),
        )
        run.settings(params=params)
    with publishing(no_session, lake, "linear", f"weights{seed}") as run:
        pairs = [(i, j) for i in range(N_ITEMS) for j in range(N_ITEMS) if i != j and rng.random() < 0.5]
        weights = [(items[i], items[j], float(rng.standard_normal())) for i, j in pairs]
        run.write(LINEAR_WEIGHTS, table(LINEAR_WEIGHTS, weights, text))
        run.settings(params={"settings": {"recency": 0.8}})
    return lake


def table(relation: Any, rows: list[Any], text: bool) -> pa.Table:
    schema = relation.arrow_schema(id_type="string" if text else "bigint")
    return pa.Table.from_pylist([dict(zip(relation.names, row, strict=True)) for row in rows], schema=schema)


def rows_of(lake: str, relation: Any) -> list[Any]:
    return lake_tables.rows(relation, lake)


def client(newest: NewestModel) -> TestClient:
    return TestClient(recommender_app(lambda: newest.model), base_url="http://127.0.0.1")


@pytest.fixture(scope="module", params=[False, True], ids=["numbers", "text"])
def lake(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_lake(tmp_path_factory.mktemp("served"), request.param)


def test_factors_are_served_as_the_formula_has_them(lake: str) -> None:
    newest = NewestModel(lake, "lfm", "", "", no_session)
    factors = {row["item_id"]: row for row in rows_of(lake, ITEM_FACTORS)}
    seen: dict[Any, set[Any]] = {}
    for row in rows_of(lake, RATINGS):
        seen.setdefault(row["user_id"], set()).add(row["item_id"])
    for row in rows_of(lake, USER_FACTORS)[:10]:
        user = row["user_id"]
        scores = {
            item: 3.5 + row["bias"] + of["bias"] + float(np.dot(row["factors"], of["factors"]))
            for item, of in factors.items()
            if item not in seen.get(user, ())
        }
        best = sorted(scores, key=lambda item: -scores[item])[:5]
        said = client(newest).get(f"/api/recommend/{user}?top=5&explain=1").json()
        assert said["known"]
        assert [one["item_id"] for one in said["items"]] == [str(item) for item in best]
        for one, item in zip(said["items"], best, strict=True):
            assert one["score"] == pytest.approx(scores[item], abs=1e-5)
            assert sum(reason["contribution"] for reason in one["reasons"]) == pytest.approx(one["score"], abs=1e-5)
            assert one["title"].startswith("Film ")


def test_newcomers_are_folded_in_and_strangers_get_a_fallback(lake: str) -> None:
    newest = NewestModel(lake, "lfm", "", "", no_session)
    ids = newest.model.users.to_pylist()
    assert len(ids) == N_USERS - 1
    newcomer = client(newest).get(f"/api/recommend/{ids[-1]}?explain=1").json()
    assert newcomer["known"]
    assert {one["reason"] for one in newcomer["items"]} == {"latent factors"}
    assert any(abs(reason["contribution"]) > 1e-3 for reason in newcomer["items"][0]["reasons"][2:])
    stranger = client(newest).get("/api/recommend/987654").json()
    assert not stranger["known"]
    assert all(one["reason"].startswith("fallback") for one in stranger["items"])


def test_weights_are_served_and_say_because_of_what(lake: str) -> None:
    newest = NewestModel(lake, "linear", "", "", no_session)
    weights = {(row["other_id"], row["item_id"]): row["weight"] for row in rows_of(lake, LINEAR_WEIGHTS)}
    histories: dict[Any, list[Any]] = {}
    for row in rows_of(lake, RATINGS):
        histories.setdefault(row["user_id"], []).append((row["rated_at"], row["item_id"]))
    user, rated = next((user, rated) for user, rated in sorted(histories.items()) if len(rated) > 4)
    newer = {item: sum(other > when for other, _ in rated) for when, item in rated}
    said = client(newest).get(f"/api/recommend/{user}?top=3&explain=1").json()
    texts = {str(item): item for item in newest.model.items.to_pylist()}
    for one in said["items"]:
        item = texts[one["item_id"]]
        assert item not in newer
        score = sum((1 + newer[j]) ** -0.8 * weights.get((j, item), 0.0) for j in newer)
        assert one["score"] == pytest.approx(score, abs=1e-4)
        because = [reason for reason in one["reasons"] if "because" in reason]
        assert because
        assert all(texts[reason["because"]["item_id"]] in newer for reason in because)


def test_an_address_leaves_items_out(lake: str) -> None:
    newest = NewestModel(lake, "lfm", "", "", no_session)
    user = newest.model.users[0].as_py()
    ask = client(newest).get
    first = [one["item_id"] for one in ask(f"/api/recommend/{user}?top=3").json()["items"]]
    without = [
        one["item_id"] for one in ask(f"/api/recommend/{user}?top=3&exclude={first[0]},{first[2]}").json()["items"]
    ]
    assert first[1] == without[0]
    assert not {first[0], first[2]} & set(without)
    dramas = ask(f"/api/recommend/{user}?top=100&genre=drama").json()["items"]
    assert {name for one in dramas for name in one["genres"]} == {"Drama"}
    everything = ask(f"/api/recommend/{user}?top=100&include_seen=1").json()["items"]
    assert len(everything) == N_ITEMS


@pytest.mark.parametrize("bad", ["?top=0", "?top=x", "?top=101", "?genre=Opera", "?exclude=" + "1," * 1001])
def test_a_wrong_question_is_a_sentence(lake: str, bad: str) -> None:
    newest = NewestModel(lake, "lfm", "", "", no_session)
    answer = client(newest).get(f"/api/recommend/{newest.model.users[0].as_py()}{bad}")
    assert answer.status_code == 400
    assert answer.json()["error"].endswith(".")


def test_a_new_version_is_taken_up_and_a_broken_one_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lake = write_lake(tmp_path)
    newest = NewestModel(lake, "lfm", "", "", no_session)
    before = client(newest).get("/api/recommend/1").json()
    newest.refresh()
    assert client(newest).get("/api/recommend/1").json()["items"] == before["items"]
    write_lake(tmp_path, seed=1)
    assert client(newest).get("/api/recommend/1").json()["run"] == "run0"  # until it has looked
    newest.refresh()
    after = client(newest).get("/api/recommend/1").json()
    assert after["run"] == "run1"
    assert after["items"] != before["items"]
    with publishing(no_session, lake, "lfm", "broken") as run:
        run.settings(params={})
    newest.refresh()
    assert client(newest).get("/api/recommend/1").json()["run"] == "run1"
    assert "the old one stays" in capsys.readouterr().err


def test_a_lake_without_the_model_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run lfm first"):
        NewestModel(str(tmp_path), "lfm", "", "", no_session)
    assert NewestModel.find(str(tmp_path), "", "", "", no_session) is None
    with pytest.raises(UserError, match="served are lfm, linear, neighbors"):
        NewestModel(str(tmp_path), "popular", "", "", no_session)


def rules_of(*rows: dict[str, Any]) -> Any:
    columns = {name: pa.array([row.get(name) for row in rows], pa.string()) for name in ("rule", *COLUMNS)}
    items = pa.array(item_ids(False), pa.int64())
    catalogue = pa.table({"item_id": items, "genres": [[GENRES[i % 3]] for i in range(N_ITEMS)]})
    return make_rules("--rules r.csv", pa.table(columns), items, catalogue, pa.int64())


COLUMNS = ("item_id", "genre", "user_id", "value")


def chosen(rules: Any, scores: np.ndarray, top: int, user: int = 1) -> list[int]:
    hidden = np.zeros((1, N_ITEMS), np.bool_)
    rules.hide([user], hidden)
    positions, best = rules.choose(rules.boosted(scores), hidden, top)
    assert (np.isfinite(best) == (positions >= 0)).all()
    return [position for position in positions[0].tolist() if position >= 0]


SCORES = np.linspace(1.0, 0.0, N_ITEMS)[None, :]


def test_rules_exclude_and_allow() -> None:
    both = rules_of({"rule": "exclude", "item_id": "100"}, {"rule": "Exclude", "genre": "comedy"})
    assert chosen(both, SCORES, 4) == [2, 3, 5, 6]
    assert both.only_hides
    allow = rules_of(
        {"rule": "allow", "genre": "Western"},
        {"rule": "allow", "item_id": "101"},
        {"rule": "exclude", "item_id": "102"},
    )
    assert chosen(allow, SCORES, 3) == [1, 5, 8]
    alone = rules_of({"rule": "exclude", "item_id": "100", "user_id": "1"})
    assert chosen(alone, SCORES, 1, user=1) == [1]
    assert chosen(alone, SCORES, 1, user=2) == [0]


def test_boosts_are_in_deviations_and_add_up() -> None:
    boosted = rules_of(
        {"rule": "boost", "item_id": "124", "value": "2"},
        {"rule": "boost", "genre": "Drama", "value": "2"},
        {"rule": "boost", "item_id": "100", "value": "-9"},
    )
    scores = boosted.boosted(SCORES)
    assert scores[0, 24] == pytest.approx(4 * SCORES.std())
    assert chosen(boosted, SCORES, 2) == [3, 6]


def test_scores_that_are_no_numbers_leave_the_others_their_boosts() -> None:
    boosted = rules_of({"rule": "boost", "item_id": "103", "value": "9"})
    scores = SCORES.copy()
    scores[0, 7] = np.nan
    assert chosen(boosted, scores, 2) == [3, 0]


def test_genres_of_several_spellings_are_one() -> None:
    items = pa.array(item_ids(False), pa.int64())
    catalogue = pa.table(
        {"item_id": items, "genres": [["Drama", "drama"] if i % 2 else ["DRAMA"] for i in range(N_ITEMS)]}
    )
    columns = {name: pa.array([None], pa.string()) for name in COLUMNS}
    for value, left in (("exclude", []), ("cap", [0])):
        limit = {"value": pa.array(["1"])} if value == "cap" else {}
        table = pa.table(columns | {"rule": [value], "genre": ["dRAMA"]} | limit)
        assert chosen(make_rules("--rules", table, items, catalogue, pa.int64()), SCORES, 3) == left


@pytest.mark.parametrize("value", ["9223372036854775807", "-9223372036854775808"])
def test_ids_are_as_long_as_their_type(value: str) -> None:
    rules = rules_of({"rule": "exclude", "item_id": "100", "user_id": value})
    assert chosen(rules, SCORES, 1, user=int(value)) == [1]
    assert len(exclusions(pa.array([int(value)])).column("item_id")) == 1


def test_ids_beside_empty_cells_and_spaces_in_a_header_are_read_as_they_stand(tmp_path: Path) -> None:
    """As pandas writes whole numbers beside nothing; and 007 is no 7."""
    pq.write_table(
        pa.table({"rule": ["boost", "cap"], "item_id": [12345678901.0, None], "genre": [None, "Drama"]}),
        tmp_path / "a.parquet",
    )
    assert read_rules("--rules", str(tmp_path / "a.parquet"), no_session).column("item_id").to_pylist() == [
        "12345678901",
        None,
    ]
    (tmp_path / "b.csv").write_text("rule, item_id\nexclude,007\n", encoding="utf-8")
    assert read_rules("--rules", str(tmp_path / "b.csv"), no_session).column("item_id").to_pylist() == ["007"]


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"rule,rule,item_id", "more than one column `rule`"),
        (b"rule,item_id,Item_ID", "more than one column `Item_ID`"),
        (b"rule,\xff,item_id", "its first line is not UTF-8"),
        (b"\xff\xfer\0u\0l\0e\0", "its first line is not UTF-8"),
    ],
)
def test_a_header_that_cannot_be_used_is_a_sentence(tmp_path: Path, header: bytes, said: str) -> None:
    (tmp_path / "a.csv").write_bytes(header + b"\nexclude,1,2\n")
    with pytest.raises(UserError, match=said):
        read_rules("--rules", str(tmp_path / "a.csv"), no_session)


def test_caps_hold_and_lists_are_filled_from_further_down() -> None:
    capped = rules_of({"rule": "cap", "genre": "Drama", "value": "1"}, {"rule": "cap", "genre": "Comedy", "value": "0"})
    assert chosen(capped, SCORES, 4) == [0, 2, 5, 8]
    each = rules_of({"rule": "cap", "genre": EACH, "value": "2"})
    assert chosen(each, SCORES, 10) == [0, 1, 2, 3, 4, 5]
    # A hundred dramas first: what is left over lies beyond the items that are looked at first.
    steep = np.where(np.arange(N_ITEMS) % 3 == 0, 10.0, 0.0)[None, :] + SCORES
    one = rules_of({"rule": "cap", "genre": "Drama", "value": "1"})
    assert chosen(one, steep, 2) == [0, 1]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"rule": "hide", "item_id": "100"}, "must be one of exclude, allow, boost, cap"),
        ({"rule": "exclude"}, "either `item_id` or `genre`"),
        ({"rule": "exclude", "item_id": "100", "genre": "Drama"}, "either `item_id` or `genre`"),
        ({"rule": "exclude", "item_id": "x"}, "whole number"),
        ({"rule": "exclude", "item_id": "100", "value": "3"}, "takes no `value`"),
        ({"rule": "boost", "item_id": "100"}, "needs a number"),
        ({"rule": "boost", "item_id": "100", "value": "nan"}, "needs a number"),
        ({"rule": "boost", "item_id": "100", "value": "1", "user_id": "1"}, "only exclude"),
        ({"rule": "cap", "genre": "Drama", "value": "1.5"}, "whole number from 0"),
        ({"rule": "cap", "item_id": "100", "value": "1"}, "cap needs a `genre`"),
        ({"rule": "cap", "genre": "Drama", "value": "1e30"}, "whole number from 0"),
        ({"rule": "boost", "item_id": "100", "value": "1e308"}, "boost needs a number"),
        ({"rule": "exclude", "item_id": "100", "user_id": "9223372036854775808"}, "must be a whole number"),
        ({"rule": "cap", "genre": "Opera", "value": "1"}, "no item has the genre Opera; there are Comedy, Drama"),
    ],
)
def test_a_wrong_rule_is_named_by_its_number(row: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        rules_of({"rule": "exclude", "item_id": "100"}, row)
    assert "--rules r.csv, rule 2: " in str(caught.value)


def test_rules_are_read_from_files_and_tables(tmp_path: Path) -> None:
    text = tmp_path / "rules.csv"
    text.write_text('\ufeffRule,item_id,value,note\nboost,007,1e-1,"a, b"\nexclude, 8 ,,\n', encoding="utf-8")
    rows = read_rules("--rules", str(text), no_session)
    assert rows.column("rule").to_pylist() == ["boost", "exclude"]
    assert rows.column("item_id").to_pylist() == ["007", "8"]
    assert rows.column("value").to_pylist() == ["1e-1", None]
    assert rows.column("genre").null_count == 2
    parquet = tmp_path / "rules.parquet"
    pa.parquet.write_table(pa.table({"rule": ["exclude"], "item_id": [8]}), parquet)
    assert read_rules("--rules", str(parquet), no_session).column("item_id").to_pylist() == ["8"]
    assert exclusions(pa.array([8])).column("item_id").to_pylist() == ["8"]
    text.write_text("a,b\n1,2\n", encoding="utf-8")
    for where, said in ((text, "need the columns `rule`"), (tmp_path / "no.csv", "no such table or file")):
        with pytest.raises(UserError, match=said):
            read_rules("--rules", str(where), no_session)


def test_rules_hold_where_a_model_is_served(lake: str, tmp_path: Path) -> None:
    rules = tmp_path / "rules.csv"
    rules.write_text("rule,genre,value\ncap,*,1\nboost,Western,50\n", encoding="utf-8")
    newest = NewestModel(lake, "lfm", str(rules), "", no_session)
    items = client(newest).get(f"/api/recommend/{newest.model.users[0].as_py()}?explain=1").json()["items"]
    assert sorted(name for one in items for name in one["genres"]) == sorted(GENRES)
    assert items[0]["genres"] == ["Western"]
    assert "boosted by a rule" in items[0]["reason"]
    for one in items:
        assert sum(reason["contribution"] for reason in one["reasons"]) == pytest.approx(one["score"], abs=1e-5)


def vectors(folder: Path, side: str, form: str) -> Any:
    path = folder / f"{side}s.{form}"
    read = pa.parquet.read_table(path) if form == "parquet" else pa.ipc.open_file(path).read_all()
    matrix = np.array(read.column("vector").to_pylist())
    assert read.column("norm").to_numpy() == pytest.approx(np.linalg.norm(matrix, axis=1), rel=1e-5)
    return read, matrix


@pytest.mark.parametrize(("metric", "form"), [("product", "parquet"), ("cosine", "arrow")])
def test_exported_vectors_rank_as_the_server_does(lake: str, tmp_path: Path, metric: str, form: str) -> None:
    arguments = ["--lake", lake, "--out", str(tmp_path), "--metric", metric, "--format", form]
    assert export_factors.main(arguments) == 0
    items, y = vectors(tmp_path, "item", form)
    users, x = vectors(tmp_path, "user", form)
    if metric == "cosine":
        y = y / np.linalg.norm(y, axis=1, keepdims=True)
    newest = NewestModel(lake, "lfm", "", "", no_session)
    for row, user in enumerate(users.column("user_id").to_pylist()[:5]):
        said = client(newest).get(f"/api/recommend/{user}?top={N_ITEMS}&include_seen=1").json()["items"]
        order = np.argsort(-(y @ x[row]))
        assert [items.column("item_id")[at.item()].as_py() for at in order] == [
            type(items.column("item_id")[0].as_py())(one["item_id"]) for one in said
        ]
        if metric == "product":
            found = np.sort(users.column("offset")[row].as_py() + y @ x[row])[::-1]
            assert found == pytest.approx([one["score"] for one in said], abs=1e-5)
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert (manifest["dimensions"], manifest["items"]) == (y.shape[1], N_ITEMS)


@pytest.mark.parametrize("library", ["faiss", "usearch"])
@pytest.mark.parametrize("metric", ["product", "cosine"])
def test_an_index_of_the_items_finds_what_the_server_recommends(
    lake: str, tmp_path: Path, library: str, metric: str
) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed: it is no dependency of this project")
    arguments = ["--lake", lake, "--out", str(tmp_path), "--index", library, "--metric", metric]
    assert export_factors.main(arguments) == 0
    users, x = vectors(tmp_path, "user", "parquet")
    content = (tmp_path / f"items.{library}").read_bytes()
    if library == "faiss":
        import faiss

        keys = faiss.deserialize_index(np.frombuffer(content, np.uint8)).search(x[:1].astype(np.float32), 5)[1][0]
    else:
        from usearch.index import Index

        keys = Index.restore(content).search(x[0].astype(np.float32), 5).keys
    newest = NewestModel(lake, "lfm", "", "", no_session)
    user = users.column("user_id")[0].as_py()
    said = client(newest).get(f"/api/recommend/{user}?top=5&include_seen=1").json()["items"]
    items = newest.model.items.to_pylist()
    named = [items[int(key)] if isinstance(items[0], str) else int(key) for key in keys]
    assert [str(item) for item in named] == [one["item_id"] for one in said]


def test_an_export_says_what_it_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert export_factors.main(["--lake", str(tmp_path)]) == 2
    assert "--out DIR" in capsys.readouterr().err
    assert export_factors.main(["--lake", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "run lfm first" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "faiss", None)
    lake = write_lake(tmp_path / "lake")
    assert export_factors.main(["--lake", lake, "--out", str(tmp_path / "out"), "--index", "faiss"]) == 2
    assert "pip install faiss-cpu" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
