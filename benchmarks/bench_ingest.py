"""Pages in: ours end to end against Spark's binaryFile and a Python UDF, on the NumPy documentation, in one run.

Both run from a folder of HTML to Delta tables in one warm session of two cores. The peer reads title, text and links
with the same parser; it knows no boilerplate, encodings, languages, copies, redirects or rejected pages, and skips
names with `_` or `.`. Each is run once to warm up and then --repeats times in turn.

    python benchmarks/bench_ingest.py [--copies N] [--quick] [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import shutil
import statistics
import tarfile
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urljoin

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lakerank.spark.session import session
from spark_jobs import ingest_pages

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("LAKERANK_SAMPLE_DATA", ROOT.parent / "shared" / "data"))
RESULTS = ROOT / "benchmarks" / "results"
BASE = "https://numpy.org/doc/2.5/"
NAIVE = "url string, title string, text string, links array<struct<dst: string, anchor: string>>"


def unpack(folder: Path, copies: int) -> int:
    """Unpack the documentation `copies` times side by side; return the number of files."""
    with tarfile.open(DATA / "web" / "numpy-docs.tar.gz") as archive:
        archive.extractall(folder / "0", filter="data")
    for number in range(1, copies):
        shutil.copytree(folder / "0", folder / str(number))
    return sum(path.is_file() for path in folder.rglob("*.html"))


def naive(path: str, content: bytes) -> dict[str, Any]:
    """Parse a page with selectolax alone, as a first version does."""
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(bytes(content))
    url = BASE + path
    title = tree.css_first("title")
    links = [
        {"dst": urldefrag(urljoin(url, link.attributes.get("href") or "")).url, "anchor": link.text()}
        for link in tree.css("a[href]")
    ]
    return {"url": url, "title": title.text() if title else "", "text": tree.body.text(), "links": links}


def run_naive(spark: SparkSession, folder: Path, lake: Path) -> int:
    """Ingest pages by binaryFile → UDF → two tables; return the number of pages."""
    parse = F.udf(naive, NAIVE)
    files = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(str(folder))
    rows = files.select(parse(F.col("path"), F.col("content")).alias("page")).select("page.*").localCheckpoint()
    rows.drop("links").write.format("delta").mode("overwrite").save(str(lake / "pages"))
    links = rows.select("url", F.inline("links"))
    links.write.format("delta").mode("overwrite").save(str(lake / "links"))
    return spark.read.format("delta").load(str(lake / "pages")).count()


def run_ours(folder: Path, lake: Path) -> int:
    """Run the job; return the number of pages."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = ingest_pages.main(["--source", str(folder), "--base-url", BASE, "--lake", str(lake), "--json"])
    if code:
        raise RuntimeError(f"ingest_pages ended with {code}")
    return int(json.loads(said.getvalue().splitlines()[-1])["pages"])


def main() -> None:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=4, help="of the documentation, 2,682 files each")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one copy, one repeat")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    copies, repeats = (1, 1) if args.quick else (args.copies, args.repeats)
    facts: dict[str, Any] = {"benchmark": "ingest", "copies": copies, "ours": [], "binaryFile": []}
    pages = {}
    with tempfile.TemporaryDirectory() as work, session("bench-ingest", "local[2]") as spark:
        spark.sparkContext.setLogLevel("ERROR")
        folder = Path(work) / "site"
        facts["files"] = unpack(folder, copies)
        facts["megabytes"] = round(sum(p.stat().st_size for p in folder.rglob("*.html")) / 1e6, 1)
        for turn in range(repeats + 1):
            for name in ("ours", "binaryFile"):
                lake = Path(work) / name
                begun = time.perf_counter()
                pages[name] = run_ours(folder, lake) if name == "ours" else run_naive(spark, folder, lake)
                if turn:  # the first warms up
                    facts[name].append(round(time.perf_counter() - begun, 2))
    for name in ("ours", "binaryFile"):
        rate = round(pages[name] / statistics.median(facts[name]), 1)
        facts[name] = {"pages": pages[name], "seconds": facts[name], "documents_per_second": rate}
    facts["documents_per_second"] = facts["ours"]["documents_per_second"]
    theirs, ours = facts["binaryFile"], facts["ours"]
    facts["ratio_binaryfile"] = round(ours["documents_per_second"] / theirs["documents_per_second"], 2)
    facts["lost_by_binaryfile"] = facts["files"] - theirs["pages"]
    facts["machine"] = f"{os.cpu_count()} cores, {platform.machine()}"
    names = ("pyspark", "selectolax", "pyarrow", "delta-spark")
    facts["versions"] = {"python": platform.python_version()} | {name: version(name) for name in names}
    RESULTS.mkdir(exist_ok=True)
    name = f"ingest{'-quick' if args.quick else ''}.json"
    (RESULTS / name).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(facts) if args.json else json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
