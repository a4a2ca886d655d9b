"""Every job on a real standalone cluster: a master and two workers, as processes of their own on this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyspark
import pytest
from cluster.every_job import commands
from tests_root import ROOT

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

    def start(name: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [str(SPARK / "bin" / "spark-class"), f"org.apache.spark.deploy.{name}", "--host", "127.0.0.1"]
        with (tmp_path / "daemons.log").open("ab") as log:
            return subprocess.Popen([*command, *arguments], env=environment, stdout=log, stderr=log)

    started = [start("master.Master", "--port", str(port), "--webui-port", str(free_port()))]
    try:
        listening(port, started[0])
        address = f"spark://127.0.0.1:{port}"
        for number in (1, 2):
            folder = str(tmp_path / f"worker-{number}")
            limits = ("--cores", "1", "--memory", "1g", "--webui-port", str(free_port()))
            started.append(start("worker.Worker", *limits, "--work-dir", folder, address))
        yield address
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(timeout=30)


def test_every_job_is_tried() -> None:
    jobs = {file.stem for file in (ROOT / "spark_jobs").glob("[a-z]*.py")}
    assert {job for job, *_ in commands(Path("x"))} == jobs - WITHOUT_SPARK


def test_every_job_runs_on_two_workers(master: str, tmp_path: Path) -> None:
    small = ["--users", "40", "--items", "30", "--ratings", "400"]
    subprocess.run([sys.executable, ROOT / "examples/make_ratings.py", tmp_path / "ratings", *small], check=True)
    subprocess.run([sys.executable, ROOT / "examples/picture.py", tmp_path / "pictures" / "house.png"], check=True)
    (tmp_path / "queries.tsv").write_text("1\tlink spam\n2\tinverted index\n")
    (tmp_path / "qrels.txt").write_text("1 0 https://lakerank.example/search/link-spam.html 1\n")
    # Delta is on this machine already; the executors are small.
    settings = ["spark.jars.packages=", "spark.executor.cores=1", "spark.executor.memory=600m"]
    settings += ["spark.executor.memoryOverheadFactor=0.1", "spark.driver.memory=1g", "spark.sql.shuffle.partitions=2"]
    settings += ["spark.driver.host=127.0.0.1", "spark.scheduler.minRegisteredResourcesRatio=1.0"]
    # For a JVM that lives a minute (see conftest.py).
    settings += [f"spark.{who}.extraJavaOptions=-XX:TieredStopAtLevel=1" for who in ("driver", "executor")]
    settings += ["spark.sql.codegen.wholeStage=false", "spark.sql.codegen.factoryMode=NO_CODEGEN"]
    submit = [str(SPARK / "bin" / "spark-submit"), "--master", master]
    submit += ["--properties-file", str(ROOT / "conf" / "spark" / "cluster.conf")]
    submit += [word for setting in settings for word in ("--conf", setting)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYSPARK", "SPARK"))}
    environment |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    command = [*submit, str(ROOT / "tests" / "cluster" / "every_job.py"), str(tmp_path)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert "every_job: executors 2" in done.stdout
