"""What `pip install 'lakerank[EXTRA]'` brings is enough: each extra in a fresh environment, outside the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests_root import ROOT

from lakerank.__main__ import COMMANDS, module_of

pytestmark = pytest.mark.slow

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = [extra for extra in PROJECT["optional-dependencies"] if extra != "dev"]
UV = Path(sys.executable).with_name("uv")
# Asks for the help of each command as its console script would, in one process for each environment.
HELP = """
import contextlib, io, json, sys
from lakerank.__main__ import main
said = {}
for command in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([*command.split(), "--help"])
        except SystemExit as end:
            code = end.code or 0
    said[command] = [code, out.getvalue()[:200], err.getvalue()]
import lakerank
where = lakerank.__file__
print(json.dumps([where, said]))
"""


def closure(extra: str) -> set[str]:
    """The extra and those that it brings."""
    found = {extra}
    for requirement in PROJECT["optional-dependencies"].get(extra, ()):
        if requirement.startswith("lakerank["):
            for other in requirement.removeprefix("lakerank[").rstrip("]").split(","):
                found |= closure(other)
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("lakerank-*.whl")
    yield built
    # Where the index sends no caching headers, each environment leaves another build of pyspark in uv's cache (2 GB).
    subprocess.run([UV, "cache", "prune", "-q"], check=False, capture_output=True)


def install(wheel: Path, extra: str, folder: Path) -> Path:
    """Return the Python of a fresh environment that holds the wheel with the extra, in the locked versions."""
    env = {**os.environ, "UV_SYSTEM_CERTS": "true"}
    python = folder / "env" / "bin" / "python"
    subprocess.run([UV, "venv", "-q", "--python", sys.executable, str(folder / "env")], check=True, env=env)
    what = f"{wheel}[{extra}]" if extra else str(wheel)
    command = [UV, "pip", "install", "-q", "--python", str(python), "-c", str(ROOT / "requirements.lock"), what]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return python


def outside() -> dict[str, str]:
    """The environment without what points to the checkout."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}


@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_an_extra_alone_runs_its_commands_and_names_what_the_others_lack(
    wheel: Path, extra: str, tmp_path: Path
) -> None:

    python = install(wheel, extra, tmp_path)
    done = subprocess.run(
        [python, "-c", HELP, json.dumps(list(COMMANDS))], cwd=tmp_path, env=outside(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    where, said = json.loads(done.stdout.splitlines()[-1])
    assert str(tmp_path) in where
    have = closure(extra)
    for command, (code, out, err) in said.items():
        needed = set(COMMANDS[command].split(","))
        if needed <= have:
            assert code == 0, f"lakerank[{extra}] {command}: {err}"
            assert out.startswith("usage: "), f"{command}: {out}"
        elif code:
            assert code == 2, f"lakerank[{extra}] {command}: {err}"
            assert f"pip install 'lakerank[{COMMANDS[command]}]'" in err
            assert len(err.splitlines()) == 1
    for script in PROJECT["scripts"]:
        assert (python.parent / script).is_file()
    if extra in ("search", "serve", "", "sr-runtime"):
        found = subprocess.run([python, "-c", "import pyspark"], capture_output=True, cwd=tmp_path, env=outside())
        assert found.returncode, f"lakerank[{extra}] brings pyspark"


def test_spark_and_super_resolution_agree(wheel: Path, tmp_path: Path) -> None:
    """Together they resolve, and the job that needs neither a checkout nor our set-up ranks the worked example."""
    import pyspark

    python = install(wheel, "spark,sr", tmp_path)
    # The jars of the environment that runs the tests: a fresh one would fetch Delta's from Maven Central.
    env = outside() | {"SPARK_HOME": str(Path(pyspark.__file__).parent)}
    command = [str(python.parent / "lakerank-pagerank"), "--master", "local[1]", "--lake", "lake", "--json"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert '"converged": true' in done.stdout.splitlines()[-1]


def test_modules_of_commands_exist() -> None:
    for command in COMMANDS:
        assert (ROOT / (module_of(command).replace(".", "/") + ".py")).is_file()
