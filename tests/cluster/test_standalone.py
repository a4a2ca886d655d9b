"""Every job on a real standalone cluster: a master and two workers, as processes of their own on this machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyspark
import pytest
from cluster.every_job import commands
from s3_server import BUCKET, s3_server
from tests_root import ROOT

from lakerank.cli.stores import list_store, upload

pytestmark = pytest.mark.slow

SPARK = Path(pyspark.__file__).parent
WITHOUT_SPARK = {"serve"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listening(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until something answers."""
    for _ in range(300):
        assert process.poll() is None, "it ended at once"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError(f"nothing listens on {port}")


@pytest.fixture
def master(tmp_path: Path) -> Iterator[str]:
    """Address of a master that has two workers of one core each."""
    port = free_port()
    environment = os.environ | {
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_DAEMON_MEMORY": "256m",
        "PYSPARK_PYTHON": sys.executable,
    }
    environment.pop("PYSPARK_SUBMIT_ARGS", None)

    def start(name: str, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
        command = [str(SPARK / "bin" / "spark-class"), f"org.apache.spark.deploy.{name}", "--host", "127.0.0.1"]
        with (tmp_path / "daemons.log").open("ab") as log:
            return subprocess.Popen([*command, *arguments], env=environment | variables, stdout=log, stderr=log)

    started = [start("master.Master", "--port", str(port), "--webui-port", str(free_port()))]
    try:
        listening(port, started[0])
        address = f"spark://127.0.0.1:{port}"
        for number in (1, 2):
            folder = str(tmp_path / f"worker-{number}")
            limits = ("--cores", "1", "--memory", "1g", "--webui-port", str(free_port()))
            own = tmp_path / f"disk-{number}"  # what one worker keeps, the other does not find
            own.mkdir()
            disk = {"TMPDIR": str(own), "LAKERANK_CACHE": str(own / "cache")}
            started.append(start("worker.Worker", *limits, "--work-dir", folder, address, **disk))
        yield address
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(timeout=30)


def test_every_job_is_tried() -> None:
    jobs = {file.stem for file in (ROOT / "spark_jobs").glob("[a-z]*.py")}
    assert {job for job, *_ in commands("x")} == jobs - WITHOUT_SPARK


def make_sources(folder: Path) -> None:
    small = ["--users", "40", "--items", "30", "--ratings", "400"]
    subprocess.run([sys.executable, ROOT / "examples/make_ratings.py", folder / "ratings", *small], check=True)
    subprocess.run([sys.executable, ROOT / "examples/picture.py", folder / "pictures" / "house.png"], check=True)
    shutil.copytree(ROOT / "examples" / "site", folder / "site")
    (folder / "queries.tsv").write_text("1\tlink spam\n2\tinverted index\n")
    (folder / "qrels.txt").write_text("1 0 https://lakerank.example/search/link-spam.html 1\n")


def run_every_job(
    master: str, tmp_path: Path, folder: str, variables: Mapping[str, str], driver: Mapping[str, str]
) -> None:
    # Delta is on this machine already; the executors are small.
    settings = ["spark.jars.packages=", "spark.executor.cores=1", "spark.executor.memory=600m"]
    settings += ["spark.executor.memoryOverheadFactor=0.1", "spark.driver.memory=1g", "spark.sql.shuffle.partitions=2"]
    settings += ["spark.driver.host=127.0.0.1", "spark.scheduler.minRegisteredResourcesRatio=1.0"]
    # For a JVM that lives a minute (see conftest.py).
    settings += [f"spark.{who}.extraJavaOptions=-XX:TieredStopAtLevel=1" for who in ("driver", "executor")]
    settings += ["spark.sql.codegen.wholeStage=false", "spark.sql.codegen.factoryMode=NO_CODEGEN"]
    settings += [f"spark.executorEnv.{name}={value}" for name, value in variables.items()]
    submit = [str(SPARK / "bin" / "spark-submit"), "--master", master]
    submit += ["--properties-file", str(ROOT / "conf" / "spark" / "cluster.conf")]
    submit += [word for setting in settings for word in ("--conf", setting)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYSPARK", "SPARK"))}
    environment |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    environment |= {**variables, **driver}
    command = [*submit, str(ROOT / "tests" / "cluster" / "every_job.py"), folder]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert "every_job: executors 2" in done.stdout


def test_every_job_runs_on_two_workers(master: str, tmp_path: Path) -> None:
    make_sources(tmp_path)
    run_every_job(master, tmp_path, str(tmp_path), {}, {})


@pytest.mark.skipif(not any((SPARK / "jars").glob("hadoop-aws-*.jar")), reason="Spark has no S3: run `make setup`")
def test_every_job_runs_with_all_on_s3_and_no_common_disk(
    master: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("moto", reason="the S3 server of this test is moto's")
    sources = tmp_path / "sources"
    make_sources(sources)
    with s3_server(tmp_path / "moto.log") as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        place = f"s3a://{BUCKET}/all"
        upload(sources, place)
        own = tmp_path / "driver"
        own.mkdir()
        run_every_job(master, tmp_path, place, variables, {"TMPDIR": str(own), "LAKERANK_CACHE": str(own / "cache")})
        names = {file.name.split("/")[1] for file in list_store(place) or () if file.name.startswith("lake/")}
        made = {"ratings", "user_factors", "ranks", "index_postings", "upscaled", "report", "publications"}
        assert made <= names
