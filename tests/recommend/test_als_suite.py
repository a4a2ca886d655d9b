"""MLlib's own suite for ALS, ported by hand from its cases: who changes one import keeps what it promises.

The cases are those of `mllib/src/test/scala/org/apache/spark/ml/recommendation/ALSSuite.scala` of Apache Spark (commit
0004d1c9): the sizes, ranks, regularisation and bounds are theirs. Theirs trains with ALS's default of 10 iterations.
What stands beside the Estimator there (RDDs, partitioners, block encoders) has no counterpart here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pyspark.ml import Pipeline
from pyspark.ml.feature import StringIndexer
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.recommend.latent_factors.als import gram_of, solve_side
from lakerank.recommend.latent_factors.config import LfmConfig
from lakerank.recommend.latent_factors.estimator import LFM, LFMModel

Pairs = list[tuple[int, int, float]]


def drawn(rng: np.random.Generator, n: int, rank: int) -> NDArray[np.float32]:
    return rng.uniform(-1, 1, (n, rank)).astype(np.float32)


def explicit_data(users: int, items: int, rank: int, noise: float = 0.0, seed: int = 11) -> tuple[Pairs, Pairs]:
    """Ratings x·y of 60 % of all pairs with noise, and of 30 % without, as `genExplicitTestData`."""
    rng = np.random.default_rng(seed)
    x, y = drawn(rng, users, rank), drawn(rng, items, rank)
    training, test = [], []
    for u in range(users):
        for i in range(items):
            chance, rating = rng.random(), float(x[u] @ y[i])
            if chance < 0.6:
                training.append((u, i, rating + noise * rng.standard_normal()))
            elif chance < 0.9:
                test.append((u, i, rating))
    return training, test


def implicit_data(users: int, items: int, rank: int, noise: float = 0.0, seed: int = 11) -> tuple[Pairs, Pairs]:
    """Counts where x·y is above 0, zeros beside them, as `genImplicitTestData`."""
    rng = np.random.default_rng(seed)
    x, y = drawn(rng, users, rank), drawn(rng, items, rank)
    training, test = [], []
    for u in range(users):
        for i in range(items):
            rating, threshold = float(x[u] @ y[i]), 0.8 if x[u] @ y[i] > 0 else 0.2
            if rng.random() < threshold:
                if rng.random() < 0.6:
                    training.append((u, i, rating + noise * rng.standard_normal()))
                else:
                    test.append((u, i, rating))
    return training, test


def frame(spark: SparkSession, rows: Pairs) -> DataFrame:
    return spark.createDataFrame(rows, "user int, item int, rating float")


def rmse(model: LFMModel, test: DataFrame, implicit: bool = False) -> float:
    """RMSE; of preferences both sides are cut to [0, 1] and weighed by confidence, alpha being 1."""
    rows = model.transform(test).select("rating", "prediction").toPandas().to_numpy(np.float64)
    rating, guess = rows.T
    weight = 1 + np.abs(rating) if implicit else np.ones(len(rating))
    if implicit:
        rating, guess = np.clip(rating, 0, 1), np.clip(guess, 0, 1)
    return float(np.sqrt((weight * (rating - guess) ** 2).sum() / weight.sum()))


CASES = {
    "exact rank-1 matrix": ((20, 40, 1, 0.0), {"rank": 1, "regParam": 1e-5}, 0.001),
    "exact rank-1 matrix, rank 2": ((20, 40, 1, 0.0), {"rank": 2, "regParam": 1e-5}, 0.001),
    "approximate rank-1 matrix": ((20, 40, 1, 0.01), {"rank": 1, "regParam": 0.01}, 0.02),
    "approximate rank-1 matrix, rank 2": ((20, 40, 1, 0.01), {"rank": 2, "regParam": 0.01}, 0.02),
    "approximate rank-2 matrix": ((20, 40, 2, 0.01), {"rank": 2, "regParam": 0.01}, 0.03),
    "approximate rank-2 matrix, rank 3": ((20, 40, 2, 0.01), {"rank": 3, "regParam": 0.01}, 0.03),
    "block settings 1, 2": (
        (20, 40, 2, 0.01),
        {"rank": 3, "regParam": 0.01, "numUserBlocks": 1, "numItemBlocks": 2},
        0.03,
    ),
    "block settings 2, 1": (
        (20, 40, 2, 0.01),
        {"rank": 3, "regParam": 0.01, "numUserBlocks": 2, "numItemBlocks": 1},
        0.03,
    ),
    "more blocks than ratings": (
        (4, 4, 1, 0.0),
        {"rank": 1, "regParam": 1e-4, "numUserBlocks": 5, "numItemBlocks": 5},
        0.002,
    ),
}


QUICK = ("exact rank-1 matrix, rank 2", "approximate rank-2 matrix", "more blocks than ratings")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_matrices_are_found(spark: SparkSession, name: str) -> None:
    sizes, settings, bound = CASES[name]
    training, test = explicit_data(*sizes)
    model = LFM(seed=0, **settings).fit(frame(spark, training))
    assert rmse(model, frame(spark, test)) < bound


def test_implicit_feedback(spark: SparkSession) -> None:
    training, test = implicit_data(20, 40, 2, 0.01)
    model = LFM(rank=2, regParam=0.01, implicitPrefs=True, seed=0, numUserBlocks=2, numItemBlocks=3).fit(
        frame(spark, training)
    )
    assert rmse(model, frame(spark, test), implicit=True) < 0.3


def test_negative_ratings_are_more_than_zeros(spark: SparkSession) -> None:
    """`implicit feedback regression`: a negative rating is confidence that there is no preference."""
    factors = []
    for last in (-3.0, 0.0):
        rows = [(0, 0, 1.0), (1, 1, 1.0), (0, 1, last)]
        model = LFM(rank=1, maxIter=5, regParam=0.01, implicitPrefs=True, seed=0).fit(frame(spark, rows))
        factors.append(
            [{tuple(r["features"]) for r in side.collect()} for side in (model.userFactors, model.itemFactors)]
        )
    for with_negative, with_zero in zip(*factors, strict=True):
        assert not with_negative & with_zero


@pytest.mark.slow
def test_generic_ids(spark: SparkSession) -> None:
    training, _ = implicit_data(20, 40, 2, 0.01)
    for kind in ("bigint", "string"):
        ids = frame(spark, training).withColumns({n: F.col(n).cast(kind) for n in ("user", "item")})
        model = LFM(rank=2, maxIter=4, model="als", seed=0).fit(ids)
        assert dict(model.userFactors.dtypes)["id"] == kind


@pytest.mark.parametrize("implicit", [False, True])
def test_nonnegative_factors_are_the_best_ones(spark: SparkSession, implicit: bool) -> None:
    """`nonnegative constraint`; what MLlib leaves to do, the solution is validated, too."""
    training, _ = implicit_data(20, 40, 2, 0.01)
    lfm = LFM(rank=2, maxIter=4, nonnegative=True, implicitPrefs=implicit, seed=0)
    model = lfm.fit(frame(spark, training))
    users, items = (
        {row["id"]: np.array(row["features"]) for row in side.collect()}
        for side in (model.userFactors, model.itemFactors)
    )
    y = np.stack(list(items.values()))
    assert min(x.min() for x in users.values()) >= 0
    assert y.min() >= 0
    for user, x in users.items():  # the Karush-Kuhn-Tucker conditions, users having been solved for last
        mine = [(items[i], r) for u, i, r in training if u == user]
        v, r = np.stack([one for one, _ in mine]), np.array([rating for _, rating in mine])
        weight, target = (np.abs(r), np.where(r > 0, 1 + np.abs(r), 0)) if implicit else (np.ones(len(r)), r)
        ridge = 0.1 * (np.count_nonzero(r > 0) if implicit else len(r))
        a = (v.T * weight) @ v + ridge * np.eye(2) + (y.T @ y if implicit else 0)
        slope = a @ x - v.T @ target
        assert slope.min() > -1e-3
        assert np.abs(slope * x).max() < 1e-3


@pytest.mark.slow
def test_many_iterations(spark: SparkSession) -> None:
    training, _ = explicit_data(4, 4, 1)
    for implicit in (False, True):
        model = LFM(rank=1, maxIter=50, numUserBlocks=2, numItemBlocks=2, implicitPrefs=implicit, seed=0).fit(
            frame(spark, training)
        )
        assert np.isfinite(rmse(model, frame(spark, training)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tinyint", "smallint", "int", "bigint", "float", "double", "decimal(10,0)"])
def test_ids_and_ratings_of_all_numeric_types(spark: SparkSession, kind: str) -> None:
    """`input type validation`, SPARK-14891: a type changes nothing."""
    rows = frame(spark, [(0, 0, 3.0), (0, 1, 2.0), (1, 0, 5.0), (1, 1, 4.0)])
    usual = LFM(maxIter=1, rank=1, seed=0).fit(rows)
    wanted = [row["prediction"] for row in usual.transform(rows).sort("user", "item").collect()]
    for column in ("user", "item", "rating"):
        typed = rows.withColumn(column, F.col(column).cast(kind))
        model = LFM(maxIter=1, rank=1, seed=0).fit(typed)
        found = model.transform(typed).sort("user", "item")
        assert [row["prediction"] for row in found.collect()] == wanted
        assert found.dtypes[:3] == typed.dtypes
        best = model.recommendForAllUsers(2).collect()
        assert {len(row["recommendations"]) for row in best} == {2}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "value"), [("double", 1.5), ("double", -9.1e18), ("double", float("nan")), ("decimal(12,2)", 0.25)]
)
def test_ids_that_are_no_whole_numbers_are_refused(spark: SparkSession, kind: str, value: float) -> None:
    good = [(0, 0, 3.0), (0, 1, 2.0), (1, 0, 5.0)]
    rows = frame(spark, good).withColumns({name: F.col(name).cast(kind) for name in ("user", "item")})
    for column in ("user", "item"):
        odd = rows.withColumn(column, F.when(F.col("rating") == 3.0, F.lit(value).cast(kind)).otherwise(F.col(column)))
        said = f"{column}Col '{column}' is no whole number .* in 1 of 3 rows"
        with pytest.raises(UserError, match=said):
            LFM(maxIter=1, rank=1).fit(odd)
        model = LFM(maxIter=1, rank=1).fit(rows)
        with pytest.raises(UserError, match=f"{column}Col '{column}' is no whole number"):
            model.transform(odd)


def test_an_empty_frame_is_refused_in_a_sentence(spark: SparkSession) -> None:
    with pytest.raises(UserError, match="there are no ratings to fit: the frame is empty"):
        LFM().fit(frame(spark, []))


def test_cold_start_strategies_in_any_case(spark: SparkSession) -> None:
    training, _ = explicit_data(4, 4, 1)
    data = frame(spark, training)
    model = LFM(maxIter=1, rank=1, coldStartStrategy="nan").fit(data)
    strange = spark.createDataFrame([(13, 23), (3, 23), (13, 3), (3, 3)], "user int, item int")
    told = [row["prediction"] for row in model.transform(strange).collect()]
    assert np.isnan(told).tolist() == [True, True, True, False]
    dropped = model.setColdStartStrategy("drop").transform(strange).collect()
    assert [row["prediction"] for row in dropped] == told[3:]
    for strategy in ("nan", "NaN", "Nan", "drop", "DROP", "Drop", "Fallback"):
        assert model.setColdStartStrategy(strategy).transform(data).count() == len(training)
    mean = float(np.mean([rating for *_, rating in training]))
    unknown = model.setColdStartStrategy("fallback").transform(strange).collect()[0]["prediction"]
    assert unknown == pytest.approx(mean, abs=1e-6)  # factors alone know nothing better


def given_model(spark: SparkSession) -> LFMModel:
    users = [(0, [6.0, 4.0]), (1, [3.0, 4.0]), (2, [3.0, 6.0])]
    items = [(3, [5.0, 6.0]), (4, [6.0, 2.0]), (5, [3.0, 6.0]), (6, [4.0, 1.0])]
    sides = (spark.createDataFrame([(*row, 0.0) for row in rows], "id int, features array<float>, bias float")
             for rows in (users, items))  # fmt: skip
    return LFMModel(*sides, rank=2, mean=0.0, low=-np.inf, high=np.inf).setParams(userCol="user", itemCol="item")


TO_USERS = {
    0: [(3, 54.0), (4, 44.0), (5, 42.0), (6, 28.0)],
    1: [(3, 39.0), (5, 33.0), (4, 26.0), (6, 16.0)],
    2: [(3, 51.0), (5, 45.0), (4, 30.0), (6, 18.0)],
}
TO_ITEMS = {
    3: [(0, 54.0), (2, 51.0), (1, 39.0)],
    4: [(0, 44.0), (2, 30.0), (1, 26.0)],
    5: [(2, 45.0), (0, 42.0), (1, 33.0)],
    6: [(0, 28.0), (2, 18.0), (1, 16.0)],
}
ASKED: dict[str, tuple[Callable[[LFMModel, DataFrame, int], DataFrame], str, dict[int, Any], set[int]]] = {
    "all users": (lambda model, some, k: model.recommendForAllUsers(k), "user", TO_USERS, {0, 1, 2}),
    "some users": (lambda model, some, k: model.recommendForUserSubset(some, k), "user", TO_USERS, {0, 2}),
    "all items": (lambda model, some, k: model.recommendForAllItems(k), "item", TO_ITEMS, {3, 4, 5, 6}),
    "some items": (lambda model, some, k: model.recommendForItemSubset(some, k), "item", TO_ITEMS, {3, 6}),
}


@pytest.mark.parametrize("asked", ASKED)
def test_the_known_best_are_recommended(spark: SparkSession, asked: str) -> None:
    recommend, column, wanted, who = ASKED[asked]
    some = spark.createDataFrame([(one,) for one in sorted(who)], f"{column} int")
    for k in (2, 4, 6):
        rows = recommend(given_model(spark), some, k).collect()
        found = {row[column]: [tuple(pair) for pair in row["recommendations"]] for row in rows}
        assert found == {one: wanted[one][:k] for one in who}


def test_after_two_string_indexers(spark: SparkSession) -> None:
    """StringIndexer writes doubles: the pipeline that ALS's users have."""
    training, _ = explicit_data(8, 9, 1)
    rows = [(f"u{u}", f"i{i}", r) for u, i, r in training]
    named = spark.createDataFrame(rows, "who string, what string, rating float")
    stages = [
        StringIndexer(inputCol="who", outputCol="user"),
        StringIndexer(inputCol="what", outputCol="item"),
        LFM(rank=1, regParam=1e-4, seed=0),
    ]
    fitted = Pipeline(stages=stages).fit(named)
    found = fitted.transform(named).select("rating", "prediction").collect()
    assert np.sqrt(np.mean([(a - b) ** 2 for a, b in found])) < 0.01


