"""Environments of the peers' own, in `build/`, made once for each list of packages."""

from __future__ import annotations

import json
import subprocess
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def peer_python(folder: Path, packages: Sequence[str], steps: Sequence[Sequence[str]] = ()) -> Path:
    """Return the interpreter that has the peers' packages; the first call installs them.

    Args:
        folder: of the environment.
        packages: as pip takes them; the environment is made anew when they change.
        steps: arguments of one `pip install` after another, where one for all packages does not do.
    """
    ready, python = folder / "ready.json", folder / "bin" / "python"
    if not ready.exists() or json.loads(ready.read_text(encoding="utf-8")) != list(packages):
        print(f"installing {', '.join(packages)} into {folder.relative_to(ROOT)}", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        for step in steps or [packages]:
            subprocess.run([str(python), "-m", "pip", "install", "-q", *step], check=True)
        ready.write_text(json.dumps(packages), encoding="utf-8")
    return python
