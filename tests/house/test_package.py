"""`import lakerank`: quick, without Spark and PyTorch; each exported name is there, and stands for one thing."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from tests_root import ROOT

import lakerank
from lakerank.__main__ import COMMANDS, main


def test_the_import_starts_nothing() -> None:
    script = (
        "import sys, lakerank; heavy = {'pyspark', 'torch', 'numpy', 'pyarrow', 'pandas', 'numba', 'deltalake'};"
        "found = heavy & set(sys.modules); assert not found, found; assert set(lakerank.__all__) <= set(dir(lakerank))"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


@pytest.mark.parametrize("name", lakerank.__all__)
def test_each_name_is_there_and_says_what_it_is(name: str) -> None:
    found = getattr(lakerank, name)
    if name != "__version__":
        assert (found.__doc__ or "").strip(), name
        assert found.__name__ == name


def test_the_version_is_that_of_the_distribution_and_of_the_changelog() -> None:
    assert lakerank.__version__ == version("lakerank")
    assert f"\n## {lakerank.__version__} (" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'ALS'"):
        _ = lakerank.ALS


@pytest.mark.parametrize(("name", "extra"), [("LFM", "spark"), ("SearchIndex", "search")])
def test_a_package_that_is_missing_is_one_sentence(name: str, extra: str) -> None:
    package = {"LFM": "pyspark", "SearchIndex": "rapidfuzz"}[name]
    script = (
        f"import sys; sys.modules[{package!r}] = None; import lakerank\n"
        f"try:\n lakerank.{name}\nexcept lakerank.UserError as error:\n print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == f"`{package}` is not installed: pip install 'lakerank[{extra}]'\n"


@pytest.mark.parametrize("module", ["train", "evaluate", "upscale", "export"])
def test_a_module_that_is_run_without_torch_says_so_in_one_sentence(module: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['torch'] = None\n")
    command = [sys.executable, "-m", f"sr_model.{module}", "--help"]
    search_path = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | search_path)
    assert done.returncode == 2
    assert done.stderr == "error: `torch` is not installed: pip install 'lakerank[sr]'\n"


def test_exported_names_are_defined_once() -> None:
    defined: dict[str, list[str]] = {}
    for top in ("lakerank", "sr_model"):
        for file in (ROOT / top).rglob("*.py"):
            for node in ast.parse(file.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef | ast.FunctionDef):
                    defined.setdefault(node.name, []).append(str(file.relative_to(ROOT)))
    for name in lakerank.__all__:
        if name != "__version__":
            assert len(defined[name]) == 1, f"{name}: {defined[name]}"


def test_the_package_is_typed() -> None:
    assert (Path(lakerank.__file__).parent / "py.typed").is_file()


def test_the_command_lists_its_subcommands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for command in COMMANDS:
        line = next(line for line in shown.splitlines() if line.startswith(f"  {command} "))
        assert len(line.split(None, len(command.split()))[-1]) > 20, f"{command} says nothing of itself"
    assert main([]) == 2


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["pagerang"], "there is no command `pagerang`"),
        (["sr", "trian"], "there is no command `sr trian`"),
        (["sr"], "there is no command `sr`"),
    ],
)
def test_an_unknown_command_is_one_sentence(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1


def test_a_subcommand_is_the_job(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sr", "zoo", "--json"]) == 0
    assert '"job": "zoo"' in capsys.readouterr().out.splitlines()[-1]
    entry = importlib.import_module("lakerank.__main__").link_spam
    assert callable(entry)


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"lakerank {lakerank.__version__}\n"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    # Output closed after the first line, as by `| head -1`; -u: each line is written at once.
    command = [sys.executable, "-u", "-m", "lakerank", "sr", "zoo"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        assert started.stderr is not None
        started.stdout.close()
        err = started.stderr.read()
    assert err == ""
    assert started.returncode == 141
