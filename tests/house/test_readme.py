"""What the README tells people to type exists: files, flags, make targets, links."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from fake_java import fake_java
from tests_root import ROOT

PAGES = [
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
# Of each block in the pages: its language, if it says one, and its text.
BLOCK = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMANDS = sorted(
    {
        (page.name, re.sub(r"\s*#.*$", "", line).strip().removeprefix("$ "))
        for page in PAGES
        for language, block in BLOCK.findall(page.read_text(encoding="utf-8"))
        if language in ("", "bash", "sh", "console")
        for line in block.replace("\\\n", " ").splitlines()
        if "spark-submit" in line or "-m sr_model." in line or line.strip().startswith("make ")
    }
)


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_command_exists(page: str, command: str) -> None:
    if command.startswith("make "):
        target = command.split()[1]
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        return
    sys.path.insert(0, str(ROOT / "scripts"))
    import make_docs

    job = re.search(r"(spark_jobs)/(\w+)\.py|-m (sr_model)\.(\w+)", command)
    assert job, command
    module = ".".join(word for word in job.groups() if word)
    known = {field.replace("_", "-") for field in make_docs.jobs()[module].__dataclass_fields__}
    known |= {"conf", "preset", "help", *(["config"] if module == "sr_model.train" else [])}
    for used in re.findall(r"--([\w-]+)", command.split(job[0])[1]):
        assert used in known or used.removeprefix("no-") in known, f"{page}: {module} has no --{used}"


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_no_java_or_an_old_one_is_one_sentence(tmp_path) -> None:
    script = str(ROOT / "scripts" / "check_java.sh")
    for home, sentence in ((tmp_path / "none", "was not found"), (fake_java(tmp_path, "11.0.2"), "is version 11")):
        done = subprocess.run(
            ["bash", script], env={"PATH": "/usr/bin:/bin", "JAVA_HOME": str(home)}, capture_output=True, text=True
        )
        assert done.returncode == 2
        assert sentence in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_spark_submit_without_java_is_one_sentence(tmp_path) -> None:
    submit = Path(sys.executable).parent / "spark-submit"
    env = {"PATH": "/usr/bin:/bin", "JAVA_HOME": str(tmp_path), "SPARK_CONF_DIR": str(ROOT / "conf" / "spark")}
    done = subprocess.run(
        [submit, str(ROOT / "spark_jobs" / "pagerank.py")], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "was not found: install it or set JAVA_HOME" in done.stderr
    assert len(done.stderr.splitlines()) == 1
