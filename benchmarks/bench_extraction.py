"""Main text of HTML: ours beside resiliparse, trafilatura and readability, quality and speed, in one run.

Quality: precision, recall and F1 of word 4-grams against the marked text, mean over pages, on the pages that
`annotated_pages.py` makes, which were at hand while the rules were written, on the same pages with every class and id
replaced by one that says nothing, and on folders given by --collection, as the article-extraction-benchmark has them
(`ground-truth.json` with `articleBody` by page, `html/PAGE.html.gz`); F1 by kind of page besides.
Speed: processor time of one process from decoded HTML to text, on those pages and on the NumPy documentation. Ours
makes titles, headings, links with their zones and languages in the same time; the others make text alone.

    python benchmarks/bench_extraction.py [--collection DIR …] [--quick] [--json]
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import random
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from annotated_pages import AnnotatedPage, annotated_pages, shingle_f1
from peer_environment import peer_python

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("LAKERANK_SAMPLE_DATA", ROOT.parent / "shared" / "data"))
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ["trafilatura==2.3.1", "resiliparse==2.0.1", "lxml-html-clean==0.4.6", "readability-lxml==0.8.4.1"]
ENGINES = ("ours", "resiliparse", "trafilatura", "trafilatura fast", "readability")


def extractor(name: str) -> Callable[[str], str]:
    """Return the function from HTML to main text."""
    if name == "ours":
        from lakerank.search.pages.document import parse_html

        return lambda html: parse_html(html, "https://a.org/").text
    if name == "resiliparse":
        from resiliparse.extract.html2text import extract_plain_text

        return lambda html: str(extract_plain_text(html, main_content=True, alt_texts=False))
    if name == "readability":
        import lxml.html
        from readability import Document

        return lambda html: str(lxml.html.fromstring(Document(html).summary() or "<p>").text_content())
    import trafilatura

    fast = name.endswith("fast")
    return lambda html: trafilatura.extract(html, include_comments=False, fast=fast) or ""


def serve() -> None:
    """Extract the pages named on standard input; print texts and the best time of `repeats`."""
    job = json.load(sys.stdin)
    pages = json.loads(Path(job["pages"]).read_text(encoding="utf-8"))
    extract = extractor(job["engine"])
    texts, seconds = [], []
    for _ in range(job["repeats"] + 1):  # the first warms up
        begun = time.process_time()
        texts = [extract(page) for page in pages]
        seconds.append(time.process_time() - begun)
    Path(job["out"]).write_text(json.dumps({"texts": texts, "seconds": min(seconds[1:])}), encoding="utf-8")


def run_engine(engine: str, pages: list[str], repeats: int, python: Path, folder: Path) -> dict[str, Any]:
    """Run one extractor in a process of its own."""
    source, out = folder / "pages.json", folder / "out.json"
    source.write_text(json.dumps(pages), encoding="utf-8")
    job = {"engine": engine, "pages": str(source), "out": str(out), "repeats": repeats}
    interpreter = sys.executable if engine == "ours" else str(python)
    subprocess.run([interpreter, __file__, "--serve"], input=json.dumps(job), text=True, check=True)
    return dict(json.loads(out.read_text(encoding="utf-8")))


def collection(folder: Path) -> Iterator[AnnotatedPage]:
    """Read a folder as the article-extraction-benchmark has it."""
    truth = json.loads((folder / "ground-truth.json").read_text(encoding="utf-8"))
    for name, wanted in sorted(truth.items()):
        packed = folder / "html" / f"{name}.html.gz"
        data = gzip.decompress(packed.read_bytes()) if packed.exists() else packed.with_suffix("").read_bytes()
        yield AnnotatedPage(name, data.decode("utf-8", "replace"), wanted["articleBody"])


def documentation(number: int) -> list[str]:
    """Read a sample of the NumPy documentation."""
    with tarfile.open(DATA / "web" / "numpy-docs.tar.gz") as archive:
        members = sorted((m for m in archive if m.name.endswith(".html")), key=lambda member: member.name)
        picked = random.Random(0).sample(members, number)
        files = [archive.extractfile(member) for member in picked]
        return [file.read().decode("utf-8", "replace") for file in files if file is not None]


def table(facts: dict[str, Any]) -> str:
    """Lay the results out, a line for each set and engine."""
    lines = [f"{'':26}{'':18}{'F1':>7}{'prec.':>7}{'recall':>7}  F1 by kind"]
    for name, found in facts["quality"].items():
        for engine in ENGINES:
            row = found[engine]
            kinds = ", ".join(f"{kind} {f1:.3f}" for kind, f1 in row["f1_by_kind"].items())
            lines.append(f"{name:26}{engine:18}{row['f1']:7.3f}{row['precision']:7.3f}{row['recall']:7.3f}  {kinds}")
    for name, found in facts["milliseconds_per_page"].items():
        times = ", ".join(f"{engine} {found[engine]:.2f}" for engine in ENGINES)
        lines.append(f"{name}, {found['n']} pages, ms of processor time a page: {times}")
    return "\n".join(lines)


def main() -> None:
    """Run, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collection", type=Path, nargs="*", default=[])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one repeat, fewer pages")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve()
        return
    repeats, variants, number = (1, 1, 60) if args.quick else (args.repeats, 3, 300)
    sets = {"annotated": list(annotated_pages(variants, seed=11))}
    sets["annotated, without names"] = [page.without_names() for page in sets["annotated"]]
    sets |= {folder.name: list(collection(folder)) for folder in args.collection}
    python = peer_python(ROOT / "build" / "peers-extraction", PACKAGES)
    facts: dict[str, Any] = {"benchmark": "extraction", "quality": {}, "pages_per_second": {}}
    facts["milliseconds_per_page"] = {}
    with tempfile.TemporaryDirectory() as work:
        for name, pages in sets.items():
            facts["quality"][name] = {"n": len(pages)}
            for engine in ENGINES:
                found = run_engine(engine, [page.html for page in pages], 1, python, Path(work))
                scores = [shingle_f1(page.text, text) for page, text in zip(pages, found["texts"], strict=True)]
                row = {
                    key: round(fmean(score[i] for score in scores), 3)
                    for i, key in enumerate(("precision", "recall", "f1"))
                }
                missed = sum(score[1] == 0 for score in scores)
                kinds = {
                    kind: round(fmean(s[2] for page, s in zip(pages, scores, strict=True) if page.kind == kind), 3)
                    for kind in sorted({page.kind for page in pages})
                }
                facts["quality"][name][engine] = {**row, "pages_missed": missed, "f1_by_kind": kinds}
        for name, htmls in (("annotated", [p.html for p in sets["annotated"]]), ("numpy", documentation(number))):
            facts["pages_per_second"][name] = {"n": len(htmls)}
            facts["milliseconds_per_page"][name] = {"n": len(htmls)}
            for engine in ENGINES:
                seconds = run_engine(engine, htmls, repeats, python, Path(work))["seconds"]
                facts["pages_per_second"][name][engine] = round(len(htmls) / seconds, 1)
                facts["milliseconds_per_page"][name][engine] = round(1000 * seconds / len(htmls), 3)
    speed = facts["pages_per_second"]["numpy"]
    facts["ratio_trafilatura"] = round(speed["ours"] / speed["trafilatura"], 2)
    facts["ratio_resiliparse"] = round(speed["ours"] / speed["resiliparse"], 2)
    facts["machine"] = f"{os.cpu_count()} cores, {platform.machine()}; processor time of one process"
    facts["versions"] = {"python": platform.python_version(), **dict(package.split("==") for package in PACKAGES)}
    RESULTS.mkdir(exist_ok=True)
    out = RESULTS / f"extraction{'-quick' if args.quick else ''}.json"
    out.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(facts) if args.json else table(facts))


if __name__ == "__main__":
    main()
