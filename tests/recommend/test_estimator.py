"""The latent-factor Estimator and Model: what `pyspark.ml` and users of ALS expect of them."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.evaluation import RegressionEvaluator
from pyspark.ml.feature import SQLTransformer
from pyspark.ml.recommendation import ALS, ALSModel
from pyspark.ml.tuning import CrossValidator, ParamGridBuilder
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from tests_root import ROOT

from lakerank.cli.errors import UserError
from lakerank.recommend.data.synthetic import generate_ratings
from lakerank.recommend.latent_factors import estimator
from lakerank.recommend.latent_factors.estimator import LFM, LFMModel, ratings_from
from lakerank.spark import ml_persistence

NAMES = {"userCol": "user_id", "itemCol": "film", "ratingCol": "stars", "timestampCol": ""}


@pytest.fixture(scope="module")
def ratings(spark: SparkSession) -> DataFrame:
    """Generated ratings; negative users, and names that the trainer uses inside."""
    made = generate_ratings(30, 20, 400, rank=2, noise=0.2, seed=3)
    rows = zip((made.users - 10).tolist(), made.items.tolist(), made.ratings.tolist(), strict=True)
    return spark.createDataFrame(list(rows), "user_id int, film int, stars double")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def model(ratings: DataFrame, scratch: Path) -> LFMModel:
    return migrated(LFM, model="mf", scratchDir=str(scratch)).fit(ratings)


def migrated(kind: Any, **more: Any) -> Any:
    """Code written for ALS."""
    return kind(userCol="user_id", itemCol="film", rank=3, regParam=0.02, seed=-7, **more).setRatingCol("stars")


def rows_of(side: DataFrame) -> dict[Any, np.ndarray]:
    """(bias, factors) by id."""
    return {row["id"]: np.array([row["bias"], *row["features"]]) for row in side.collect()}


def scores(model: LFMModel) -> dict[tuple[Any, Any], float]:
    """All predictions by hand, not clipped."""
    users, items = rows_of(model.userFactors), rows_of(model.itemFactors)
    return {(u, i): model.mean + p[0] + q[0] + float(p[1:] @ q[1:]) for u, p in users.items() for i, q in items.items()}


def test_one_import_changes(ratings: DataFrame, model: LFMModel, scratch: Path, tmp_path: Path) -> None:
    def used(fitted: Any, loaded_by: Any) -> dict[str, str]:
        fitted.save(str(tmp_path / loaded_by.__name__))
        again = loaded_by.load(str(tmp_path / loaded_by.__name__))
        assert again.rank == 3
        assert again.getUserCol() == "user_id"
        again.setPredictionCol("guess").setColdStartStrategy("drop")
        frames = {
            "transform": again.transform(ratings),
            "users": again.recommendForAllUsers(2),
            "items": again.recommendForAllItems(2),
            "some users": again.recommendForUserSubset(ratings.limit(2), 3),
            "some items": again.recommendForItemSubset(ratings.limit(2), 3),
            "userFactors": again.userFactors.select("id", "features"),
            "itemFactors": again.itemFactors.select("id", "features"),
        }
        error = RegressionEvaluator(labelCol="stars", predictionCol="guess").evaluate(frames["transform"])
        assert error < 0.7
        return {name: frame.schema.simpleString() for name, frame in frames.items()}

    als = migrated(ALS).setMaxIter(5).fit(ratings)
    assert used(model, LFMModel) == used(als, ALSModel)
    assert not list(scratch.iterdir())  # the model needs nothing of it


def test_predicts_as_its_factors_say_and_treats_the_unknown_as_asked(spark: SparkSession, model: LFMModel) -> None:
    strange = spark.createDataFrame(
        [(-3, 4, "a"), (99, 4, "b"), (-3, 99, "c"), (99, 99, "d"), (None, 4, "e")],
        "user_id bigint, film tinyint, source string",
    )
    by_hand, items, users = scores(model), rows_of(model.itemFactors), rows_of(model.userFactors)

    def told(strategy: str) -> dict[str, float]:
        asked = model.transform(strange, {model.coldStartStrategy: strategy})
        assert asked.columns == ["user_id", "film", "source", "prediction"]
        assert dict(asked.dtypes) == {**dict(strange.dtypes), "prediction": "float"}
        return {row["source"]: row["prediction"] for row in asked.collect()}

    usual = told("fallback")
    expected = {
        "a": by_hand[-3, 4],
        "b": model.mean + items[4][0],
        "c": model.mean + users[-3][0],
        "d": model.mean,
        "e": model.mean + items[4][0],
    }
    assert usual == pytest.approx({key: np.clip(x, model.low, model.high) for key, x in expected.items()}, abs=1e-5)
    assert told("nan") == pytest.approx({"a": usual["a"], **dict.fromkeys("bcde", np.nan)}, nan_ok=True)
    assert told("drop") == {"a": usual["a"]}
    with pytest.raises(UserError, match="coldStartStrategy 'zero': must be one of fallback, nan, drop"):
        told("zero")
    with pytest.raises(UserError, match="predictionCol 'film': the frame has this column"):
        model.transform(strange, {model.predictionCol: "film"})
    with pytest.raises(UserError, match="userCol 'user_id' is string: must be whole numbers, as in training"):
        model.transform(strange.withColumn("user_id", F.col("user_id").cast("string")))


def test_recommends_what_sorting_finds(spark: SparkSession, ratings: DataFrame, model: LFMModel) -> None:
    known, by_hand = {(row["user_id"], row["film"]) for row in ratings.collect()}, scores(model)
    sides = (
        (0, model.recommendForAllUsers, "user_id", "film"),
        (1, model.recommendForAllItems, "film", "user_id"),
    )
    for at, recommend, mine, other in sides:
        for seen, left_out in ((None, set()), (ratings, known)):
            expected: dict[int, list[int]] = {}
            for pair in sorted(by_hand, key=lambda pair: -by_hand[pair]):
                if pair not in left_out:
                    expected.setdefault(pair[at], []).append(pair[1 - at])
            found = {row[mine]: row["recommendations"] for row in recommend(4, seen).collect()}
            assert {who: [r[other] for r in best] for who, best in found.items()} == {
                who: best[:4] for who, best in expected.items()
            }
        some = {(who, r[other]): r["rating"] for who, best in found.items() for r in best}
        assert some == pytest.approx({pair: by_hand[pair[:: 1 - 2 * at]] for pair in some}, abs=1e-5)
    few = spark.createDataFrame([(-3,), (99,), (-3,), (None,)], "user_id int")
    model = model.copy()
    for strategy, who in (("fallback", {-3, 99}), ("nan", {-3}), ("drop", {-3})):
        told = model.setColdStartStrategy(strategy).recommendForUserSubset(few, 30).collect()
        assert {row["user_id"] for row in told} == who
        assert all(len(row["recommendations"]) == 20 for row in told)
    with pytest.raises(UserError, match="numItems 0: must be 1 or more"):
        model.recommendForAllUsers(0)


@pytest.mark.connect
def test_saved_and_loaded_is_the_same(ratings: DataFrame, model: LFMModel, tmp_path: Path) -> None:
    path = str(tmp_path / "model")
    model.save(path)
    again = LFMModel.load(path)
    assert repr(again) == repr(model)
    assert again.extractParamMap() == model.extractParamMap()
    for side in ("userFactors", "itemFactors"):
        assert sorted(getattr(again, side).collect()) == sorted(getattr(model, side).collect())
    assert sorted(again.transform(ratings).collect()) == sorted(model.transform(ratings).collect())
    again.write().overwrite().save(path)  # onto the files it is read from
    assert sorted(LFMModel.load(path).userFactors.collect()) == sorted(model.userFactors.collect())
    with pytest.raises(Exception, match=r"(?i)already.exists"):
        model.save(path)
    lfm = LFM(rank=7, model="svdpp", seed=3)
    lfm.save(str(tmp_path / "lfm"))
    lfm.write().overwrite().save(str(tmp_path / "lfm"))
    assert LFM.load(str(tmp_path / "lfm")).extractParamMap() == lfm.extractParamMap()
    with pytest.raises(AssertionError, match=r"Expected class name .*LFMModel but found .*LFM"):
        LFMModel.load(str(tmp_path / "lfm"))


@pytest.mark.connect
def test_in_a_pipeline_with_ids_of_any_kind(ratings: DataFrame, scratch: Path, tmp_path: Path) -> None:
    named = SQLTransformer(statement="SELECT 'u' || user_id AS who, CAST(film AS bigint) AS what, stars FROM __THIS__")
    lfm = LFM(userCol="who", itemCol="what", ratingCol="stars", rank=2, maxIter=1, scratchDir=str(scratch))
    fitted = Pipeline(stages=[named, lfm]).fit(ratings)
    fitted.write().overwrite().save(str(tmp_path / "pipeline"))
    again = PipelineModel.load(str(tmp_path / "pipeline"))
    made = fitted.transform(ratings)
    assert made.dtypes == [("who", "string"), ("what", "bigint"), ("stars", "double"), ("prediction", "float")]
    assert sorted(made.collect()) == sorted(again.transform(ratings).collect())
    best = again.stages[-1].recommendForAllItems(1).select("what", "recommendations.who").collect()
    assert {row["who"][0][0] for row in best} == {"u"}


@pytest.mark.slow
@pytest.mark.connect
def test_in_a_cross_validator_which_reads_the_ratings_once_a_fold(
    ratings: DataFrame, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def counted(*arguments: Any) -> DataFrame:
        read.append(1)
        return ratings_from(*arguments)

    monkeypatch.setattr(estimator, "ratings_from", counted)
    lfm = migrated(LFM, scratchDir=str(scratch), maxIter=2)
    grid = ParamGridBuilder().addGrid(lfm.rank, [2]).addGrid(lfm.regParam, [0.02, 1000.0]).build()
    judge = RegressionEvaluator(labelCol="stars", predictionCol="prediction")
    found = CrossValidator(
        estimator=lfm, estimatorParamMaps=grid, evaluator=judge, numFolds=2, seed=1, parallelism=2
    ).fit(ratings)
    assert len(read) == 3  # two folds, and the best setting on all ratings
    assert found.avgMetrics[0] < found.avgMetrics[1]
    assert found.bestModel.rank == 2
    assert judge.evaluate(found.transform(ratings)) < found.avgMetrics[0]
    assert not list(scratch.iterdir())


@pytest.mark.slow
def test_several_samples_make_one_model(spark: SparkSession, ratings: DataFrame, scratch: Path) -> None:
    timed = ratings.withColumn("at", F.lit(86400 * 9) + F.col("film") * 86400)
    lfm = migrated(LFM, model="bayesian", maxIter=4, burnIn=2, average=2, timestampCol="at", scratchDir=str(scratch))
    bayesian = lfm.setNumBlocks(2).fit(timed)
    assert bayesian.rank == 3
    assert {len(row["features"]) for row in bayesian.userFactors.collect()} == {6}
    rated = bayesian.transform(timed).collect()
    by_hand = scores(bayesian)
    assert [row["prediction"] for row in rated] == pytest.approx(
        [np.clip(by_hand[row["user_id"], row["film"]], bayesian.low, bayesian.high) for row in rated], abs=1e-5
    )


@pytest.mark.connect
def test_ratings_and_times_of_any_type_are_the_same(spark: SparkSession) -> None:
    day = datetime.datetime(2001, 2, 3, tzinfo=datetime.UTC)
    seconds = int(day.timestamp())
    rows = spark.createDataFrame([(1, 2, 3, seconds), (-1, 5, -4, seconds)], "user_id int, film int, n int, at int")
    names = NAMES | {"timestampCol": "at"}

    def read(frame: DataFrame) -> list[tuple[Any, ...]]:
        told = ratings_from(frame, names, 0.0, 0, "").select("*", F.unix_timestamp("rated_at").alias("s"))
        assert dict(told.dtypes) == {
            "user_id": "bigint", "item_id": "bigint", "rating": "float", "rated_at": "timestamp", "part": "string",
            "s": "bigint",
        }  # fmt: skip
        return sorted((row["user_id"], row["item_id"], row["rating"], row["s"], row["part"]) for row in told.collect())

    for kind in ("tinyint", "smallint", "int", "bigint", "float", "double", "decimal(7,2)"):
        time = {"tinyint": "timestamp", "float": "date", "double": "timestamp_ntz"}.get(kind)
        at = F.timestamp_seconds("at").cast(time) if time else F.col("at")
        told = read(rows.select("user_id", "film", F.col("n").cast(kind).alias("stars"), at.alias("at")))
        assert told == [(-1, 5, -4.0, seconds, "train"), (1, 2, 3.0, seconds, "train")], kind


@pytest.mark.connect
def test_rows_that_cannot_be_used_are_counted(spark: SparkSession) -> None:
    bad = [(None, 1, 1.0), (1, None, 1.0), (1, 1, None), (1, 1, np.nan), (1, 1, np.inf), (1, 2, -1e300), (1, 3, 2.0)]
    frame = spark.createDataFrame(bad, "user_id int, film int, stars double")
    said = (
        "userCol 'user_id' is null in 1 of 7 rows; itemCol 'film' is null in 1 of 7 rows; ratingCol 'stars' is null "
        "in 1 of 7 rows; ratingCol 'stars' is NaN in 1 of 7 rows; ratingCol 'stars' is infinite in 2 of 7 rows"
    )
    with pytest.raises(UserError, match=said):
        ratings_from(frame, NAMES, 0.0, 0, "")
    with pytest.raises(UserError, match="the frame is empty"):
        ratings_from(frame.where("film > 9"), NAMES, 0.0, 0, "")


@pytest.mark.connect
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"user_id": "boolean"}, r"userCol 'user_id' is boolean: must be numbers \(whole ones.*\) or strings: cast it"),
        ({"film": "date"}, r"itemCol 'film' is date: must be numbers \(whole"),
        ({"stars": "string"}, "ratingCol 'stars' is string: must be a number"),
        ({"stars": ""}, "ratingCol 'stars': no such column; the frame has user_id, film"),
    ],
)
def test_columns_of_the_wrong_kind_are_named(spark: SparkSession, changed: dict[str, str], said: str) -> None:
    kinds = {"user_id": "int", "film": "int", "stars": "float"} | changed
    frame = spark.createDataFrame([], ", ".join(f"{name} {kind}" for name, kind in kinds.items() if kind))
    with pytest.raises(UserError, match=said):
        migrated(LFM).fit(frame)


@pytest.mark.connect
@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (
            lambda ratings: ratings.toPandas(),
            r"a Spark DataFrame is needed, not pandas\..*: spark.create",
        ),
        (lambda ratings: [(1, 2, 3.0)], "a Spark DataFrame is needed, not list"),
        (
            lambda ratings: ratings.sparkSession.readStream.format("rate").load(),
            "a streaming DataFrame has no end: read the ratings as a batch",
        ),
        (
            lambda ratings: ratings.withColumn("n", F.lit(1)).selectExpr("*", "n AS Film"),
            r"itemCol 'film': 2 columns have this name \(film, Film\): rename or drop one",
        ),
    ],
)
def test_what_is_no_frame_of_ratings_is_named(ratings: DataFrame, frame: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        migrated(LFM).fit(frame(ratings))


def test_a_model_asks_for_frames_too(ratings: DataFrame, model: LFMModel) -> None:
    calls = (
        lambda given: model.transform(given),
        lambda given: model.recommendForUserSubset(given, 3),
        lambda given: model.recommendForAllUsers(3, seen=given),
    )
    for call in calls:
        with pytest.raises(UserError, match="a Spark DataFrame is needed, not dict"):
            call({"user_id": [1]})
        with pytest.raises(UserError, match="userCol 'user_id': no such column; the frame has film"):
            call(ratings.select("film"))


@pytest.mark.connect
def test_times_that_are_no_unix_seconds_are_counted(spark: SparkSession) -> None:
    rows = [
        (1, 2, 3.0, 981_158_400),
        (1, 3, 3.0, 981_158_400_000),
        (1, 4, 3.0, 2**62),
        (2, 2, 3.0, -(2**62)),
        (2, 3, 3.0, None),
    ]
    frame = spark.createDataFrame(rows, "user_id int, film int, stars double, at bigint")
    said = (
        r"timestampCol 'at' lies outside the years 1 to 9999 \(are they Unix seconds\?\) in 3 of 5 rows: remove or mend"
    )
    with pytest.raises(UserError, match=said):
        ratings_from(frame, NAMES | {"timestampCol": "at"}, 0.0, 0, "")
    left = ratings_from(frame.where("abs(at) < 1e9 OR at IS NULL"), NAMES | {"timestampCol": "at"}, 0.0, 0, "")
    assert sorted((row["item_id"], row["rated_at"] is None) for row in left.collect()) == [(2, False), (3, True)]


def test_the_folder_of_a_killed_program_goes_and_that_of_a_living_one_stays(
    spark: SparkSession, tmp_path: Path
) -> None:
    (tmp_path / "lakerank-work-0123abcd").mkdir()
    with ml_persistence.workspace(spark, str(tmp_path), "scratchDir") as first:
        assert [path.name for path in tmp_path.iterdir()] == [Path(first.root).name]
        with ml_persistence.workspace(spark, str(tmp_path), "scratchDir") as second:
            assert {path.name for path in tmp_path.iterdir()} == {Path(one.root).name for one in (first, second)}
    assert not list(tmp_path.iterdir())


def test_a_folder_that_workers_do_not_see_is_an_error(
    ratings: DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ml_persistence.workspace(ratings.sparkSession, str(tmp_path), "scratchDir") as store:
        assert not ml_persistence._workers_see(ratings.sparkSession, store.below("elsewhere"))
    monkeypatch.setattr(ml_persistence, "_workers_see", lambda *_: False)
    with pytest.raises(UserError, match=r"scratchDir .*workers do not see this folder: set scratchDir to one"):
        migrated(LFM, scratchDir=str(tmp_path)).fit(ratings)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"implicitPrefs": True, "model": "mf"}, "implicitPrefs=True fits preferences, which model 'mf' cannot"),
        ({"implicitPrefs": True, "timestampCol": "at"}, "timestampCol: model ials has factors alone"),
        ({"nonnegative": True, "model": "svdpp"}, "nonnegative goes with model als and ials, not svdpp"),
        ({"alpha": -1.0}, "alpha -1.0: must be 0 or more"),
        ({"numUserBlocks": 4, "numItemBlocks": -5}, "numItemBlocks -5: must be 0 or more"),
        ({"rank": 0}, "rank 0: must be 1 or more"),
        ({"regParam": float("nan")}, "regParam nan"),
        ({"model": "knn"}, "model 'knn': must be one of mf, svdpp"),
        ({"optimizer": "rmsprop"}, "optimizer 'rmsprop': must be one of sgd"),
        ({"model": "timesvdpp"}, "timesvdpp' needs timestampCol"),
        ({"model": "bayesian", "maxIter": 10}, "maxIter 10 must be more than burnIn 20"),
        ({"implicitFeedback": "all"}, "implicitFeedback all: must be one of none"),
        ({"coldStartStrategy": "zero"}, "coldStartStrategy 'zero'"),
        ({"learningRate": 0.0}, "learningRate 0.0"),
        ({"validationShare": 1.0}, "validationShare 1.0"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        LFM(**settings).config()


def test_the_guides_example_runs_and_is_short(spark: SparkSession, capsys: pytest.CaptureFixture[str]) -> None:
    guide = (ROOT / "docs" / "estimator.md").read_text(encoding="utf-8")
    example = guide.split("```python\n")[1].split("```")[0]
    assert len([line for line in example.splitlines() if line]) <= 10
    exec(example, {"spark": spark})
    printed = capsys.readouterr().out
    assert "|prediction|" in printed
    assert "|recommendations" in printed


def test_parameters_as_pyspark_has_them() -> None:
    lfm = LFM(userCol="u", seed=None, numItemBlocks=3)
    assert (lfm.getRank(), lfm.getMaxIter(), lfm.getAverage(), lfm.getSeed()) == (64, 20, 1, 0)
    assert lfm.setModel("bayesian") is lfm
    assert (lfm.getRank(), lfm.getMaxIter(), lfm.getAverage(), lfm.getImplicitFeedback()) == (32, 120, 8, "both")
    assert lfm.config().blocks == 3
    assert LFM(numUserBlocks=2, numItemBlocks=5).config().blocks == 5
    preferences = LFM(implicitPrefs=True, alpha=4.0, regParam=0.3, nonnegative=True).config()
    assert (preferences.model, preferences.factors, preferences.epochs) == ("ials", 10, 10)
    assert (preferences.unobserved, preferences.alpha, preferences.reg) == (1.0, 4.0, 0.3)
    assert (preferences.recency, preferences.chosen) == (0.0, ())  # MLlib's loss, as it is
    assert (preferences.reg_scale, preferences.nonnegative) == ("ratings", True)
    assert LFM().solvers() == ("als", "mf")
    assert LFM(learningRate=0.1).solvers() == ("mf",)
    assert LFM(nonnegative=True).solvers() == ("als",)
    assert LFM(model="bayesian").solvers() == ("bayesian",)
    other = lfm.copy({lfm.rank: 5})
    assert (other.getRank(), lfm.getRank(), other.uid) == (5, 32, lfm.uid)
    assert other.extractParamMap()[lfm.rank] == 5
    assert lfm.setParams(rank=9, alpha=2).getRank() == 9
    lfm.clear(lfm.rank)
    assert lfm.getRank() == 32
    assert lfm.setNumBlocks(4).getNumUserBlocks() == lfm.getNumItemBlocks() == 4
    for theirs, ours in ((ALS, LFM), (ALSModel, LFMModel)):
        missing = {name for name in dir(theirs) if not name.startswith("_")} - set(dir(ours))
        assert missing <= {"rank", "userFactors", "itemFactors"}  # these three: attributes of a fitted one
    with pytest.raises(TypeError, match=r"LFM\(\) has no parameter 'ranks'"):
        LFM(ranks=3)
    with pytest.raises(TypeError):
        LFM(3)  # type: ignore[call-arg]
