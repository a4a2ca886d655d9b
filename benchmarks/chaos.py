"""Chaos: jobs that are killed, started together and visited by others, and what readers see after each event.

    python benchmarks/chaos.py [--kinds crash,visit,kill,…] [--jobs lfm,…] [--kills 20] [--add] [--quick] [--json]

A small lake is made once. For each event it is copied (so each also tests that a lake may be moved), one job runs
on the copy, and something happens to it:

- crash: the job dies just before or just after one of its writes or its publication; each of them in turn;
- visit: somebody maintains or changes one of its tables after a write, or after it was published, or maintains one
  that it reads before its first write (OPTIMIZE, VACUUM without retention, SET TBLPROPERTIES, RESTORE to version 0, the
  table dropped and made anew);
- kill: SIGKILL to the whole process group at a random moment;
- memory: SIGKILL to one process of it, the JVM, a Python worker or the job itself, as a machine without memory does;
- disk: the lake's file system is full after so many more bytes; read-only: it may not be written at all;
- pair: two jobs that share a table are started in the same moment;
- serve: the search page's server, which takes up a new index every half second, or the build of that index is killed;
- train: both phases of `python -m sr_model.train` are killed at a random moment, and resumed.

After each event all readers' tables, at the versions that are published, must be those before the job or those after
it (of a pair: after one of the two, or after both in either order), or, after a visit that takes rows away, one
sentence that says so. What did not happen to it (a job that had ended already, a disk that had room enough) does not
count. Then the job runs again, undisturbed, and its tables must be what they are without any event
(of a training: its weights, bit for bit). No hidden or temporary file may be left beside the tables. A job that ends by
itself says why in one sentence. Disks need the right to mount. --quick: two events of each kind for each job. --add:
the tally goes on from the results that are stored, and names their commits (the whole takes some three hours on two
cores; give another --seed).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import io
import itertools
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from lakerank.cli.errors import UserError  # noqa: E402 (after the path)
from lakerank.lake.delta_arrow import ArrowTable  # noqa: E402
from lakerank.lake.publications import Publications, Publishing  # noqa: E402
from lakerank.lake.schemas import RELATIONS  # noqa: E402
from lakerank.search.query.engine import SearchEngine  # noqa: E402
from lakerank.search.query.store import open_index  # noqa: E402
from lakerank.spark.session import get_spark  # noqa: E402

# For JVMs that live some seconds on a small lake: its second compiler, compiled queries and many partitions cost more
# than they bring.
QUICK_SPARK = (
    "--driver-java-options '-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m' "
    "--conf spark.sql.shuffle.partitions=2 --conf spark.databricks.delta.snapshotPartitions=1 "
    "--conf spark.sql.codegen.wholeStage=false --conf spark.sql.codegen.factoryMode=NO_CODEGEN pyspark-shell"
)
RESULTS = ROOT / "benchmarks" / "results" / "chaos.json"
KINDS = ("crash", "visit", "disk", "read-only", "kill", "memory", "pair", "serve", "train")
# Times and names that differ from run to run though nothing else does.
VOLATILE = {"seconds", "updates_per_second", "fetched_at", "run_id", "source"}
VOLATILE |= {"settings", "segment", "checksum"}  # the lake's own place; numbers of builds
VOLATILE |= {"sources", "versions", "table"}  # of publications: identities and versions
PATCHES = "files of patches"  # no table: `state` compares the folder
ROOM = (0, 16, 64, 128, 256, 512)  # KiB that a lake may still grow by before its disk is full
# What jobs read of others, that somebody may maintain meanwhile.
READS = {
    **dict.fromkeys(("lfm", "neighbors", "linear", "content", "evaluate"), ("ratings",)),
    "recommend": ("user_factors", "ratings"),
    "pagerank": ("links",),
    "link_spam": ("links",),
    "build_index": ("pages", "ranks"),
    "ingest_pages": ("pages",),
}
LONGEST = 300  # seconds of a job that does not hang
NOT_LEFT = (".used", ".lock", ".sealed.json")  # what scratch folders know of themselves
DESTRUCTIVE = ("VACUUM", "RESTORE", "drop")
OF_ALL_RUNS = ("lfm_metrics", "lfm_models", "recommender_metrics")  # what is dropped of other runs, none makes again


class Crash(BaseException):
    """The end of a process, as far as its tables can tell."""


@dataclass(frozen=True)
class Job:
    """One job as it is run on the lake, and what it publishes.

    Attributes:
        name: of the module in spark_jobs.
        arguments: besides --lake; LAKE and DATA stand for the folders.
        whats: what it publishes.
    """

    name: str
    arguments: tuple[str, ...]
    whats: tuple[str, ...]

    def command(self, lake: Path, data: Path) -> list[str]:
        """Return its arguments on a lake."""
        given = [text.replace("LAKE", str(lake)).replace("DATA", str(data)) for text in self.arguments]
        return ["--lake", str(lake), *given]


LFM = ("--factors", "4", "--epochs", "2", "--blocks", "2")
PATCH = ("--patch", "32", "--valid-fraction", "0.3")
TRAIN = (
    *("net=tiny", "batch=4", "crop=16", "workers=1", "threads=1", "tensorboard=false", "leak_check=false"),
    *("n_epoch_init=0", "n_epoch=0", "steps_init=60", "steps=40"),
    *("valid_every=0", "sample_every=0", "checkpoint_every=5"),
)
# How the lake is made, and what the jobs then do to it. All results are determined by settings and data.
FIRST = (
    Job("ingest_ratings", ("--source", "DATA/ratings-1"), ("ratings",)),
    Job("lfm", (*LFM, "--seed", "1"), ("lfm",)),
    Job("neighbors", ("--top", "5"), ("neighbors",)),
    Job("linear", ("--reg", "50"), ("linear",)),
    Job("content", ("--factors", "3"), ("content",)),
    Job("evaluate", ("--models", "popular"), ("evaluation",)),
    Job("recommend", ("--model", "lfm", "--top", "3"), ("recommendations",)),
    Job("ingest_pages", ("--source", "DATA/site-1", "--base-url", "https://a.org/"), ("pages",)),
    Job("pagerank", ("--damping", "0.8"), ("ranks",)),
    Job("link_spam", (), ("link_spam",)),
    Job("build_index", (), ("index",)),
    Job("make_patches", (*PATCH, "--source", "DATA/pictures-1"), (PATCHES,)),
    Job("upscale_images", ("--images", "DATA/pictures-1"), ("upscaled",)),
)
SECOND = (
    Job("ingest_ratings", ("--source", "DATA/ratings-2"), ("ratings",)),
    Job("lfm", (*LFM, "--seed", "2"), ("lfm",)),
    Job("neighbors", ("--top", "9"), ("neighbors",)),
    Job("linear", ("--reg", "90"), ("linear",)),
    Job("content", ("--factors", "2"), ("content",)),
    Job("evaluate", ("--models", "popular", "--metrics", "ndcg@5"), ("evaluation",)),
    Job("recommend", ("--model", "lfm", "--top", "2"), ("recommendations",)),
    Job("ingest_pages", ("--source", "DATA/site-2", "--base-url", "https://a.org/"), ("pages",)),
    Job("pagerank", ("--damping", "0.9"), ("ranks",)),
    Job("link_spam", ("--damping", "0.7"), ("link_spam",)),
    Job("build_index", ("--rebuild", "--language", "none"), ("index",)),
    Job("make_patches", (*PATCH, "--source", "DATA/pictures-2", "--overwrite"), (PATCHES,)),
    Job("upscale_images", ("--images", "DATA/pictures-2"), ("upscaled",)),
)
# Both write the same tables, or one reads what the other writes.
PAIRS = (
    (0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 7), (8, 8), (9, 9), (10, 10), (11, 11), (12, 12),
    (0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (0, 6), (1, 6), (7, 8), (7, 9), (7, 10), (8, 10),
)  # fmt: skip


@dataclass
class Tally:
    """What happened in one kind of event to one job."""

    tried: int = 0
    survived: int = 0
    refused: int = 0
    lost: list[str] = field(default_factory=list)


def no_spark() -> Any:
    """Refuse: the tables are read without a session."""
    raise AssertionError("tables in folders need no session")


def run(job: Job, lake: Path, data: Path) -> tuple[int, str]:
    """Run a job in this process; return its exit code and what it said."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = importlib.import_module(f"spark_jobs.{job.name}").main(job.command(lake, data))
    return code, said.getvalue()


