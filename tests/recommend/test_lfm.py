"""Distributed SGD as a whole: what it finds, what it keeps, where it stops."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.recommend.data.synthetic import generate_ratings
from lakerank.recommend.latent_factors import build_blocks
from lakerank.recommend.latent_factors.config import LfmConfig, parse_init
from lakerank.recommend.latent_factors.sgd import initial_rows
from lakerank.recommend.latent_factors.train import Epoch, Trained, learning_rate, train
from lakerank.spark.array_store import BlockStore


def synthetic_frame(spark: SparkSession, add: float = 0.0, held: float = 0.1, n: int = 12_000) -> DataFrame:
    """Ratings with `part`, from synthetic factors."""
    made = generate_ratings(200, 120, n, rank=4, noise=0.3, seed=3)
    rng = np.random.default_rng(0)
    part = np.where(rng.random(len(made.users)) < held, "test", "train")
    rows = zip(made.users.tolist(), made.items.tolist(), (made.ratings + add).tolist(), part.tolist(), strict=True)
    return spark.createDataFrame(list(rows), "user_id bigint, item_id bigint, rating float, part string")


def factors(trained: Trained) -> tuple[np.ndarray, np.ndarray]:
    """All user and item rows (bias, then factors), by id."""
    sides = ((trained.user_factors, "user_id"), (trained.item_factors, "item_id"))
    return tuple(np.array([[r["bias"], *r["factors"]] for r in frame.sort(key).collect()]) for frame, key in sides)  # type: ignore[return-value]


@pytest.mark.connect(slow=True)
def test_finds_synthetic_factors(spark: SparkSession, tmp_path: Path) -> None:
    ratings = synthetic_frame(spark)
    config = LfmConfig(factors=8, epochs=12, blocks=2, reg=0.05, lr=0.1)
    trained = train(ratings, config, BlockStore.open(str(tmp_path / "s"), "--scratch"))
    spread = ratings.where("part = 'test'").agg(F.stddev_pop("rating")).first()[0]
    assert trained.test_rmse < 0.62 * spread
    assert trained.train_rmse < 0.45
    assert [epoch.epoch for epoch in trained.history] == list(range(1, 13))
    users, items = factors(trained)
    assert users.shape == (200, 9)
    assert items.shape[1] == 9
    # What the frames hold is the model: predictions by hand give the reported error.
    test = ratings.where("part = 'test'").toPandas()
    position = {r["item_id"]: n for n, r in enumerate(trained.item_factors.select("item_id").sort("item_id").collect())}
    known = test[test.item_id.isin(position)]
    cols = [position[item] for item in known.item_id]
    guess = trained.mean + users[known.user_id, 0] + items[cols, 0]
    guess += np.einsum("nk,nk->n", users[known.user_id, 1:], items[cols, 1:])
    assert len(known) == len(test)
    rmse = np.sqrt(np.mean((np.clip(guess, trained.low, trained.high) - test.rating) ** 2))
    assert rmse == pytest.approx(trained.test_rmse, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adagrad", "adam"])
def test_resumed_equals_uninterrupted_bitwise(spark: SparkSession, tmp_path: Path, optimizer: str) -> None:
    ratings = synthetic_frame(spark, n=3000)
    config = LfmConfig(factors=6, epochs=3, blocks=2, optimizer=optimizer, lr=0.01)
    whole = train(ratings, config, BlockStore.open(str(tmp_path / "a"), ""))
    store = BlockStore.open(str(tmp_path / "b"), "")
    train(ratings, dataclasses.replace(config, epochs=1), store)
    store.drop("data")  # blocks that are missing are built again, the same
    halves = train(ratings.repartition(5), config, store)
    assert halves.resumed_from == 1
    for one, other in zip(factors(whole), factors(halves), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [e.train_rmse for e in halves.history] == [e.train_rmse for e in whole.history]


def test_resumed_on_a_machine_with_other_cores_keeps_its_blocks(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ratings = synthetic_frame(spark, n=2000)
    config = LfmConfig(factors=3, epochs=2)
    results = []
    for name, cores in (("whole", (2, 2)), ("moved", (2, 5))):
        store = BlockStore.open(str(tmp_path / name), "")
        for epochs, count in zip((1, 2), cores, strict=True):
            monkeypatch.setattr(build_blocks, "_block_count", lambda spark, ratings, count=count: count)
            trained = train(ratings, dataclasses.replace(config, epochs=epochs), store)
        results.append(factors(trained))
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_constant_added_to_all_ratings_moves_only_the_mean(spark: SparkSession, tmp_path: Path) -> None:
    config = LfmConfig(factors=4, epochs=3, blocks=2)
    plain, moved = (
        train(synthetic_frame(spark, add, n=3000), config, BlockStore.open(str(tmp_path / str(add)), ""))
        for add in (0, 2)
    )
    assert moved.mean == pytest.approx(plain.mean + 2, abs=1e-6)
    for one, other in zip(factors(plain), factors(moved), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)


def test_early_stopping_keeps_the_best_epoch(spark: SparkSession, tmp_path: Path) -> None:
    ratings = synthetic_frame(spark, held=0.5, n=3000).withColumn("part", F.regexp_replace("part", "test", "valid"))
    config = LfmConfig(factors=16, epochs=60, blocks=1, reg=0.0, lr=0.3, early_stop=3)
    trained = train(ratings, config, BlockStore.open(str(tmp_path / "s"), ""))
    curve = [epoch.valid_rmse for epoch in trained.history]
    assert len(curve) < 60
    assert trained.epoch == int(np.argmin(curve)) + 1 == len(curve) - 3
    assert trained.valid_rmse == pytest.approx(min(curve))


def test_diverging_run_says_what_to_lower(spark: SparkSession, tmp_path: Path) -> None:
    config = LfmConfig(factors=4, epochs=9, blocks=1, optimizer="sgd", lr=30.0, init="normal:1")
    with pytest.raises(UserError, match=r"diverged in epoch \d.*lower --lr \(now 30\) or raise --reg"):
        train(synthetic_frame(spark, n=2000), config, BlockStore.open(str(tmp_path / "s"), ""))


def test_no_training_ratings_is_an_error(spark: SparkSession, tmp_path: Path) -> None:
    ratings = synthetic_frame(spark, n=50).withColumn("part", F.lit("test"))
    with pytest.raises(UserError, match="no training ratings"):
        train(ratings, LfmConfig(), BlockStore.open(str(tmp_path / "s"), ""))


def _history(*errors: float, lr: float = 0.1) -> list[Epoch]:
    return [Epoch(n, lr, rmse, None, None, 1.0, 1.0) for n, rmse in enumerate(errors, start=1)]


def test_learning_rate_schedules() -> None:
    constant = LfmConfig(lr=0.1)
    assert learning_rate(constant, _history(1, 2)) == 0.1
    decaying = LfmConfig(lr=0.1, lr_schedule="exponential", lr_decay=0.98, lr_decay_steps=50)
    assert learning_rate(decaying, _history(*range(100))) == pytest.approx(0.1 * 0.98**2)
    bold = LfmConfig(lr=0.1, lr_schedule="bold-driver")
    assert learning_rate(bold, []) == 0.1
    assert learning_rate(bold, _history(2, 1)) == pytest.approx(0.105)
    assert learning_rate(bold, _history(1, 2)) == pytest.approx(0.05)


@pytest.mark.parametrize("text", ["gauss:1", "uniform:5", "uniform:5,-5", "normal:x", "normal:-1", "normal:1,2"])
def test_bad_init_is_an_error(text: str) -> None:
    with pytest.raises(UserError, match="--init"):
        parse_init(text)


def test_init_forms() -> None:
    assert parse_init("normal") == ("normal", (0.1,))
    assert parse_init("uniform(-5, 5)") == ("uniform", (-5.0, 5.0))
    state = initial_rows(2000, LfmConfig(factors=4, init="uniform:-5,5"), np.random.default_rng(0))
    assert state["factors"].min() < -4.9
    assert state["factors"].max() > 4.9
    normal = initial_rows(4000, LfmConfig(factors=4, init="normal:0.2"), np.random.default_rng(0))
    assert normal["factors"].std() == pytest.approx(0.1, rel=0.03)


def test_no_bias_learns_none(spark: SparkSession, tmp_path: Path) -> None:
    config = LfmConfig(factors=4, epochs=2, blocks=2, bias=False, init="uniform:0,1")
    trained = train(synthetic_frame(spark, n=2000), config, BlockStore.open(str(tmp_path / "s"), ""))
    assert trained.mean == 0.0
    assert not any(side[:, 0].any() for side in factors(trained))


def test_damaged_rating_blocks_are_built_again_with_a_word(
    spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ratings, store = synthetic_frame(spark, n=2000), BlockStore.open(str(tmp_path), "")
    first = build_blocks.prepare_blocks(ratings, store, 2)
    part = first.store
    wanted = {name: np.array(values) for name, values in (first.get("test", 0, 0) or {}).items()}
    assert build_blocks.prepare_blocks(ratings, store, 2) == first
    assert capsys.readouterr().out == ""
    values = np.load(file := part.path("ratings/test-0-0/ratings.npy"))
    values.view(np.uint32)[0] ^= 1 << 22
    np.save(file, values)
    assert build_blocks.prepare_blocks(ratings, store, 2) == first
    said = capsys.readouterr().out
    assert f"rating blocks are built again: block {file.parent} is damaged (the checksum of ratings.npy" in said
    for name, values in wanted.items():
        np.testing.assert_array_equal((first.get("test", 0, 0) or {})[name], values)
    part.drop("ratings/train-1-0")
    assert build_blocks.prepare_blocks(ratings, store, 2) == first
    assert "train-1-0 is missing" in capsys.readouterr().out
    assert first.get("train", 1, 0) is not None
    # Another run was faster: theirs is used, ours leaves nothing.
    builder = build_blocks.BlockBuilder(store.below(".raw").root, False)
    builder.read_partitions(ratings)
    assert builder.make_blocks(spark, store, part.root.rpartition("/")[2], 2, 30) == first
    assert "another run has built the same and was faster" in capsys.readouterr().out
    store.drop(".raw")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2-blocks", "facts.json"]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mf", "bayesian"])
def test_what_is_open_is_chosen_once_and_trained_on_all(
    spark: SparkSession, tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = generate_ratings(400, 120, 9000, rank=2, noise=0.5, seed=5)
    rows = list(zip(made.users.tolist(), made.items.tolist(), made.ratings.tolist(), strict=True))
    frame = spark.createDataFrame(rows, "user_id bigint, item_id bigint, rating float")
    parts = frame.withColumn("rated_at", F.lit(None).cast("timestamp"))
    parts = parts.withColumn("part", F.when((F.col("user_id") + F.col("item_id")) % 12 == 0, "test").otherwise("train"))
    store = BlockStore.open(str(tmp_path / "s"), "")
    config = LfmConfig(model, factors=3, blocks=2)
    found = train(parts, config, store)
    said = capsys.readouterr().out
    assert ("lfm: chose --reg" if model == "mf" else "sweeps") in said
    assert found.ratings.counts["train"] + found.ratings.counts["test"] == len(rows)  # nothing stays held out
    assert found.config.auto == config.auto
    assert not store.keys("search")
    assert found.test_rmse is not None
    fixed = {"reg": found.config.reg, "lr": found.config.lr} if model == "mf" else {}
    assert found.test_rmse < 0.75
    assert len(found.history) == found.config.epochs
    again = train(parts, config, store)  # finished: the choice is kept, and nothing is trained
    assert "chose" not in capsys.readouterr().out
    assert again.test_rmse == found.test_rmse
    if fixed:
        plain = train(
            parts, LfmConfig(model, factors=3, blocks=2, epochs=found.config.epochs, **fixed), store.below("p")
        )
        assert plain.test_rmse == found.test_rmse
