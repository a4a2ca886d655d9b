"""Recommenders, by name. A new one is a module with a `SPEC` and a line in `PARTS`; its contract is a test suite.

Modules are imported when their model is asked for, so that `--help` need not load them all.
"""

from __future__ import annotations

from importlib import import_module

from lakerank.cli.errors import UserError
from lakerank.recommend.models.base import ModelSpec

PARTS = {
    "lfm": "lakerank.recommend.latent_factors.latent",
    "neighbors": "lakerank.recommend.neighbors.model",
    "content": "lakerank.recommend.content.model",
    "linear": "lakerank.recommend.ease.model",
    "popular": "lakerank.recommend.models.popular",
    "ials": "lakerank.recommend.latent_factors.preference",
}
BLENDS = {"blend": "lakerank.recommend.blend.model"}  # made of parts
MODELS = (*PARTS, *BLENDS)
DEFAULT_MODEL = "lfm"
BASELINE = "popular"  # what others are compared with


def model_spec(name: str, parts: str = "") -> ModelSpec:
    """Return the specification of a model.

    Args:
        name: one of `MODELS`.
        parts: of a blend, separated by commas; empty takes all that are `blended`.

    Raises:
        UserError: a name is unknown.
    """
    if name in PARTS:
        spec: ModelSpec = import_module(PARTS[name]).SPEC
        return spec
    if name not in BLENDS:
        raise UserError(f"no model is called `{name}`; there are {', '.join(MODELS)}")
    wanted = parse_models(parts, "--parts", PARTS) if parts else list(PARTS)
    specs = [model_spec(part) for part in PARTS if part in wanted]  # in one order, which that of the weights is
    chosen = {part.name: part for part in specs if parts or part.blended}
    blend: ModelSpec = import_module(BLENDS[name]).make_spec(name, chosen)
    return blend


def parse_models(text: str, flag: str, known: dict[str, str] | tuple[str, ...] = MODELS) -> list[str]:
    """Return the names in `popular,linear`, each once.

    Raises:
        UserError: there is none, or one is unknown; `flag` is named.
    """
    names = list(dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))))
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"{flag}: `{unknown[0]}` is not one of {', '.join(known)}")
    if not names:
        raise UserError(f"{flag}: name at least one of {', '.join(known)}")
    return names