def state(lake: Path, whats: Sequence[str]) -> str:
    """Digest what readers see of something: the rows of its tables as published; or the sentence that refuses it."""
    if PATCHES in whats:
        return folder_state(lake / "patches")
    try:
        published = Publications.read(str(lake), no_spark)
        parts: list[tuple[str, list[str]]] = []
        for what in whats:
            newest = published.newest(what)
            if newest is None:
                return "nothing"
            for member in sorted(newest.tables, key=lambda member: member.name):
                relation = RELATIONS[member.name]
                found = ArrowTable(published.member(member, relation), relation, no_spark)
                columns = [name for name in relation.names if name not in VOLATILE]
                rows = sorted(json.dumps(row, default=str, sort_keys=True) for row in found.read(columns).to_pylist())
                parts.append((member.name, rows))
            parts.append((what, sorted(steady(newest.settings))))
            if what == "index":
                found_pages = SearchEngine(open_index(str(lake)).index).search("word7 page").hits
                parts.append(("answers", [json.dumps([hit.url, hit.score, hit.snippet]) for hit in found_pages]))
    except UserError as error:
        return f"refused: {error}"
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def steady(settings: Any) -> Iterator[str]:
    """Yield a publication's settings, but for what differs from run to run."""
    for name, value in settings.items():
        if isinstance(value, dict) and name not in VOLATILE:
            yield from (f"{name}.{one}" for one in steady(value))
        elif name not in VOLATILE:
            yield f"{name}={value!r}"


