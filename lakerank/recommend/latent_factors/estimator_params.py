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
from lakerank.recommend.latent_factors.config import MODELS, OPTIMIZERS, LfmConfig

_DEFAULT = LfmConfig()
STRATEGIES = ("fallback", "nan", "drop")
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
    "--scratch": "scratchDir",
}

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
        return MODELS.get(self.getOrDefault("model"), {}).get(setting)

    get.__doc__ = f"The value of `{name}`, or the default of the chosen `model`."
    return get


class LFMModelParams(HasPredictionCol, HasBlockSize):
    """Parameters that Estimator and Model share."""

    userCol = _param("userCol", "column of user ids: whole numbers or strings", TypeConverters.toString)
    itemCol = _param("itemCol", "column of item ids: whole numbers or strings", TypeConverters.toString)
    coldStartStrategy = _param(
        "coldStartStrategy",
        "what to predict for users and items that were not in training: 'fallback' (mean and the biases known), "
        "'nan' or 'drop' (the row)",
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
        chosen: str = self.getOrDefault("coldStartStrategy")
        if chosen not in STRATEGIES:
            raise UserError(f"coldStartStrategy {chosen!r}: must be one of {', '.join(STRATEGIES)}")
        return chosen


class LFMParams(LFMModelParams, HasMaxIter, HasRegParam, HasCheckpointInterval, HasSeed):
    """Parameters of the Estimator. `rank`, `maxIter`, `average` and `implicitFeedback` have the chosen `model`'s
    defaults (`factorization.config.MODELS`).
    """

    rank = _param("rank", "length of a factor vector (default: the model's own)", TypeConverters.toInt)
    ratingCol = _param("ratingCol", "column of ratings: any number type", TypeConverters.toString)
    numUserBlocks = _param("numUserBlocks", "number of blocks; 0: as cores and ratings ask for", TypeConverters.toInt)
    numItemBlocks = _param("numItemBlocks", "the same number as numUserBlocks", TypeConverters.toInt)
    implicitPrefs = _param("implicitPrefs", "must be False: see implicitFeedback", TypeConverters.toBoolean)
    alpha = _param("alpha", "without effect: belongs to implicitPrefs", TypeConverters.toFloat)
    nonnegative = _param("nonnegative", "must be False", TypeConverters.toBoolean)
    intermediateStorageLevel = _param("intermediateStorageLevel", "without effect", TypeConverters.toString)
    finalStorageLevel = _param("finalStorageLevel", "without effect", TypeConverters.toString)

    model = _param("model", "mf, svdpp, timesvdpp or bayesian", TypeConverters.toString)
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
            regParam=_DEFAULT.reg,
            seed=0,  # pyspark's own default differs from process to process
            numUserBlocks=0,
            numItemBlocks=0,
            implicitPrefs=False,
            alpha=1.0,
            nonnegative=False,
            checkpointInterval=10,
            intermediateStorageLevel="MEMORY_AND_DISK",
            finalStorageLevel="MEMORY_AND_DISK",
            model=_DEFAULT.model,
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

    def config(self) -> LfmConfig:
        """Return the settings of training.

        Raises:
            UserError: a value is out of range, or asks for what this trainer cannot do.
        """
        self._check()
        timed = bool(self.getOrDefault("timestampCol"))
        with parameter_names():
            config = LfmConfig(
                model=self.getOrDefault("model"),
                factors=self.getRank(),
                epochs=self.getMaxIter(),
                average=self.getAverage(),
                implicit=self.getImplicitFeedback(),
                time=timed,
                burn_in=self.getOrDefault("burnIn"),
                optimizer=self.getOrDefault("optimizer"),
                lr=self.getOrDefault("learningRate"),
                reg=self.getOrDefault("regParam"),
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
        if get("implicitPrefs"):
            raise UserError(
                "implicitPrefs=True (confidence-weighted preferences) is ALS's: this trainer fits ratings. To learn "
                "from who rated what beside the ratings, set implicitFeedback"
            )
        if get("nonnegative"):
            raise UserError("nonnegative=True is ALS's: this trainer has no such constraint; leave it False")
        choices = {"optimizer": OPTIMIZERS, "model": MODELS}
        for name, known in choices.items():
            if get(name) not in known:
                raise UserError(f"{name} {get(name)!r}: must be one of {', '.join(known)}")
        least = {"rank": 1, "maxIter": 0, "average": 1, "burnIn": 0, "earlyStop": 0, "regParam": 0, "regBias": 0}
        for name, low in least.items():
            if self.isDefined(name) and not get(name) >= low:
                raise UserError(f"{name} {get(name)}: must be {low} or more")
        if not get("learningRate") > 0:
            raise UserError(f"learningRate {get('learningRate')}: must be above 0")
        if not 0 < get("validationShare") < 1:
            raise UserError(f"validationShare {get('validationShare')}: must be between 0 and 1")
        self.strategy()

    def _blocks(self) -> int:
        given = {self.getOrDefault(name) for name in ("numUserBlocks", "numItemBlocks") if self.isSet(name)}
        if len(given) > 1 or min(given, default=0) < 0:
            raise UserError(
                f"numUserBlocks {self.getNumUserBlocks()} and numItemBlocks {self.getNumItemBlocks()}: ratings are cut "
                "into as many user blocks as item blocks: give one number of 0 or more (setNumBlocks), or none"
            )
        return int(given.pop()) if given else 0


@contextmanager
def parameter_names() -> Iterator[None]:
    """Let errors of training name parameters instead of the job's flags."""
    try:
        yield
    except UserError as error:
        told = re.sub(r"--[a-z]+(-[a-z]+)*", lambda flag: _FLAGS.get(flag[0], flag[0]), str(error))
        raise UserError(told) from error
