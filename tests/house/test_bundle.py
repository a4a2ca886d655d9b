"""The Databricks bundle is valid by Databricks' own models, and what it calls exists and takes the flags it gives.

`databricks-bundles` is generated from the schema that `databricks bundle validate` uses; the command needs a workspace.
"""

from __future__ import annotations

import importlib
import re
import tomllib
from typing import Any

import pytest
import yaml
from databricks.bundles.jobs import Job
from tests_root import ROOT

from lakerank.__main__ import module_of
from lakerank.cli.settings import parse_args

BUNDLE = yaml.safe_load((ROOT / "databricks.yml").read_text(encoding="utf-8"))
FILES = sorted((ROOT / "conf" / "bundle").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
JOBS = {
    name: job
    for file in FILES
    for name, job in yaml.safe_load(file.read_text(encoding="utf-8"))["resources"]["jobs"].items()
}
TASKS = [(f"{name}.{task['task_key']}", job, task) for name, job in JOBS.items() for task in job["tasks"]]


def resolved(text: str) -> str:
    """Variables replaced by their defaults."""
    names = BUNDLE["variables"]
    while found := re.search(r"\$\{var\.(\w+)\}", text):
        text = text.replace(found[0], names[found[1]]["default"])
    return text


@pytest.mark.parametrize("name", JOBS)
def test_jobs_are_valid(name: str) -> None:
    job = Job.from_dict(JOBS[name])
    keys = [task["task_key"] for task in JOBS[name]["tasks"]]
    assert len(job.tasks) == len(set(keys))
    assert {needed["task_key"] for task in JOBS[name]["tasks"] for needed in task.get("depends_on", ())} <= set(keys)
    with pytest.raises(Exception, match="tasksandmore"):
        Job.from_dict(JOBS[name] | {"tasksandmore": 1})


@pytest.mark.parametrize(("job", "task"), [task[1:] for task in TASKS], ids=[task[0] for task in TASKS])
def test_tasks_call_entry_points_with_flags_they_take(
    job: dict[str, Any], task: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import make_docs

    wheel = task["python_wheel_task"]
    assert wheel["package_name"] == PROJECT["name"]
    module_name, _, command = PROJECT["scripts"][wheel["entry_point"]].partition(":")
    assert module_name == "lakerank.__main__"
    module = module_of(command.replace("_", "-"))
    importlib.import_module(module)
    args = parse_args(make_docs.jobs()[module], module, "", [resolved(word) for word in wheel["parameters"]])
    assert args.lake == "main.lakerank"
    if "environment_key" in task:
        assert task["environment_key"] in [one["environment_key"] for one in job["environments"]]
    else:
        assert task["job_cluster_key"] in [one["job_cluster_key"] for one in job["job_clusters"]]


def test_serverless_brings_what_the_search_jobs_need() -> None:
    (environment,) = JOBS["search"]["environments"]
    wheel, *libraries = environment["spec"]["dependencies"]
    assert wheel == "../../dist/*.whl"
    assert libraries == PROJECT["optional-dependencies"]["search"]


def test_both_targets_are_there_and_every_variable_is_used() -> None:
    assert set(BUNDLE["targets"]) == {"dev", "prod"}
    everything = "".join(file.read_text(encoding="utf-8") for file in (*FILES, ROOT / "databricks.yml"))
    assert all(f"${{var.{name}}}" in everything for name in BUNDLE["variables"])
    assert set(re.findall(r"\$\{var\.(\w+)\}", everything)) == set(BUNDLE["variables"])
    assert [str(file.relative_to(ROOT)) for file in FILES] == sorted(
        str(file.relative_to(ROOT)) for file in ROOT.glob(BUNDLE["include"][0])
    )