def folder_state(folder: Path) -> str:
    """Digest a folder's files, those of its parts that are still made aside."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    digest = hashlib.sha256()
    for name in sorted(name for name in files if not name.startswith("_parts/")):
        digest.update(f"{name} {hashlib.sha256(files[name].read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16] if files else "nothing"


def leftovers(lake: Path) -> list[str]:
    """Name hidden and temporary files beside the tables and in them; Delta's own are not counted."""
    found = []
    for path in lake.rglob("*"):
        name = path.relative_to(lake).as_posix()
        if "_delta_log" in name or name.endswith(".crc") or "_index_cache" in name or path.name in NOT_LEFT:
            continue
        if path.name.startswith(".") or path.name.endswith((".part", ".tmp")):
            found.append(name)
    return found


@contextlib.contextmanager
def at_write(number: int, happens: Callable[[str, str], None]) -> Iterator[list[str]]:
    """Have something happen at a job's write of this number: told before and after it, with the table's path."""
    calls: list[str] = []
    kept = {name: getattr(Publishing, name) for name in ("write", "change", "publish")}

    def wrapped(name: str) -> Callable[..., Any]:
        def call(self: Publishing, *args: Any, **named: Any) -> Any:
            mine = len(calls)
            where = "" if name == "publish" else f"{self._lake}/{args[0].name}"
            calls.append(where)
            if mine == number:
                happens("before", where)
            result = kept[name](self, *args, **named)
            if mine == number:
                happens("after", where)
            return result

        return call

    for name in kept:
        setattr(Publishing, name, wrapped(name))
    try:
        yield calls
    finally:
        for name, method in kept.items():
            setattr(Publishing, name, method)


