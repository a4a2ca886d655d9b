"""The command `lakerank`: every job and every super-resolution command under one name.

`lakerank pagerank …` runs what `spark-submit spark_jobs/pagerank.py …` runs, `lakerank sr train …` what
`python -m sr_model.train …` runs; `python -m lakerank …` is the same without an installed command.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lakerank import __version__
from lakerank.cli.errors import UserError
from lakerank.cli.extras import require

# Command → the extras that bring what it needs. `sr train` stands for `sr_model.train`, others for `spark_jobs`.
COMMANDS: dict[str, str] = {
    "ingest-ratings": "spark",
    "lfm": "spark",
    "tune": "tune",
    "neighbors": "spark",
    "linear": "spark",
    "content": "spark",
    "recommend": "spark",
    "predict": "spark",
    "export-factors": "spark",
    "evaluate": "spark",
    "ingest-pages": "spark,search",
    "build-index": "spark,search",
    "search": "search",
    "evaluate-search": "search",
    "serve": "serve",
    "pagerank": "spark",
    "centrality": "spark",
    "host-graph": "spark",
    "link-spam": "spark",
    "make-patches": "spark,sr",
    "upscale-images": "spark,sr",
    "report": "spark",
    "sr train": "sr",
    "sr evaluate": "sr",
    "sr upscale": "sr",
    "sr export": "sr,onnx",
    "sr zoo": "sr",
    "sr leaks": "sr",
    "sr build-patches": "sr",
}


def module_of(command: str) -> str:
    """Name the module of a command: `sr train` is in `sr_model.train`, `link-spam` in `spark_jobs.link_spam`."""
    name = command.replace("-", "_")
    return f"sr_model.{name[3:]}" if name.startswith("sr ") else f"spark_jobs.{name}"


def summary_of(command: str) -> str:
    """Return the first sentence of a command's docstring, without importing what the command needs."""
    spec = find_spec(module_of(command))
    assert spec is not None
    assert spec.origin is not None
    doc = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return " ".join(doc.split("\n\n")[0].split()).split(". ")[0].rstrip(".")


def usage() -> str:
    """List the commands, a line each."""
    lines = [f"  {command:<18} {summary_of(command)}" for command in COMMANDS]
    return "\n".join(["usage: lakerank COMMAND [--help] …", "", *lines, "", "  --version          print the version"])


def run(command: str, argv: Sequence[str] | None) -> int:
    """Run one command; return its exit code: 0 done, 2 the user's mistake or a package that is missing, 1 ours."""
    try:
        # Any: modules are found by name.
        module: Any = require(module_of(command), COMMANDS[command])
    except UserError as error:
        print(f"{command}: error: {error}", file=sys.stderr)
        return 2
    return int(module.main(argv))


def __getattr__(name: str) -> Callable[[], int]:
    """Return the entry point of a console script: `lakerank-link-spam` is `lakerank.__main__:link_spam`."""
    command = name.replace("_", "-")
    if command not in COMMANDS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return lambda: run(command, None)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line: the name of a command, then its arguments."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if words else 2
    if words[0] == "--version":
        print(f"lakerank {__version__}")
        return 0
    length = 2 if words[0] == "sr" else 1
    command = " ".join(words[:length]).replace("_", "-")
    if command not in COMMANDS:
        known = [name for name in COMMANDS if name.startswith("sr ") == (length == 2)]
        print(f"lakerank: error: there is no command `{command}`; there are {', '.join(known)}", file=sys.stderr)
        return 2
    return run(command, words[length:])


if __name__ == "__main__":
    sys.exit(main())
