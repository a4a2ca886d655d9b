"""The recommenders we compare with, in an environment of their own: `build/peers-lfm`, made once."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import peer_environment

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "build" / "peers-lfm"
# numpy 1: scikit-surprise 1.1 is compiled against it. setuptools: libmf is built from source.
PACKAGES = ("numpy==1.26.4", "setuptools<80", "wheel", "libmf==0.9.2", "scikit-surprise==1.1.5", "myfm==0.3.6")
VERSIONS = {name: version for name, _, version in (package.partition("==") for package in PACKAGES) if version}


def peer_python() -> Path:
    """Return the interpreter that has the peers' packages; the first call installs them, which takes minutes."""
    # numpy first, and builds that see it: two of them ask for it in their setup.py.
    steps = (PACKAGES[:3], ("--no-build-isolation", *PACKAGES[3:], PACKAGES[0]))
    return peer_environment.peer_python(PEERS, PACKAGES, steps)


def run_peer(name: str, folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Run `lfm_peers.py NAME FOLDER` with these settings; its last line.

    Raises:
        RuntimeError: it failed; the end of its stderr is in the message.
    """
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    command = [str(peer_python()), str(ROOT / "benchmarks" / "lfm_peers.py"), name, str(folder)]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    outcome: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return outcome
