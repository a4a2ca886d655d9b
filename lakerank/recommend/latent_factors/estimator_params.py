"""Parameters of the latent-factor Estimator and Model, under the names that `pyspark.ml.recommendation.ALS` gives them.

`docs/estimator.md` has the table of what differs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypedDict, TypeVar

from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import (
    HasBlockSize,
    HasCheckpointInterval,
    HasMaxIter,
    HasPredictionCol,
    HasRegParam,
    HasSeed,
)

from lakerank.cli.errors import UserError
from lakerank.recommend.latent_factors.config import BY_LEAST_SQUARES, MODELS, OPTIMIZERS, LfmConfig

_DEFAULT = LfmConfig()
STRATEGIES = ("fallback", "nan", "drop")
AUTO = "auto"  # of `als` and `mf` whichever predicts better
# What belongs to SGD, or to models around biases: who sets any of it wants no plain factors.
_OF_DESCENT = ("average", "implicitFeedback", "optimizer", "learningRate", "regBias", "timestampCol", "earlyStop")
# Errors of training name the job's flags; here they are parameters.
_FLAGS = {
    "--model": "model",
    "--factors": "rank",
    "--epochs": "maxIter",
    "--reg": "regParam",
    "--reg-bias": "regBias",
    "--lr": "learningRate",
    "--burn-in": "burnIn",
    "--implicit": "implicitFeedback",
    "--early-stop": "earlyStop",
    "--nonnegative": "nonnegative",
    "--alpha": "alpha",
    "--time": "timestampCol",
    "--scratch": "scratchDir",
}

_ALS_RANK, _ALS_ITERATIONS = 10, 10  # ALS's own defaults, which go with its loss
_NO_REG = 1e-12
_WIDE = 64  # factors from which rows are solved for a part at a time; exact is as fast below

P = TypeVar("P", bound=Params)


class ModelSettings(TypedDict, total=False):
    """Keywords of `LFMModel.setParams`."""

    userCol: str
    itemCol: str
    predictionCol: str
    coldStartStrategy: str
    blockSize: int


class Settings(ModelSettings, total=False):
    """Keywords of `LFM` and `LFM.setParams`."""

    ratingCol: str
    rank: int
    maxIter: int
    regParam: float
    seed: int | None
    numUserBlocks: int
    numItemBlocks: int
    implicitPrefs: bool
    alpha: float
    nonnegative: bool
    checkpointInterval: int
    intermediateStorageLevel: str
    finalStorageLevel: str
    model: str
    average: int
    burnIn: int
    implicitFeedback: str
    optimizer: str
    learningRate: float
    regBias: float
    timestampCol: str
    earlyStop: int
    validationShare: float
    scratchDir: str


def _param(name: str, meaning: str, convert: Callable[[Any], Any]) -> Param[Any]:
    return Param(Params._dummy(), name, meaning, typeConverter=convert)


def _setter(name: str) -> Callable[[P, Any], P]:
    def put(self: P, value: Any) -> P:
        return self._set(**{name: value})

    put.__doc__ = f"Set `{name}`; returns self."
    return put


def _getter(name: str) -> Callable[[Params], Any]:
    def get(self: Params) -> Any:
        return self.getOrDefault(name)

    get.__doc__ = f"The value of `{name}`, or its default."
    return get


def _model_getter(name: str, setting: str) -> Callable[[Params], Any]:
    def get(self: Params) -> Any:
        if self.isSet(name):
            return self.getOrDefault(name)
        model = self.solvers()[-1] if isinstance(self, LFMParams) else ""
        return MODELS.get(model, {}).get(setting)

    get.__doc__ = f"The value of `{name}`, or the default of the chosen `model`."
    return get


class LFMModelParams(HasPredictionCol, HasBlockSize):
    """Parameters that Estimator and Model share."""

    userCol = _param(
        "userCol", "column of user ids: strings, or whole numbers of any number type", TypeConverters.toString
    )
    itemCol = _param(
        "itemCol", "column of item ids: strings, or whole numbers of any number type", TypeConverters.toString
    )
    coldStartStrategy = _param(
        "coldStartStrategy",
        "what to predict for users and items that were not in training: 'fallback' (mean and the biases known), "
        "'nan' or 'drop' (the row); in any case",
        TypeConverters.toString,
    )

    def __init__(self) -> None:
        super().__init__()
        self._setDefault(userCol="user", itemCol="item", coldStartStrategy="fallback", blockSize=4096)

    getUserCol, setUserCol = _getter("userCol"), _setter("userCol")
    getItemCol, setItemCol = _getter("itemCol"), _setter("itemCol")
    getColdStartStrategy, setColdStartStrategy = _getter("coldStartStrategy"), _setter("coldStartStrategy")
    setPredictionCol = _setter("predictionCol")
    setBlockSize = _setter("blockSize")

    def _put(self, settings: Mapping[str, Any]) -> None:
        for name in settings:
            if not self.hasParam(name):
                raise TypeError(f"{type(self).__name__}() has no parameter {name!r}")
        self._set(**{name: value for name, value in settings.items() if value is not None})

    def strategy(self) -> str:
        """Return `coldStartStrategy`, checked.

        Raises:
            UserError: it is none of `STRATEGIES`.
        """
        given: str = self.getOrDefault("coldStartStrategy")
        if (chosen := given.lower()) not in STRATEGIES:
            raise UserError(f"coldStartStrategy {given!r}: must be one of {', '.join(STRATEGIES)}")
        return chosen


class LFMParams(LFMModelParams, HasMaxIter, HasRegParam, HasCheckpointInterval, HasSeed):
    """Parameters of the Estimator. `rank`, `maxIter`, `average` and `implicitFeedback` have the chosen `model`'s
    defaults (`factorization.config.MODELS`).
    """

    rank = _param("rank", "length of a factor vector (default: the model's own)", TypeConverters.toInt)
    ratingCol = _param("ratingCol", "column of ratings: any number type", TypeConverters.toString)
    numUserBlocks = _param("numUserBlocks", "number of blocks; 0: as cores and ratings ask for", TypeConverters.toInt)
    numItemBlocks = _param("numItemBlocks", "as numUserBlocks; the larger of both is taken", TypeConverters.toInt)
    implicitPrefs = _param(
        "implicitPrefs",
        "fit preferences, 1 where the rating is above 0, with its size as confidence",
        TypeConverters.toBoolean,
    )
    alpha = _param("alpha", "implicitPrefs: the confidence of a rating r is 1 + alpha·|r|", TypeConverters.toFloat)
    nonnegative = _param("nonnegative", "no factor below 0", TypeConverters.toBoolean)
    intermediateStorageLevel = _param("intermediateStorageLevel", "without effect", TypeConverters.toString)
    finalStorageLevel = _param("finalStorageLevel", "without effect", TypeConverters.toString)

    model = _param(
        "model",
        "mf, svdpp, timesvdpp, bayesian, als, ials or bpr; auto: als or mf, see solvers()",
        TypeConverters.toString,
    )
    average = _param(
        "average", "predict by the mean of so many models (default: the model's own)", TypeConverters.toInt
    )
    burnIn = _param("burnIn", "bayesian: sweeps before the first sample is kept", TypeConverters.toInt)
    implicitFeedback = _param(
        "implicitFeedback", "learn from who rated what: none, user, item or both", TypeConverters.toString
    )
    optimizer = _param("optimizer", "of SGD: sgd, adagrad or adam", TypeConverters.toString)
    learningRate = _param("learningRate", "of SGD, above 0", TypeConverters.toFloat)
    regBias = _param("regBias", "L2 weight of the biases, per rating", TypeConverters.toFloat)
    timestampCol = _param(
        "timestampCol", "column of times (timestamp, date, Unix seconds) for time effects", TypeConverters.toString
    )
    earlyStop = _param("earlyStop", "stop after so many epochs without improvement; 0: never", TypeConverters.toInt)
    validationShare = _param("validationShare", "share of ratings held out for earlyStop", TypeConverters.toFloat)
    scratchDir = _param("scratchDir", "folder all workers mount (default: a temporary one)", TypeConverters.toString)

    def __init__(self) -> None:
        super().__init__()
        self._setDefault(
            ratingCol="rating",
            regParam=0.1,  # as MLlib has it
            seed=0,  # pyspark's own default differs from process to process
            numUserBlocks=0,
            numItemBlocks=0,
            implicitPrefs=False,
            alpha=1.0,
            nonnegative=False,
            checkpointInterval=10,
            intermediateStorageLevel="MEMORY_AND_DISK",
            finalStorageLevel="MEMORY_AND_DISK",
            model=AUTO,
            burnIn=_DEFAULT.burn_in,
            optimizer=_DEFAULT.optimizer,
            learningRate=_DEFAULT.lr,
            regBias=_DEFAULT.reg_bias,
            timestampCol="",
            earlyStop=0,
            validationShare=0.05,
            scratchDir="",
        )

    getRank, setRank = _model_getter("rank", "factors"), _setter("rank")
    getMaxIter, setMaxIter = _model_getter("maxIter", "epochs"), _setter("maxIter")
    getAverage, setAverage = _model_getter("average", "average"), _setter("average")
    getImplicitFeedback, setImplicitFeedback = (
        _model_getter("implicitFeedback", "implicit"),
        _setter("implicitFeedback"),
    )
    setRegParam = _setter("regParam")
    setSeed = _setter("seed")
    setCheckpointInterval = _setter("checkpointInterval")
    getRatingCol, setRatingCol = _getter("ratingCol"), _setter("ratingCol")
    getNumUserBlocks, setNumUserBlocks = _getter("numUserBlocks"), _setter("numUserBlocks")
    getNumItemBlocks, setNumItemBlocks = _getter("numItemBlocks"), _setter("numItemBlocks")
    getImplicitPrefs, setImplicitPrefs = _getter("implicitPrefs"), _setter("implicitPrefs")
    getAlpha, setAlpha = _getter("alpha"), _setter("alpha")
    getNonnegative, setNonnegative = _getter("nonnegative"), _setter("nonnegative")
    getIntermediateStorageLevel = _getter("intermediateStorageLevel")
    setIntermediateStorageLevel = _setter("intermediateStorageLevel")
    getFinalStorageLevel, setFinalStorageLevel = _getter("finalStorageLevel"), _setter("finalStorageLevel")
    getModel, setModel = _getter("model"), _setter("model")
    getBurnIn, setBurnIn = _getter("burnIn"), _setter("burnIn")
    getOptimizer, setOptimizer = _getter("optimizer"), _setter("optimizer")
    getLearningRate, setLearningRate = _getter("learningRate"), _setter("learningRate")
    getRegBias, setRegBias = _getter("regBias"), _setter("regBias")
    getTimestampCol, setTimestampCol = _getter("timestampCol"), _setter("timestampCol")
    getEarlyStop, setEarlyStop = _getter("earlyStop"), _setter("earlyStop")
    getValidationShare, setValidationShare = _getter("validationShare"), _setter("validationShare")
    getScratchDir, setScratchDir = _getter("scratchDir"), _setter("scratchDir")

    def setNumBlocks(self: P, value: int) -> P:
        """Set `numUserBlocks` and `numItemBlocks`; returns self."""
        return self._set(numUserBlocks=value, numItemBlocks=value)

    def solvers(self) -> tuple[str, ...]:
        """Return the models that may be trained: of several, the one that predicts held-out ratings best.

        With `model` auto that is ALS's own solver where a setting asks for it (`implicitPrefs`, `nonnegative`), `mf`
        where a setting belongs to SGD, and else both: plain factors find an exact matrix in a few iterations, biases
        and SGD do better on the ratings of people.
        """
        get = self.getOrDefault
        if get("model") != AUTO:
            return (get("model"),)
        if get("implicitPrefs"):
            return ("ials",)
        if get("nonnegative"):
            return ("als",)
        return ("mf",) if any(self.isSet(name) for name in _OF_DESCENT) else ("als", "mf")

    def config(self, model: str = "") -> LfmConfig:
        """Return the settings of training.

        Args:
            model: one of `solvers`; empty takes the last.

        Raises:
            UserError: a value is out of range, or asks for what this trainer cannot do.
        """
        self._check()
        model = model or self.solvers()[-1]
        timed = bool(self.getOrDefault("timestampCol"))
        own = {"rank": "factors", "maxIter": "epochs", "average": "average", "implicitFeedback": "implicit"}
        chosen = {setting: self.getOrDefault(name) for name, setting in own.items() if self.isSet(name)}
        if self.getOrDefault("implicitPrefs"):
            chosen |= {"unobserved": 1.0, "alpha": self.getOrDefault("alpha"), "reg_scale": "ratings", "recency": 0.0}
            chosen["reg"] = self.getOrDefault("regParam") or _NO_REG  # 0 would be a choice by size
            chosen = {"factors": _ALS_RANK, "epochs": _ALS_ITERATIONS} | chosen
        with parameter_names():
            config = LfmConfig(
                model=model,
                **chosen,
                time=timed,
                nonnegative=self.getOrDefault("nonnegative"),
                width=0 if model in BY_LEAST_SQUARES and chosen.get("factors", 0) < _WIDE else LfmConfig.width,
                burn_in=self.getOrDefault("burnIn"),
                optimizer=self.getOrDefault("optimizer"),
                lr=self.getOrDefault("learningRate"),
                **({} if "reg" in chosen else {"reg": self.getOrDefault("regParam")}),
                reg_bias=self.getOrDefault("regBias"),
                seed=self.getSeed() % (1 << 62),  # ALS takes negative ones; NumPy does not
                early_stop=self.getOrDefault("earlyStop"),
                blocks=self._blocks(),
            )
        if config.model == "timesvdpp" and not timed:
            raise UserError("model 'timesvdpp' needs timestampCol, the column with the time of each rating")
        return config

    def _check(self) -> None:
        get = self.getOrDefault
        if get("implicitPrefs") and get("model") not in (AUTO, "ials"):
            raise UserError(
                f"implicitPrefs=True fits preferences, which model {get('model')!r} cannot: leave model out"
            )
        choices = {"optimizer": OPTIMIZERS, "model": (*MODELS, AUTO)}
        for name, known in choices.items():
            if get(name) not in known:
                raise UserError(f"{name} {get(name)!r}: must be one of {', '.join(known)}")
        least = {"rank": 1, "maxIter": 0, "average": 1, "burnIn": 0, "earlyStop": 0, "regParam": 0, "regBias": 0}
        least |= {"alpha": 0}
        for name, low in least.items():
            if self.isDefined(name) and not get(name) >= low:
                raise UserError(f"{name} {get(name)}: must be {low} or more")
        if not get("learningRate") > 0:
            raise UserError(f"learningRate {get('learningRate')}: must be above 0")
        if not 0 < get("validationShare") < 1:
            raise UserError(f"validationShare {get('validationShare')}: must be between 0 and 1")
        self.strategy()

    def _blocks(self) -> int:
        given = {name: int(self.getOrDefault(name)) for name in ("numUserBlocks", "numItemBlocks")}
        for name, n in given.items():
            if n < 0:
                raise UserError(f"{name} {n}: must be 0 or more")
        return max(given.values())  # ratings are cut into as many user blocks as item blocks


@contextmanager
def parameter_names() -> Iterator[None]:
    """Let errors of training name parameters instead of the job's flags."""
    try:
        yield
    except UserError as error:
        told = re.sub(r"--[a-z]+(-[a-z]+)*", lambda flag: _FLAGS.get(flag[0], flag[0]), str(error))
        raise UserError(told) from error
