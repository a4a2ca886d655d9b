"""Sphinx's settings for the documentation site: `python -m sphinx -W --keep-going -n docs build/docs`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))  # the checkout's own code, whatever is installed

project = "lakerank"
copyright = "the authors of lakerank, Apache-2.0"
extensions = [
    "myst_parser",  # guides are Markdown
    "sphinx.ext.autodoc",  # the API reference comes from docstrings
    "sphinx.ext.napoleon",  # which are in Google's style
    "sphinx.ext.apidoc",  # a page for each module
    "sphinx_copybutton",
]
html_theme = "furo"
html_title = "lakerank"
html_copy_source = False
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
# Anchors as GitHub makes them, so that one link works on both.
myst_heading_anchors = 4
copybutton_exclude = ".linenos, .gp"

# A page for each package, written when the site is built; not kept in git.
apidoc_modules = [
    {
        "path": f"../{package}",
        "destination": f"reference/{package}",
        "module_first": True,
        "include_private": False,
        "automodule_options": {"members"},
    }
    for package in ("lakerank", "sr_model")
]
exclude_patterns = ["reference/*/modules.rst"]  # names the package and nothing else
toc_object_entries = False  # thousands of names would stand in each page's navigation
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
default_role = "code"
maximum_signature_line_length = 100

# Strict as to our own names. Types of other projects have no page here, and their inventories would need a network.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!lakerank\.|sr_model\.|spark_jobs\.).*"),
    (r"py:.*", r".*\.[A-Z]"),  # variables of types
    (r"py:.*", r".*\._\w+"),  # private classes have no page
]
# "More than one target": a word of prose before a colon that is also the name of several attributes.
suppress_warnings = ["ref.python"]

_SEVERAL = re.compile(r"^\s+\w+(, \w+)+:")
_SECTION = re.compile(r"^\s*(Args|Attributes|Raises|Returns|Yields|Example|Examples|Note):\s*$")


def plain_docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Let a docstring say `code` and x_i, *, |: it is plain text with back-quotes, no reStructuredText."""
    for i, line in enumerate(lines):
        if names := _SEVERAL.match(line):  # `:param low, high:` would make `low` the type of `high`
            line = names[0].replace(", ", ",") + line[names.end() :]
        if _SECTION.match(line):
            continue
        pieces = re.split(r"(`[^`]+`)", line)
        lines[i] = "".join(
            f"`{piece}`" if piece.startswith("`") and piece.endswith("`") and len(piece) > 2 else _escaped(piece)
            for piece in pieces
        )


def skip_foreign(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out what a module has only imported: another project's names, and in `lakerank` those of its modules.

    The page docs/api.md does show the latter; their entries in the index are those of the modules that define them.
    """
    home = getattr(obj, "__module__", None)
    if what != "module" or not isinstance(home, str) or not callable(obj):
        return None
    exported = app.env.docname == "reference/lakerank/lakerank" and home != "lakerank"
    return True if exported or home.split(".")[0] not in ("lakerank", "sr_model") else None


def _escaped(text: str) -> str:
    """Text in which no character means markup."""
    return re.sub(r"([\\*|_])", r"\\\1", text)


def setup(app: Any) -> None:
    """Tell Sphinx of the hooks; the second runs before napoleon reads the sections."""
    app.connect("autodoc-skip-member", skip_foreign)
    app.connect("autodoc-process-docstring", plain_docstring, priority=400)
