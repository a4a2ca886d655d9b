"""Write the references that are made from the code: docs/tables.md and docs/commands.md."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path

from spark_jobs.lake.args import JobArgs
from spark_jobs.lake.contracts import as_markdown

ROOT = Path(__file__).resolve().parent.parent


def jobs() -> dict[str, type[JobArgs]]:
    """Every job under spark_jobs/ and its settings."""
    found = {}
    for file in sorted((ROOT / "spark_jobs").glob("[a-z]*.py")):
        module = importlib.import_module(f"spark_jobs.{file.stem}")
        (found[file.stem],) = (
            value
            for value in vars(module).values()
            if isinstance(value, type) and issubclass(value, JobArgs) and value.__module__ == module.__name__
        )
    return found


def commands() -> str:
    """The command reference."""
    lines = [
        "# Commands",
        "",
        "Generated from the code by `make docs`; a test fails when it is stale. Every job also takes `--help`,",
        "`--conf FILE` (YAML, the same names) and, where listed, `--preset NAME`. Flags win over the file, the file",
        "over the preset, the preset over the defaults below. Exit code 0: done; 2: your input, said in one",
        "sentence; 1: a bug of ours.",
    ]
    for name, args in jobs().items():
        doc = (importlib.import_module(f"spark_jobs.{name}").__doc__ or "").strip()
        lines += ["", f"## {name}", "", f"`spark-submit spark_jobs/{name}.py`", "", doc, ""]
        lines += ["| flag | default | meaning |", "|---|---|---|"]
        for field in dataclasses.fields(args):
            default = "" if field.default in ("", None) else f"`{field.default}`"
            text = field.metadata["help"].replace("|", "\\|")
            if field.metadata["choices"]:
                text += f" ({', '.join(field.metadata['choices'])})"
            lines.append(f"| `--{field.name.replace('_', '-')}` | {default} | {text} |")
        for preset, values in args.presets().items():
            shown = ", ".join(f"{key.replace('_', '-')} {value}" for key, value in values.items())
            lines += ["", f"Preset `{preset}`: {shown}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write both files."""
    (ROOT / "docs" / "tables.md").write_text(as_markdown(), encoding="utf-8")
    (ROOT / "docs" / "commands.md").write_text(commands(), encoding="utf-8")


if __name__ == "__main__":
    main()
