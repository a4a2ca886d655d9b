"""Write the references that are made from the code: tables, commands, models, and the facts in the models' cards."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from lakerank.cli.settings import JobArgs, Settings
from lakerank.lake.schemas import as_markdown
from sr_model import zoo

ROOT = Path(__file__).resolve().parent.parent
_FACTS, _END = "<!-- facts: written by `make docs` from sr_model/zoo.py -->\n", "<!-- end of facts -->"


def jobs() -> dict[str, type[Settings]]:
    """Return every job under spark_jobs/ and every command under sr_model/ by module, with its settings."""
    found = {}
    for folder in ("spark_jobs", "sr_model"):
        for file in sorted((ROOT / folder).glob("[a-z]*.py")):
            if "__main__" in file.read_text(encoding="utf-8"):
                module = importlib.import_module(f"{folder}.{file.stem}")
                found[module.__name__] = settings_of(module)
    return found


def settings_of(module: ModuleType) -> type[Settings]:
    """Return the one settings class a command uses: its own, or the one it imports."""
    classes = [
        v for v in vars(module).values() if isinstance(v, type) and issubclass(v, Settings) and v is not Settings
    ]
    (chosen,) = [c for c in classes if c.__module__ == module.__name__] or [c for c in classes if c is not JobArgs]
    return chosen


def flag_table(fields: Iterable[dataclasses.Field[Any]]) -> list[str]:
    """Return the lines of a Markdown table of flags."""
    lines = ["| flag | default | meaning |", "|---|---|---|"]
    for field in fields:
        default = "" if field.default in ("", None) else f"`{field.default}`"
        text = field.metadata["help"].replace("|", "\\|")
        if field.metadata["choices"]:
            text += f" ({', '.join(field.metadata['choices'])})"
        word = field.name.upper() if field.metadata["positional"] else f"--{field.name.replace('_', '-')}"
        lines.append(f"| `{word}` | {default} | {text} |")
    return lines


def told(field: dataclasses.Field[Any]) -> tuple[str, Any, Any]:
    """Return the key by which a flag is the same in two commands."""
    return field.name, field.default, field.metadata["help"]


def commands() -> str:
    """Return the command reference: flags that all share stand once."""
    everywhere = [told(field) for field in dataclasses.fields(Settings)]
    in_jobs = [told(field) for field in dataclasses.fields(JobArgs)]
    lines = [
        "# Commands and their flags",
        "",
        "Generated from the code by `make docs`; a test fails when it is stale. All of them also take `--help`,",
        "`--conf FILE` (YAML, the same names) and, where listed, `--preset NAME`. Flags win over the file, the file",
        "over the preset, the preset over the defaults below. Exit code 0: done; 2: your input, said in one",
        "sentence; 1: a bug of ours.",
        "",
        "## Flags of all commands",
        "",
        *flag_table(dataclasses.fields(Settings)),
        "",
        "## Flags of all Spark jobs",
        "",
        *flag_table(field for field in dataclasses.fields(JobArgs) if told(field) not in everywhere),
    ]
    for name, args in jobs().items():
        doc = (importlib.import_module(name).__doc__ or "").strip()
        folder, _, plain = name.partition(".")
        how = f"spark-submit spark_jobs/{plain}.py" if folder == "spark_jobs" else f"python -m {name}"
        # Two commands are called evaluate: a heading of its own for each gives each an anchor.
        heading = plain if folder == "spark_jobs" else name
        lines += ["", f"## {heading}", "", f"`{how}`", "", doc, ""]
        shared = in_jobs if issubclass(args, JobArgs) else everywhere
        lines += flag_table(field for field in dataclasses.fields(args) if told(field) not in shared)
        for preset, values in args.presets().items():
            shown = ", ".join(f"{key.replace('_', '-')} {value}" for key, value in values.items())
            lines += ["", f"Preset `{preset}`: {shown}."]
    return "\n".join(lines) + "\n"


def card(model: zoo.Model, stands: str) -> str:
    """Write a model's card with its parameters as the zoo has them.

    Args:
        model: whose.
        stands: the card as it is; what people wrote stays.
    """
    before, _, rest = stands.partition(_FACTS)
    _, end, after = rest.partition(_END)
    if not end:
        raise SystemExit(f"docs/models/{model.name}.md: needs these two lines:\n{_FACTS}{_END}")
    return f"{before}{_FACTS}{zoo.card_table(model)}{end}{after}"


def references() -> dict[Path, str]:
    """Render each file that is made, or partly made, from the code."""
    docs = ROOT / "docs"
    made = {
        docs / "tables.md": as_markdown(),
        docs / "commands.md": commands(),
        docs / "models" / "README.md": zoo.as_markdown(),
    }
    for model in zoo.MODELS.values():
        path = docs / "models" / f"{model.name}.md"
        made[path] = card(model, path.read_text(encoding="utf-8"))
    return made


def main() -> None:
    """Write them all."""
    for path, text in references().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