@pytest.mark.slow
def test_people_get_biases_and_exact_matrices_get_factors_alone(spark: SparkSession) -> None:
    """With `model` auto the better one of `als` and `mf` on a held-out tenth is trained."""
    training, _ = explicit_data(30, 40, 2)
    rng = np.random.default_rng(0)
    b_u, b_i = rng.normal(0, 0.7, 30), rng.normal(0, 0.7, 40)
    biased = [(u, i, float(3 + b_u[u] + b_i[i] + rng.normal(0, 0.5))) for u, i, _ in training]
    for rows, clipped in ((training, False), (biased, True)):
        model = LFM(rank=3, regParam=0.01, seed=0).fit(frame(spark, rows))
        assert np.isfinite(model.high) == clipped


@pytest.mark.parametrize("width", [0, 3])
@pytest.mark.parametrize(
    "config", [{"model": "als"}, {"model": "ials", "alpha": 0.5}, {"model": "ials", "reg_power": 0.5}]
)
def test_rows_solve_their_equations(config: dict[str, Any], width: int) -> None:
    """Solved whole, or three factors at a time until nothing moves: the minimum, by NumPy."""
    settings = LfmConfig(factors=7, reg=0.05, unobserved=0.1, width=width, **config)
    rng = np.random.default_rng(1)
    theirs = rng.standard_normal((40, 7)).astype(np.float32)
    seen = rng.random((12, 40)) < 0.3
    ratings = np.where(rng.random((12, 40)) < 0.8, rng.integers(1, 5, (12, 40)), -1).astype(np.float32)
    indptr = np.concatenate([[0], np.cumsum(seen.sum(axis=1))]).astype(np.int64)
    others = np.nonzero(seen)[1].astype(np.int32)
    rows = np.zeros((12, 7), np.float32)
    for _ in range(300 if width else 1):
        solve_side(settings, indptr, others, ratings[seen], theirs, gram_of(theirs), rows)
    for r in range(12):
        v, own = theirs[seen[r]].astype(np.float64), ratings[r][seen[r]]
        if config["model"] == "als":
            a, b, d = v.T @ v, v.T @ own, len(own)
        else:
            w = 1 + config.get("alpha", 0) * np.abs(own)
            unseen = theirs[~seen[r]].astype(np.float64)
            a, b = (v.T * w) @ v + 0.1 * unseen.T @ unseen, v.T @ (w * (own > 0))
            d = len(own) + 0.1 * 40
        ridge = 0.05 * d ** config.get("reg_power", 1.0)
        np.testing.assert_allclose(rows[r], np.linalg.solve(a + ridge * np.eye(7), b), rtol=2e-4, atol=2e-5)