def visit(what: str, path: str) -> bool:
    """Do to a table what people do; tell whether there was anything to do."""
    if not path or not DeltaTable.is_deltatable(path):
        return False
    table = DeltaTable(path)
    if what == "OPTIMIZE":
        table.optimize.z_order([table.schema().fields[0].name])
    elif what == "VACUUM":
        table.vacuum(0, dry_run=False, enforce_retention_duration=False)
    elif what == "SET TBLPROPERTIES":
        table.alter.set_table_properties({"delta.appendOnly": "false"})
    elif what == "RESTORE":
        if table.version() == 0:
            return False
        try:
            table.restore(0)
        except Exception:
            return False
    elif what == "drop":
        rows = table.to_pyarrow_table()
        shutil.rmtree(path)
        write_deltalake(path, rows.slice(0, len(rows) // 2))
    return True


VISITS = ("OPTIMIZE", "SET TBLPROPERTIES", *DESTRUCTIVE)


class Chaos:
    """The lake, the states it may be in, and the tally.

    Args:
        folder: for lakes and data.
        jobs: names of those that things happen to.
        seed: of random moments.
    """

    def __init__(self, folder: Path, jobs: Sequence[str] = (), seed: int = 0) -> None:
        self.folder, self.data, self.lake = folder, folder / "data", folder / "lake"
        self.tally: dict[tuple[str, str], Tally] = {}
        self.random = random.Random(seed)
        self.jobs = [job for job in SECOND if not jobs or job.name in jobs]
        self.after: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        self.pages: dict[str, str] = {}  # what a server answers before and after another index
        self.weights: tuple[float, list[str]] | None = None  # of a training: its seconds, and digests of its weights
        self.earlier = 0  # seconds of the runs whose tally this one goes on from
        self.commits = [commit()]

    def prepare(self) -> None:
        """Make the lake, and find out what each job makes of it undisturbed."""
        make_data(self.data)
        chosen = {job.name for job in self.jobs} | {"ingest_ratings", "ingest_pages"}
        for job in (job for job in FIRST if job.name in chosen or self.jobs == list(SECOND)):
            code, said = run(job, self.lake, self.data)
            assert code == 0, said
        for job in self.jobs:
            self.reference(job)

    def reference(self, job: Job) -> str:
        """Return the state that a job leaves when nothing happens."""
        if job.name not in self.after:
            lake = self.copy()
            code, said = run(job, lake, self.data)
            assert code == 0, said
            self.after[job.name] = state(lake, job.whats)
            shutil.rmtree(lake)
            assert self.after[job.name] != state(self.lake, job.whats), f"{job.name} changes nothing: no test"
        return self.after[job.name]

    def whole(self, job: Job) -> float:
        """Return the seconds that a job takes in a process of its own when nothing happens."""
        if job.name not in self.seconds:
            lake, begun = self.copy(), time.monotonic()
            assert self.start(job, lake).wait() == 0
            self.seconds[job.name] = time.monotonic() - begun
            shutil.rmtree(lake)
        return self.seconds[job.name]

    def copy(self) -> Path:
        """Return a copy of the lake."""
        target = self.folder / f"lake-{uuid.uuid4().hex[:8]}"
        shutil.copytree(self.lake, target)
        return target

    def judge(self, kind: str, job: Job, lake: Path, what: str, may_refuse: bool = False, problem: str = "") -> None:
        """See what readers see, run the job again, and see that the result is the usual one."""
        tally = self.tally.setdefault((kind, job.name), Tally())
        tally.tried += 1
        old, new = state(self.lake, job.whats), self.reference(job)
        seen, problems = state(lake, job.whats), [problem] if problem else []
        if seen.startswith("refused") and may_refuse:
            tally.refused += 1
        elif seen not in (old, new):
            problems.append(f"readers see {seen}")
        code, said = run(job, lake, self.data)
        if code:
            problems.append(f"the second run ends with {code}: {said.splitlines()[-1] if said else ''}")
        elif (again := state(lake, job.whats)) != new:
            problems.append(f"the second run makes {again}")
        if left := leftovers(lake):
            problems.append(f"left over: {', '.join(left[:3])}")
        if problems:
            tally.lost.append(f"{what}: {'; '.join(problems)}"[:500])
        else:
            tally.survived += 1
        shutil.rmtree(lake)

    def crash(self, job: Job, most: int = 1000) -> None:
        """Kill a job before and after each of its writes."""
        for number, moment in itertools.islice(itertools.product(range(1000), ("before", "after")), most):
            lake = self.copy()

            def happens(when: str, where: str, moment: str = moment) -> None:
                if when == moment:
                    raise Crash(where)

            with at_write(number, happens) as calls:
                try:
                    run(job, lake, self.data)
                except Crash:
                    pass
                else:
                    if len(calls) <= number:  # there is no such write
                        shutil.rmtree(lake)
                        return
            self.judge("crash", job, lake, f"killed {moment} write {number} ({calls[number] or 'publication'})")

    def visit(self, job: Job, most: int = 1000) -> None:
        """Visit each table just after it was written, or published, or before the first write one that is read."""
        for number, what in itertools.islice(itertools.product(range(1000), VISITS), most):
            written = self.visited(job, number, what, "after")
            if not written:
                break
            self.visited(job, number, what, "published", written)
        for source, what in itertools.islice(itertools.product(READS.get(job.name, ()), VISITS[:3]), most):
            self.visited(job, 0, what, "before", f"LAKE/{source}")

    def visited(self, job: Job, number: int, what: str, moment: str, table: str = "") -> str:
        """Run a job with a visit at one moment, and judge it if anything was done; return the table that is written."""
        lake, done = self.copy(), False

        def happens(when: str, where: str) -> None:
            nonlocal done
            if when == moment:
                done = visit(what, table.replace("LAKE", str(lake)) or where)

        with at_write(number, happens) as calls:
            code, said = run(job, lake, self.data)
        written = calls[number].replace(str(lake), "LAKE") if len(calls) > number else ""
        if moment == "published":
            done = visit(what, table.replace("LAKE", str(lake)))
        if what == "drop" and (table or written).rpartition("/")[2] in OF_ALL_RUNS:
            done = False
        if done:
            wrong = code not in (0, 2) or "Traceback" in said
            problem = f"it ends with {code}: {said.strip().splitlines()[-1]}" if wrong else ""
            self.judge("visit", job, lake, f"{what} {moment} {table or written}", what in DESTRUCTIVE, problem)
        else:
            shutil.rmtree(lake)
        return written or ("publication" if len(calls) > number else "")

    def kill(self, job: Job, times: int) -> None:
        """Kill the job's whole process group at random moments."""
        while times:
            moment = self.random.uniform(0.2, 1.05) * self.whole(job)
            lake = self.copy()
            process = self.start(job, lake)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(moment)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if process.wait() != -signal.SIGKILL:  # it had ended already
                shutil.rmtree(lake)
                continue
            times -= 1
            self.judge("kill", job, lake, f"SIGKILL after {moment:.1f} s")

    def memory(self, job: Job, times: int) -> None:
        """Kill one of the job's processes, as the kernel does where memory ends."""
        while times:
            moment, killed = self.random.uniform(0.3, 1.0) * self.whole(job), "nothing"
            lake = self.copy()
            process = self.start(job, lake)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(moment)
            if alive := members(process.pid):
                pid, killed = self.random.choice(sorted(alive.items()))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            try:
                process.wait(120)
                problems = self.said(job, lake, process.returncode)
            except subprocess.TimeoutExpired:
                problems = "it hangs"
            for pid in members(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if killed == "nothing":
                shutil.rmtree(lake)
                continue
            times -= 1
            self.judge("memory", job, lake, f"SIGKILL of {killed} after {moment:.1f} s", problem=problems)

    def said(self, job: Job, lake: Path, code: int) -> str:
        """Return what is wrong with what a job said when it ended by itself."""
        log = (lake.parent / f"{lake.name}-{job.name}.log").read_text(errors="replace")
        if code in (0, 2, -signal.SIGKILL) and "Traceback" not in log:
            return ""
        return f"it ends with {code}: {log.strip().splitlines()[-1] if log.strip() else 'without a word'}"

    def disk(self, job: Job, rooms: Sequence[int]) -> None:
        """Fill the lake's file system: a job may grow it by so many KiB. Then there is room."""
        for room in rooms:
            self.on_mount("disk", job, f"size={{}}k,{room}", f"full after {room} KiB")

    def read_only(self, job: Job) -> None:
        """Run a job where nothing may be written."""
        self.on_mount("read-only", job, "ro", "read-only")

    def on_mount(self, kind: str, job: Job, options: str, what: str) -> None:
        """Run a job on a lake in a file system of its own."""
        place = self.folder / f"mount-{uuid.uuid4().hex[:8]}"
        place.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], capture_output=True, check=False).returncode:
            print(f"{kind} {job.name}: skipped, no right to mount", flush=True)
            return
        try:
            lake = place / "lake"
            shutil.copytree(self.lake, lake)
            if options != "ro":
                options, room = options.rsplit(",", 1)
                used = shutil.disk_usage(place).used // 1024
                options = options.format(used + int(room))
            subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)
            code, said = run(job, lake, self.data)
            subprocess.run(["mount", "-o", "remount,rw,size=4g", place], check=True)
            wrong = code not in (0, 2) or "Traceback" in said
            problems = f"it ends with {code}: {said.strip().splitlines()[-1]}" if wrong else ""
            if code:  # else there was room enough
                self.judge(kind, job, lake, what, problem=problems)
        finally:
            subprocess.run(["umount", "-l", place], check=True)

    def serve(self, times: int) -> None:
        """Build an index beside a server that takes it up; kill the one or the other."""
        job = next(job for job in SECOND if job.name == "build_index")
        pages = self.pages = self.pages or dict(self.answers(job))
        assert pages["old"] != pages["new"], "both indexes answer alike: no test"
        whole, tally = self.whole(job), self.tally.setdefault(("serve", "serve+build_index"), Tally())
        for _ in range(times):
            lake = self.copy()
            run(next(one for one in SECOND if one.name == "ingest_pages"), lake, self.data)
            problems: list[str] = []
            server, address = serving(lake)
            builder, victim = self.start(job, lake), self.random.choice(("server", "build"))
            end = time.monotonic() + self.random.uniform(0.3, 1.2) * whole
            while time.monotonic() < end and not problems:
                if (seen := asked(address)) not in pages.values():
                    problems.append(f"the server answers {seen[:60]}")
                time.sleep(0.2)
            stop(server if victim == "server" else builder)
            builder.wait()
            if victim == "build" and (seen := asked(address)) not in pages.values():
                problems.append(f"after the build's end the server answers {seen[:60]}")
            code, said = run(job, lake, self.data)
            if code:
                problems.append(f"the next build ends with {code}: {said}")
            stop(server)
            server, address = serving(lake)
            if asked(address) != pages["new"]:
                problems.append("a new server does not show the new index")
            stop(server)
            tally.tried += 1
            tally.survived += not problems
            tally.lost += [f"SIGKILL of the {victim}: {'; '.join(problems)}"[:500]] if problems else []
            shutil.rmtree(lake)

    def answers(self, job: Job) -> Iterator[tuple[str, str]]:
        """Yield what a server answers before and after a job."""
        lake = self.copy()
        for when in ("old", "new"):
            server, address = serving(lake)
            yield when, asked(address)
            stop(server)
            if when == "old":
                run(next(one for one in SECOND if one.name == "ingest_pages"), lake, self.data)
                run(job, lake, self.data)
        shutil.rmtree(lake)

    def train(self, times: int) -> None:
        """Kill a training of two phases, and resume it."""
        data, whole, names = self.lake / "patches", self.folder / "trained", ("init.safetensors", "gan.safetensors")
        command = [sys.executable, "-m", "sr_model.train", f"data={data}", *TRAIN]
        if self.weights is None:
            begun = time.monotonic()
            subprocess.run([*command, f"out={whole}"], cwd=ROOT, check=True, capture_output=True)
            digests = [hashlib.sha256((whole / name).read_bytes()).hexdigest() for name in names]
            self.weights = time.monotonic() - begun, digests
        seconds, wanted = self.weights
        tally = self.tally.setdefault(("train", "sr_model.train"), Tally())
        for _ in range(times):
            out, moment = self.folder / f"training-{uuid.uuid4().hex[:8]}", self.random.uniform(0.2, 1.0) * seconds
            process = subprocess.Popen(
                [*command, f"out={out}"],
                cwd=ROOT,
                start_new_session=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(moment)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            again = subprocess.run(
                [*command, f"out={out}", "resume=auto"], cwd=ROOT, check=False, capture_output=True, text=True
            )
            problems = []
            if again.returncode:
                problems.append(f"resuming ends with {again.returncode}: {again.stderr.strip()[-200:]}")
            elif [hashlib.sha256((out / name).read_bytes()).hexdigest() for name in names] != wanted:
                problems.append("other weights")
            if left := [path.name for path in out.rglob("*") if path.name.endswith((".part", ".tmp"))]:
                problems.append(f"left over: {left[:3]}")
            tally.tried += 1
            tally.survived += not problems
            tally.lost += [f"SIGKILL after {moment:.1f} s: {'; '.join(problems)}"[:500]] if problems else []
            shutil.rmtree(out, ignore_errors=True)

    def start(self, job: Job, lake: Path) -> subprocess.Popen[bytes]:
        """Start a job in a process group of its own."""
        command = [sys.executable, "-m", f"spark_jobs.{job.name}", *job.command(lake, self.data)]
        log = (lake.parent / f"{lake.name}-{job.name}.log").open("wb")
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)

    def pair(self, first: int, second: int) -> None:
        """Start two jobs together."""
        jobs = (SECOND[first], FIRST[second] if first == second else SECOND[second])
        allowed: list[set[str]] = [set(), set()]
        for order in ((0, 1), (1, 0)):  # one after the other, and each on the lake as it was
            lake = self.copy()
            for n in order:
                code, said = run(jobs[n], lake, self.data)
                assert code == 0, said
                allowed[n].add(state(lake, jobs[n].whats))
            for n in order:
                allowed[n].add(state(lake, jobs[n].whats))
            shutil.rmtree(lake)
        lake, tally = self.copy(), self.tally.setdefault(("pair", f"{jobs[0].name}+{jobs[1].name}"), Tally())
        processes = [self.start(job, lake) for job in jobs]
        codes, problems = [], []
        for process in processes:
            try:
                codes.append(process.wait(LONGEST))
            except subprocess.TimeoutExpired:
                stop(process)
                codes.append(-1)
        tally.tried += 1
        for n, job in enumerate(jobs):
            seen = state(lake, job.whats)
            if codes[n]:
                log = (lake.parent / f"{lake.name}-{job.name}.log").read_text(errors="replace")
                problems.append(f"{job.name} ends with {codes[n]}: {log.splitlines()[-1] if log else ''}")
            if seen not in allowed[n]:
                problems.append(f"{job.name}: readers see {seen}")
        for n in (0, 1):
            code, said = run(jobs[n], lake, self.data)
            if code or state(lake, jobs[n].whats) not in allowed[n]:
                problems.append(f"{jobs[n].name} again ends with {code}: {said.splitlines()[-1] if said else ''}")
        if left := leftovers(lake):
            problems.append(f"left over: {', '.join(left[:3])}")
        tally.lost += ["; ".join(problems)[:500]] if problems else []
        tally.survived += not problems
        shutil.rmtree(lake)

    def table(self) -> str:
        """Return the tally as text."""
        lines = [f"{'event':8}{'job':34}{'tried':>6}{'survived':>10}{'refused':>9}  what was lost"]
        total = Counter[str]()
        for (kind, job), t in sorted(self.tally.items()):
            lines.append(f"{kind:8}{job:34}{t.tried:6}{t.survived:10}{t.refused:9}  {t.lost[0] if t.lost else ''}")
            total.update({"tried": t.tried, "survived": t.survived, "refused": t.refused})
        lines.append(f"{'':8}{'all':34}{total['tried']:6}{total['survived']:10}{total['refused']:9}")
        return "\n".join(lines)


