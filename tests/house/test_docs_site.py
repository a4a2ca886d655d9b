"""The documentation site is built in strict mode: no warning, no dead link, everything reachable, no network."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests_root import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    shutil.rmtree(ROOT / "docs" / "reference", ignore_errors=True)  # pages of modules that are gone
    # Whoever would ask the network meets a proxy that is not there.
    nobody = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "docs", str(out)],
        cwd=ROOT,
        env=os.environ | nobody,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
def test_every_guide_and_decision_is_a_page_that_the_navigation_leads_to(site: Path) -> None:
    front = (site / "index.html").read_text(encoding="utf-8")
    for guide in sorted((ROOT / "docs").glob("*.md")):
        page = guide.with_suffix(".html").name
        title = guide.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ").replace("`", "")
        text = re.sub(r"<[^>]+>", "", (site / page).read_text(encoding="utf-8"))
        # Sphinx has pages of its own, such as search.html, which would take the place of a guide of that name.
        assert title.startswith("{include}") or html.escape(title, quote=False).replace("'", "’") in text, page
        assert page == "index.html" or f'href="{page}"' in front, page
    decisions = (site / "adr" / "README.html").read_text(encoding="utf-8")
    for decision in sorted((ROOT / "docs" / "adr").glob("[0-9]*.md")):
        page = decision.with_suffix(".html").name
        assert (site / "adr" / page).is_file(), page
        assert f'href="{page}"' in decisions, f"{page} is not listed in docs/adr/README.md"


@pytest.mark.slow
def test_the_api_reference_has_docstrings_with_their_sections(site: Path) -> None:
    page = (site / "reference" / "lakerank" / "lakerank.cli.html").read_text(encoding="utf-8")
    text = re.sub(r"<[^>]+>", "", page)
    assert "lakerank.cli.errors" in text
    assert "UserError" in text
    assert "Raises" in text


@pytest.mark.slow
def test_a_link_that_leads_nowhere_fails_the_build(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    conf = (ROOT / "docs" / "conf.py").read_text(encoding="utf-8")
    (docs / "conf.py").write_text(f"{conf}\napidoc_modules = []\n", encoding="utf-8")
    for text, code in (("# One\n\n[here](#one)\n", 0), ("# One\n\n[a](two.md)\n", 1), ("# One\n\n[a](#two)\n", 1)):
        (docs / "index.md").write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", str(docs), str(tmp_path / "out")]
        assert subprocess.run(command, capture_output=True).returncode == code, text
