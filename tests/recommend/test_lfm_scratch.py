"""What training keeps: a state or a block that is missing or altered is noticed, never trained on or taken for none."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from resident import blocks_of, trained

from lakerank.cli.errors import UserError
from lakerank.cli.files import exchange
from lakerank.recommend.data.synthetic import generate_ratings
from lakerank.recommend.latent_factors import build_blocks, train
from lakerank.recommend.latent_factors.build_blocks import CONTENTS, mend_blocks
from lakerank.recommend.latent_factors.config import LfmConfig
from lakerank.recommend.latent_factors.run_state import RatingBlocks, Run, make_layout
from lakerank.recommend.latent_factors.train import _go_back_to_intact, _load_progress
from lakerank.spark import array_store
from lakerank.spark.array_store import BlockStore

CONFIG = LfmConfig(factors=3, epochs=4, blocks=2)


@pytest.fixture
def data(tmp_path: Path) -> RatingBlocks:
    made = generate_ratings(60, 40, 900, rank=2, seed=1)
    parts = {"train": slice(0, 500), "test": slice(500, None)}
    mixed = np.random.default_rng(0).permutation(len(made.users))
    columns = (made.users[mixed], made.items[mixed], made.ratings[mixed])
    return blocks_of(tmp_path / "data", {name: tuple(c[at] for c in columns) for name, at in parts.items()}, blocks=2)


@pytest.fixture
def flushed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "FLUSH_SHARE", 1e12)


def flip(run: Run, state: str) -> None:
    """Turn over one bit of a state's factors: an exponent's highest, so that training on it would diverge."""
    path = run.store.path(f"{state}/user-1/factors.npy")
    values = np.load(path)
    values.view(np.uint32)[0, 0] ^= 1 << 30
    np.save(path, values)


def factors(run: Run, state: str) -> np.ndarray:
    return np.concatenate([run.all_rows(state, side) for side in ("user", "item")])


def test_a_missing_rating_block_is_an_error_and_an_empty_one_is_not(data: RatingBlocks, tmp_path: Path) -> None:
    shutil.rmtree(data.store.path("ratings/test-0-1"))
    with pytest.raises(UserError, match="ratings/test-0-1 is missing"):
        data.get("test", 0, 1)
    with pytest.raises(UserError, match="ratings/test-0-1 is missing"):
        trained(tmp_path / "run", data, CONFIG)
    one = {"train": ([0, 1, 2, 3], [0, 1, 2, 3], [1.0, 2.0, 3.0, 4.0])}
    few = blocks_of(tmp_path / "few", one, blocks=2)
    assert few.get("train", 0, 1) is None
    assert few.get("valid", 0, 0) is None


def test_damaged_rating_blocks_are_mended_where_they_lie(
    data: RatingBlocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(data.root, tmp_path / "built")
    there, built = data.store, BlockStore(str(tmp_path / "built"))
    for store in (there, built):
        store.write_json(CONTENTS, {"blocks": 2})
        store.seal()
    make_layout(data, "user", 1)
    altered, in_use = there.path("ratings/train-0-0/ratings.npy"), there.get("ratings/train-1-1")
    wanted = there.get("ratings/train-0-0")["ratings"].copy()
    content = bytearray(altered.read_bytes())
    content[-1] ^= 1
    altered.write_bytes(content)
    shutil.rmtree(there.path("ratings/test-1-0"))
    layout = there.path("rows/user-1/order.npy")
    order = layout.read_bytes()
    layout.write_bytes(order[:-1] + b"\x01")

    missed: list[str] = []

    def watched(one: Path, other: Path) -> bool:
        done = exchange(one, other)
        missed.extend([] if other.exists() else [str(other)])
        return done

    monkeypatch.setattr(array_store, "exchange", watched)
    assert mend_blocks(there, built) == 2
    assert missed == [str(there.path("ratings/test-1-0"))]  # it was not there before either
    there.verify_sealed("", there.sealed())
    np.testing.assert_array_equal(there.get("ratings/train-0-0")["ratings"], wanted)
    np.testing.assert_array_equal(in_use["ratings"], there.get("ratings/train-1-1")["ratings"])
    monkeypatch.setattr(build_blocks, "cores", lambda _: 1)
    build_blocks._verify(None, there, data)  # type: ignore[arg-type]
    assert layout.read_bytes() == order


def test_blocks_that_another_run_moves_in_are_not_removed(
    data: RatingBlocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Between the look and what followed it another run moved its blocks in; looking must therefore remove nothing.
    assert build_blocks._stored_blocks(None, BlockStore(str(tmp_path)), "data") is None  # type: ignore[arg-type]
    assert data.store.blocks()
    data.store.write_json(CONTENTS, {"blocks": 2})
    assert build_blocks._stored_blocks(None, BlockStore(str(tmp_path)), "data") is None  # type: ignore[arg-type]
    assert data.store.blocks()


def test_a_flipped_bit_in_the_newest_state_costs_one_epoch(
    flushed_at_once: None, data: RatingBlocks, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, history, _ = trained(tmp_path / "run", data, CONFIG)
    whole = factors(run, "epoch-4")
    flip(run, "epoch-4")
    _go_back_to_intact(run, "training")
    said = capsys.readouterr().out
    assert f"epoch 4 cannot be gone on from: block {run.store.path('epoch-4/user-1')} is damaged" in said
    assert "going back to epoch 3" in said
    assert len(_load_progress(run)[0]) == 3
    run, again, _ = trained(tmp_path / "run", data, CONFIG)
    assert capsys.readouterr().out == ""
    assert [epoch.test_rmse for epoch in again] == [epoch.test_rmse for epoch in history]
    np.testing.assert_array_equal(factors(run, "epoch-4"), whole)


def test_a_run_without_an_intact_state_starts_anew(
    flushed_at_once: None, data: RatingBlocks, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _, _ = trained(tmp_path / "run", data, CONFIG)
    flip(run, "epoch-4")
    shutil.rmtree(run.store.path("epoch-3/item-0"))
    _go_back_to_intact(run, "training")
    assert "no state of an earlier epoch is intact: starting anew" in capsys.readouterr().out
    assert run.store.keys() == []


def test_a_damaged_learning_curve_starts_anew(
    data: RatingBlocks, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _, _ = trained(tmp_path / "run", data, CONFIG)
    path = run.store.path("progress.json")
    path.write_bytes(path.read_bytes().replace(b"train_rmse", b"train_rmsd", 1))
    _go_back_to_intact(run, "training")
    assert f"starting anew: {path} is damaged" in capsys.readouterr().out
    assert run.store.keys() == []


def test_an_intact_run_is_left_alone(data: RatingBlocks, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = LfmConfig(factors=3, epochs=4, blocks=2, early_stop=9)
    run, history, _ = trained(tmp_path / "run", data, config)
    before = sorted(path.name for path in Path(run.root).rglob("*"))
    run.store.put("epoch-5/user-0", {"factors": np.zeros(3)})  # of an epoch in which it was killed
    _go_back_to_intact(run, "training")
    assert sorted(path.name for path in Path(run.root).rglob("*")) == before
    assert len(_load_progress(run)[0]) == len(history)
    assert capsys.readouterr().out == ""


def test_states_are_flushed_as_often_as_that_takes_little_time(data: RatingBlocks, tmp_path: Path) -> None:
    config = LfmConfig(factors=3, epochs=6, blocks=2)
    run, _, _ = trained(tmp_path / "run", data, config)  # epochs of milliseconds: only the last one is flushed
    assert run.store.keys() == ["epoch-6", "progress.json"]
    assert (run.store.read_json("progress.json") or {})["flushed"] == 6