def members(group: int) -> dict[int, str]:
    """Name the processes of a process group, zombies aside."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
            fields = rest.split()
            if int(fields[2]) == group and fields[0] != "Z":
                found[int(stat.parent.name)] = name
    return found


def serving(lake: Path) -> tuple[subprocess.Popen[str], str]:
    """Start a server of the search page; return it and its address."""
    command = [sys.executable, "-m", "spark_jobs.serve", "--lake", str(lake), "--port", "0", "--refresh", "0.5"]
    server = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    assert server.stdout is not None
    for line in server.stdout:
        if "http://" in line:
            return server, line.split("http://")[1].split("/")[0]
    raise AssertionError("the server does not start")


def asked(address: str) -> str:
    """Return what a server answers to one query, without the time it took; or why it does not."""
    try:
        with urllib.request.urlopen(f"http://{address}/api/search?q=word7+page", timeout=10) as answer:
            found = json.load(answer)
    except OSError as error:
        return f"nothing: {error}"
    return json.dumps([(hit["url"], hit["score"]) for hit in found["results"]])


def stop(process: subprocess.Popen[Any]) -> None:
    """Kill a process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def make_data(folder: Path) -> None:
    """Make two sets of ratings and two sites."""
    for n in (1, 2):
        size = ["--users", "40", "--items", "120", "--ratings", "900", "--seed", str(n)]
        subprocess.run(
            [sys.executable, ROOT / "examples" / "make_ratings.py", folder / f"ratings-{n}", *size], check=True
        )
        pictures = folder / f"pictures-{n}"
        pictures.mkdir(parents=True)
        for k in range(3):
            pixels = np.random.default_rng(10 * n + k).integers(0, 256, (48, 64, 3), np.uint8)
            Image.fromarray(np.kron(pixels, np.ones((3, 3, 1), np.uint8))).save(pictures / f"{k}.png")
        site = folder / f"site-{n}"
        site.mkdir(parents=True)
        for page in range(12):
            links = "".join(f'<a href="{(page * n + k) % 12}.html">page {k}</a> ' for k in range(1, 2 + page % 3))
            words = " ".join(f"word{(page * 7 + n * k) % 50}" for k in range(60))
            (site / f"{page}.html").write_text(
                f"<html><title>Page {page} of {n}</title><body><main><p>{words} {links}</p></main></body></html>"
            )


