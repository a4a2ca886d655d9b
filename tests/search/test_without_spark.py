"""Search and serve where pyspark is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests_root import ROOT
from webapp.small_lake import PAGES, write_lake

BLOCKED = "import sys; sys.modules['pyspark'] = None; sys.modules['torch'] = None; lake = sys.argv[1]\n"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lake")
    write_lake(folder, PAGES)
    return folder


def python(script: str, lake: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCKED + script, str(lake)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def test_a_query_is_answered(lake: Path) -> None:
    done = python(
        "from spark_jobs import search; sys.exit(search.main(['--lake', lake, '--query', 'broadcasting', '--json']))",
        lake,
    )
    assert done.returncode == 0, done.stderr
    assert "[Broadcasting] stretches small arrays" in done.stdout
    assert '"url": "https://example.org/1"' in done.stdout


def test_the_search_page_is_served(lake: Path) -> None:
    script = (
        "import spark_jobs.serve\n"
        "from lakerank.webapp.app import create_app\n"
        "from lakerank.webapp.store import NewestSite\n"
        "from starlette.testclient import TestClient\n"
        "newest = NewestSite(lake, '', '', lambda: sys.exit('asked for Spark'))\n"
        "client = TestClient(create_app(lambda: newest.site), base_url='http://127.0.0.1')\n"
        "print(client.get('/api/search?q=broadcasting').json()['results'][0]['url'])\n"
        "print(client.get('/page/1').status_code)\n"
    )
    done = python(script, lake)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["https://example.org/1", "200"]


def test_frames_are_indexed(lake: Path) -> None:
    script = (
        "import pandas as pd\n"
        "from lakerank.search.search_index import SearchIndex\n"
        "frame = pd.DataFrame({'id': [1, 2], 'text': ['a fox', 'a dog']})\n"
        "print(SearchIndex.from_frame(frame).search('foxes')[0].id, len(SearchIndex.open(lake)))\n"
    )
    done = python(script, lake)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "30"]


@pytest.mark.parametrize(
    "flags",
    [
        "'--lake', 'catalog.schema', '--query', 'fox', '--cache-dir', lake",
        "'--lake', lake, '--queries', lake + '/queries.tsv', '--run-file', lake + '/run.txt'",
    ],
)
def test_what_needs_spark_names_the_extra(lake: Path, flags: str) -> None:
    (lake / "queries.tsv").write_text("fox\n", encoding="utf-8")
    done = python(f"from spark_jobs import search; sys.exit(search.main([{flags}]))", lake)
    assert done.returncode == 2, done.stderr
    assert "pip install 'lakerank[spark]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
