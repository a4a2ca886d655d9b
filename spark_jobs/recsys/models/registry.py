"""Recommenders, by name. A new one is a module here and a line in `MODELS`; its contract is a test suite."""

from __future__ import annotations

from spark_jobs.lake.contracts import (
    ITEM_FACTORS,
    ITEM_PROFILES,
    LINEAR_WEIGHTS,
    SIMILAR_ITEMS,
    USER_FACTORS,
    USER_PROFILES,
)
from spark_jobs.recsys.models import blend, content, latent, linear, neighbors, popular
from spark_jobs.recsys.models.contract import Kind

PARTS: dict[str, Kind] = {
    "lfm": Kind(latent.fit, latent.load, latent.refit, (USER_FACTORS, ITEM_FACTORS), "lfm"),
    "neighbors": Kind(neighbors.fit, neighbors.load, neighbors.refit, (SIMILAR_ITEMS,), "neighbors"),
    "content": Kind(content.fit, content.load, content.refit, (ITEM_PROFILES, USER_PROFILES), "content"),
    "linear": Kind(linear.fit, linear.load, linear.refit, (LINEAR_WEIGHTS,), "linear"),
    "popular": Kind(popular.fit, popular.load),
}
MODELS: dict[str, Kind] = {**PARTS, "blend": blend.kind(PARTS)}
