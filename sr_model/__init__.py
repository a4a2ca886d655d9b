"""Super-resolution ×4 in PyTorch. Imports no pyspark: it also runs where Spark is not installed."""

import sys
from importlib.util import find_spec

# `python -m sr_model.train` imports this package first, and the module's own imports would end in a stack trace.
_NEED_TORCH = {f"sr_model.{name}" for name in ("train", "evaluate", "upscale", "export")}
if sys.argv[:1] == ["-m"] and _NEED_TORCH & set(sys.orig_argv) and find_spec("torch") is None:
    print("error: `torch` is not installed: pip install 'lakerank[sr]'", file=sys.stderr)
    sys.exit(2)
