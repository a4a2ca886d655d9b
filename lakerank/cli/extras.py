"""Packages that not every installation has: a missing one is one sentence that names the extra which brings it."""

from __future__ import annotations

import importlib
from types import ModuleType

from lakerank.cli.errors import UserError


def require(module: str, extra: str) -> ModuleType:
    """Import a package of an extra.

    Args:
        module: what is imported, e.g. `deltalake`, or a module of ours that needs it.
        extra: the extra of this project that brings it, e.g. `search`.

    Raises:
        UserError: it is not installed, or cannot be loaded; so is what it needs itself.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        # Perhaps not `module` is missing but what it needs.
        missing = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
        if missing in ("lakerank", "spark_jobs", "sr_model"):
            raise  # a mistake of ours
        reason = f"`{missing}` is not installed" if missing else f"`{module}` cannot be loaded ({error})"
        raise UserError(f"{reason}: pip install 'lakerank[{extra}]'") from error
