"""The rules of the house, as tests: where things stand, who may import whom, who may touch storage."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

import networkx as nx
import pytest
from tests_root import ROOT

JOBS = sorted(p.stem for p in (ROOT / "spark_jobs").glob("[a-z]*.py"))
ROOMS = ("graph", "search", "recommend", "report", "webapp")
LIBRARY = ROOT / "lakerank"
# What each part of the library may import of the others: an arrow that runs back up fails here.
MAY_IMPORT = {
    "cli": set[str](),
    "lake": {"cli", "spark"},
    "spark": {"cli", "lake"},
    **{room: {"cli", "spark", "lake"} for room in ("graph", "search", "recommend")},
    "report": {"cli", "spark", "lake", "graph", "search", "recommend"},
    "webapp": {"cli", "spark", "lake", "search", "recommend"},
}
# A room's own tables: the one file in it with input and output.
STORES = ("store.py",)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def imports(file: Path) -> Iterator[str]:
    """Dotted names a file imports."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def module_name(file: Path) -> str:
    """`lakerank.cli.settings` of its file; a package has its folder's name."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _runs_on_import(nodes: Iterable[ast.AST]) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports a module does while it is imported: none in functions, none for the type checker alone."""
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from _runs_on_import(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _runs_on_import(ast.iter_child_nodes(node))


def import_graph(files: Mapping[str, Path]) -> dict[str, set[str]]:
    """Module → those of the same modules that it imports."""
    graph: dict[str, set[str]] = {}
    for name, file in files.items():
        wanted: set[str] = set()
        for node in _runs_on_import(ast.parse(file.read_text(encoding="utf-8")).body):
            if isinstance(node, ast.Import):
                wanted |= {alias.name for alias in node.names}
            else:
                inside = {f"{node.module}.{alias.name}" for alias in node.names}
                wanted |= inside & set(files)
                # A name that is no module of its own comes from the package.
                wanted |= {str(node.module)} if inside - set(files) else set()
        graph[name] = (wanted & set(files)) - {name}
    return graph


def attributes(file: Path) -> Iterator[tuple[int, str]]:
    """(line, name) of every attribute access."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            yield node.lineno, node.attr


def test_nothing_beside_the_jobs_shadows_a_module() -> None:
    # spark-submit puts spark_jobs/ first on the path: `import search` there would find ours.
    names = {p.stem for p in (ROOT / "spark_jobs").iterdir() if not p.name.startswith("__")}
    assert not names & (set(sys.stdlib_module_names) | set(packages_distributions())), "rename the file or folder"


def test_spark_jobs_holds_jobs_only() -> None:
    others = [p.name for p in (ROOT / "spark_jobs").iterdir() if p.is_dir() and p.name != "__pycache__"]
    assert not others, f"{others}: what is no job belongs into lakerank/"


def test_the_library_has_no_other_rooms() -> None:
    assert {p.name for p in LIBRARY.iterdir() if (p / "__init__.py").exists()} == set(MAY_IMPORT)


def test_every_command_is_a_subcommand() -> None:
    from lakerank.__main__ import COMMANDS, module_of

    folders = ((folder, ROOT / folder) for folder in ("spark_jobs", "sr_model"))
    files = ((f"{name}.{file.stem}", file) for name, folder in folders for file in folder.glob("[a-z]*.py"))
    runnable = {name for name, file in files if "__main__" in file.read_text(encoding="utf-8")}
    assert {module_of(command) for command in COMMANDS} == runnable
    extras = {extra for needed in COMMANDS.values() for extra in needed.split(",")}
    assert extras <= set(PROJECT["optional-dependencies"])


def test_no_two_test_files_share_a_name() -> None:
    """Test folders are no packages, so pytest would refuse the second."""
    names = [file.name for file in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_sr_model_does_without_spark() -> None:
    # The training machine has no Spark: every module must import there, with the lake's Spark-free helpers.
    files = sorted((ROOT / "sr_model").rglob("*.py"))
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files if file.name != "__init__.py"]
    script = f"import sys, importlib; sys.modules['pyspark'] = None; [importlib.import_module(n) for n in {names}]"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
    for file in files:
        beside = [name for name in imports(file) if name.split(".")[0] in ("spark_jobs", "lakerank")]
        assert not [name for name in beside if not name.startswith("lakerank.cli.")], f"{file}: imports {beside}"


def test_cutting_patches_and_listing_models_need_no_torch() -> None:
    # Spark's workers import it: PyTorch would cost each of them seconds, and gigabytes on each machine.
    modules = "spark_jobs.make_patches, sr_model.data.writer, spark_jobs.upscale_images, sr_model.zoo"
    script = f"import sys; sys.modules['torch'] = None; import {modules}"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


@pytest.mark.parametrize("package", ["lakerank", "sr_model"])
def test_no_modules_import_one_another_in_a_circle(package: str) -> None:
    graph = import_graph({module_name(file): file for file in (ROOT / package).rglob("*.py")})
    circles = [sorted(circle) for circle in nx.strongly_connected_components(nx.DiGraph(graph)) if len(circle) > 1]
    assert not circles, f"{circles}: take out what both need, or merge them"


def test_an_exported_name_means_one_thing() -> None:
    """What a package's `__all__` or import says is public has one definition, whichever package says it."""
    files = {module_name(file): file for package in ("lakerank", "sr_model") for file in (ROOT / package).rglob("*.py")}
    origins: dict[str, set[str]] = {}
    for package, file in files.items():
        if file.name != "__init__.py":
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        listed = [n for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "__all__"]
        exported = set(ast.literal_eval(listed[0].value)) if listed else None
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in ("lakerank", "sr_model"):
                said = [(alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names]
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                said = [(node.name, f"{package}.{node.name}")]
            else:
                continue
            for name, origin in said:
                if not name.startswith("_") and name != "*" and origin not in files and name in (exported or {name}):
                    origins.setdefault(name, set()).add(origin)
    origins.pop("UserError", None)  # which packages use, and none exports
    assert not {name: found for name, found in origins.items() if len(found) > 1}
    tables = [node for node in files if node.startswith("lakerank.lake.schemas.")]
    named = [target.id for table in tables for target in _relations(files[table])]
    assert sorted(named) == sorted(set(named)), "two tables of one name"


def _relations(file: Path) -> Iterator[ast.Name]:
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            yield from (target for target in node.targets if isinstance(target, ast.Name))


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_no_arrow_runs_back_up(room: str) -> None:
    for file in (LIBRARY / room).rglob("*.py"):
        for name in imports(file):
            parts = name.split(".")
            assert parts[0] not in ("spark_jobs", "sr_model"), f"{file}: imports {name}; jobs call the library"
            if parts[0] == "lakerank" and len(parts) > 1:
                assert parts[1] in {room, *MAY_IMPORT[room]}, f"{file}: imports {name}; rooms meet in tables"


def test_only_the_lake_and_jobs_touch_storage() -> None:
    for room in ROOMS:
        for file in (LIBRARY / room).rglob("*.py"):
            if file.name in STORES:
                continue
            for line, name in attributes(file):
                touches = name in (
                    "read",
                    "write",
                    "readStream",
                    "writeStream",
                    "writeTo",
                    "open",
                    "read_text",
                    "write_text",
                )
                assert not touches, f"{file}:{line}: `.{name}`; only lake/ and jobs touch storage"


def test_no_api_that_connect_and_serverless_lack() -> None:
    for file in (*LIBRARY.rglob("*.py"), *(ROOT / "spark_jobs").rglob("*.py")):
        if file.name == "graphframes_engine.py":
            continue  # the one exception: it asks the JVM whether GraphFrames' classes are there
        for line, name in attributes(file):
            banned = name in ("sparkContext", "rdd", "_jvm", "_jdf", "_sc", "cache", "persist")
            assert not banned, f"{file}:{line}: `.{name}` does not exist on Spark Connect or serverless"


@pytest.mark.parametrize("job", JOBS)
def test_a_job_is_registered_and_documented(job: str) -> None:
    assert PROJECT["scripts"][f"lakerank-{job.replace('_', '-')}"] == f"lakerank.__main__:{job}"
    assert f"spark_jobs/{job}.py" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_dependency_says_why() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = text.split("dependencies = [")[1].split("\n]")[0]
    for line in filter(None, map(str.strip, block.splitlines())):
        assert "#" in line, f"pyproject.toml: no reason given: {line}"


def test_generated_references_are_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import make_docs

    for path, made in make_docs.references().items():
        assert path.read_text(encoding="utf-8") == made, f"{path.relative_to(ROOT)} is stale: run `make docs`"


def test_notebooks_compile_and_define_nothing() -> None:
    for file in (ROOT / "notebooks").glob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)], file
