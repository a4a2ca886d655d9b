"""Recommenders, by name. A new one is a module here and a line in `MODELS`; its contract is a test suite."""

from __future__ import annotations

from lakerank.lake.schemas import (
    ITEM_FACTORS,
    ITEM_PROFILES,
    LINEAR_WEIGHTS,
    SIMILAR_ITEMS,
    USER_FACTORS,
    USER_PROFILES,
)
from lakerank.recommend.blend import blend
from lakerank.recommend.content import model as content
from lakerank.recommend.ease import model as linear
from lakerank.recommend.latent_factors import latent
from lakerank.recommend.models import popular
from lakerank.recommend.models.base import Kind
from lakerank.recommend.neighbors import model as neighbors

PARTS: dict[str, Kind] = {
    "lfm": Kind(latent.fit, latent.load, latent.refit, (USER_FACTORS, ITEM_FACTORS), "lfm"),
    "neighbors": Kind(neighbors.fit, neighbors.load, neighbors.refit, (SIMILAR_ITEMS,), "neighbors"),
    "content": Kind(content.fit, content.load, content.refit, (ITEM_PROFILES, USER_PROFILES), "content"),
    "linear": Kind(linear.fit, linear.load, linear.refit, (LINEAR_WEIGHTS,), "linear"),
    "popular": Kind(popular.fit, popular.load),
}
MODELS: dict[str, Kind] = {**PARTS, "blend": blend.kind(PARTS)}