def commit() -> str:
    """Return the commit that is tried; marked if files have been changed since."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return said.stdout.strip()


def write_results(chaos: Chaos, args: argparse.Namespace, begun: float) -> dict[str, Any]:
    """Return what happened so far, and write it if all jobs take part: a long run may be ended at any time."""
    facts = {
        "benchmark": "chaos",
        "commits": list(dict.fromkeys(chaos.commits)),
        "seconds": round(time.monotonic() - begun) + chaos.earlier,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "pyspark": version("pyspark"),
        "pyarrow": pa.__version__,
        "events": {f"{kind} {job}": vars(tally) for (kind, job), tally in sorted(chaos.tally.items())},
    }
    if not args.quick and (args.add or not args.jobs):
        RESULTS.write_text(json.dumps(facts, indent=1) + "\n")
    return facts


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit code: 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--jobs", default="")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--add", action="store_true", help="go on from the stored tally")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    kinds, most, begun = args.kinds.split(","), 2 if args.quick else 1000, time.monotonic()
    facts: dict[str, Any] = {}
    os.environ.setdefault("PYSPARK_SUBMIT_ARGS", QUICK_SPARK)
    get_spark("lakerank-chaos", "local[2]", "")
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        chaos = Chaos(Path(folder), [name for name in args.jobs.split(",") if name], args.seed)
        if args.add:
            stored = json.loads(RESULTS.read_text())
            chaos.earlier, chaos.commits = stored["seconds"], [*stored["commits"], *chaos.commits]
            for event, counts in stored["events"].items():
                kind, job = event.split(" ", 1)
                chaos.tally[kind, job] = Tally(**counts)
        chaos.prepare()
        kills = min(args.kills, most)
        each: dict[str, Callable[[Job], None]] = {
            "crash": lambda job: chaos.crash(job, most),
            "visit": lambda job: chaos.visit(job, most),
            "disk": lambda job: chaos.disk(job, ROOM[:most]),
            "read-only": chaos.read_only,
        }
        at_random: dict[str, Callable[[Job], None]] = {
            "kill": lambda job: chaos.kill(job, 1),
            "memory": lambda job: chaos.memory(job, 1),
        }
        for kind in (kind for kind in kinds if kind in each):
            for job in chaos.jobs:
                each[kind](job)
                write_results(chaos, args, begun)
            facts = write_results(chaos, args, begun)
            print(chaos.table(), flush=True)
        # Of each kind one after the other, so that a run that is ended early has tried all of them about as often.
        for n in range(kills if set(kinds) - set(each) else 0):
            for kind in kinds:
                if kind == "kill" or (kind == "memory" and n % 4 == 0):
                    for job in chaos.jobs:
                        at_random[kind](job)
                        write_results(chaos, args, begun)
                elif kind == "pair":
                    for first, second in PAIRS[n :: max(kills, 1)]:
                        if SECOND[first] in chaos.jobs:
                            chaos.pair(first, second)
                elif kind == "serve" and not args.jobs:
                    chaos.serve(1)
                elif kind == "train" and not args.jobs:
                    chaos.train(1)
                facts = write_results(chaos, args, begun)
            print(chaos.table(), flush=True)
    if args.json:
        print(json.dumps(facts))
    return 1 if any(tally.lost for tally in chaos.tally.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
