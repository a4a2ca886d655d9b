"""Every YAML file under conf/jobs is accepted by the job its name begins with."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from tests_root import ROOT

from lakerank.cli.settings import parse_args


@pytest.mark.parametrize("file", sorted((ROOT / "conf" / "jobs").glob("*.yaml")), ids=lambda file: file.stem)
def test_conf_file_is_accepted(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import make_docs

    job = file.stem.split("-")[0]
    importlib.import_module(f"spark_jobs.{job}")
    parse_args(make_docs.jobs()[f"spark_jobs.{job}"], job, "", ["--conf", str(file)])
