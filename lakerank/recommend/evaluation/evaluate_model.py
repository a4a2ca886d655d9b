"""Train a model on one part, ask it about the other, and measure its answers: the same for every model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lakerank.recommend.evaluation.bootstrap import Sums
from lakerank.recommend.evaluation.metrics import Measure
from lakerank.recommend.evaluation.predict_and_rank import Parts, negatives, ranked_among, recommended
from lakerank.recommend.evaluation.test_set import Setting
from lakerank.recommend.models.base import Data, Kind
from lakerank.spark.array_store import BlockStore


@dataclass(frozen=True)
class Judged:
    """One model's results.

    Attributes:
        sums: measure → its sums over users.
        whole: measure → value, of measures that have no value of one user.
        seconds: to train the model and to ask it.
    """

    sums: dict[str, Sums]
    whole: dict[str, float]
    seconds: float


@dataclass(frozen=True)
class Contest:
    """What all models are put through.

    Attributes:
        parts, setting: what is known and what is asked.
        measures: what is measured.
        candidates: `full` or `cold`; not looked at if there are negatives.
        n_negatives: sampled candidates of each test pair; 0 ranks the candidates whole.
        seed: of the sample.
        newcomers: whether the users asked are none of the training's.
    """

    parts: Parts
    setting: Setting
    measures: Sequence[Measure]
    candidates: str
    n_negatives: int
    seed: int
    newcomers: bool

    def judge(self, kind: Kind, data: Data, store: BlockStore) -> Judged:
        """Fit a model of this kind to the data, and measure it.

        Args:
            kind: a line of `MODELS`.
            data: the training part.
            store: an empty folder for the model.
        """
        sampled = self._sampled  # drawn before the first model's clock starts
        begun = time.perf_counter()
        model = kind.fit(data, store)
        if self.newcomers:
            model = model.with_ratings(self.parts.known)
        ranked = [measure for measure in self.measures if measure.ranked]
        rated = [measure.name for measure in self.measures if not measure.ranked]
        top = max((measure.cutoff for measure in ranked), default=0)
        sums: dict[str, Sums] = {}
        whole: dict[str, float] = {}
        if ranked and sampled is not None:
            sums |= self.setting.sampled(ranked_among(model, self.parts, self.setting, sampled, top), ranked)
        elif ranked:
            best = recommended(model, self.parts, self.setting, top, self.candidates)
            sums |= self.setting.ranked(best, ranked)
            whole = self.setting.whole(best, ranked)
        if rated:
            predicted = model.predict(self.parts.test).select("user_id", "rating", "prediction").toArrow()
            accuracy = self.setting.accuracy(predicted)
            sums |= {name: accuracy[name] for name in rated}
        return Judged(sums, whole, round(time.perf_counter() - begun, 3))

    @cached_property
    def _sampled(self) -> NDArray[np.int32] | None:
        """(P, 1 + negatives) the candidates of each test pair, the same for every model."""
        if not self.n_negatives:
            return None
        return negatives(self.parts, self.setting, self.n_negatives, self.seed)
