"""Information retrieval on one Delta lake: search, recommendation and super-resolution on Apache Spark.

The names below are the library; each is loaded when it is first used, so that `import lakerank` starts neither Spark
nor PyTorch. What a name needs that is not installed is said in one sentence with the extra that brings it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lakerank.cli.errors import UserError
from lakerank.cli.extras import require

if TYPE_CHECKING:
    from lakerank.graph.api import connected_components, label_propagation, node_degrees, pagerank
    from lakerank.recommend.api import Blend, Content, Ials, Linear, Neighbors, Popular
    from lakerank.recommend.latent_factors.estimator import LFM, LFMModel
    from lakerank.search.search_index import SearchIndex
    from sr_model.data.stream import PatchStream

__version__ = "0.2.0"

# Name → where it is defined and the extra that brings what it needs.
_EXPORTS = {
    "LFM": ("lakerank.recommend.latent_factors.estimator", "spark"),
    "LFMModel": ("lakerank.recommend.latent_factors.estimator", "spark"),
    "Neighbors": ("lakerank.recommend.api", "spark"),
    "Ials": ("lakerank.recommend.api", "spark"),
    "Linear": ("lakerank.recommend.api", "spark"),
    "Content": ("lakerank.recommend.api", "spark"),
    "Blend": ("lakerank.recommend.api", "spark"),
    "Popular": ("lakerank.recommend.api", "spark"),
    "pagerank": ("lakerank.graph.api", "spark"),
    "connected_components": ("lakerank.graph.api", "spark"),
    "label_propagation": ("lakerank.graph.api", "spark"),
    "node_degrees": ("lakerank.graph.api", "spark"),
    "SearchIndex": ("lakerank.search.search_index", "search"),
    "PatchStream": ("sr_model.data.stream", "sr"),
}

__all__ = [
    "LFM",
    "Blend",
    "Content",
    "Ials",
    "LFMModel",
    "Linear",
    "Neighbors",
    "PatchStream",
    "Popular",
    "SearchIndex",
    "UserError",
    "__version__",
    "connected_components",
    "label_propagation",
    "node_degrees",
    "pagerank",
]


def __getattr__(name: str) -> Any:
    """Load an exported name on first use (PEP 562).

    Raises:
        AttributeError: there is no such name.
        UserError: a package that it needs is not installed.
    """
    if name not in _EXPORTS:
        raise AttributeError(f"module 'lakerank' has no attribute {name!r}")
    found = getattr(require(*_EXPORTS[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """List the exported names."""
    return sorted({*globals(), *_EXPORTS})
