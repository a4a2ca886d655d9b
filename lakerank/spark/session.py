"""Get the Spark session that is there, or start one with Delta configured.

Four ways in, one function: under `spark-submit` (the JVM is already running and has read
`conf/spark/`), with plain `python` (we start the JVM), inside Databricks or a notebook (a session
exists), and on Spark Connect (`--remote sc://host` or `local[2]`).
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from lakerank.cli.errors import UserError
from lakerank.cli.stores import s3_endpoint, s3_region
from lakerank.spark.connect import chosen_remote, on_own_port, require_master, require_server

DELTA_PACKAGE = "io.delta:delta-spark_4.2_2.13:4.4.0"

# What conf/spark/spark-defaults.conf says too, for the wheel installed without our set-up.
DELTA_CONF = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.sql.session.timeZone": "UTC",
    # Counting bytes costs Spark more than sending them: after each row the whole batch is measured. Batches stay
    # limited by their rows (maxRecordsPerBatch).
    "spark.sql.execution.arrow.maxBytesPerBatch": "2147483647",
}


# hadoop-aws of the Hadoop that pyspark 4.2.0 has in it, and of the AWS SDK that this was built with only what S3 needs:
# its own choice is a bundle of all services, which is 500 MB. The SDK's HTTP clients come with `s3`.
S3_PACKAGES = ",".join(
    (
        "org.apache.hadoop:hadoop-aws:3.5.0",
        *(f"software.amazon.awssdk:{name}:2.35.4" for name in ("s3", "s3-transfer-manager", "sts")),
    )
)
S3_EXCLUDED = "software.amazon.awssdk:bundle,org.wildfly.openssl:wildfly-openssl"


def s3_conf() -> dict[str, str]:
    """Return Spark's settings for S3: the address and region that Python's clients take from the environment, too.

    Credentials it finds by itself, in the environment or by the machine's role.
    """
    conf = {"spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem"}  # `s3://` is what others write
    if endpoint := s3_endpoint():
        # A server under a name or an address of its own has no name for each bucket.
        conf |= {"spark.hadoop.fs.s3a.endpoint": endpoint, "spark.hadoop.fs.s3a.path.style.access": "true"}
    if region := s3_region():
        conf["spark.hadoop.fs.s3a.endpoint.region"] = region
    return conf


def _java_problem() -> str | None:
    """Describe why no usable Java can be started; None if one can."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else "java"
    if shutil.which(java) is None:
        return f"Java 17 or 21 is needed and {java!r} was not found: install it or set JAVA_HOME"
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    major = said.split('version "')[-1].split(".")[0].split('"')[0]
    if not major.isdigit() or int(major) < 17:
        return f"Java 17 or 21 is needed, but {java!r} is version {major}: set JAVA_HOME to a Java 17"
    return None


def _delta_is_placed() -> bool:
    """Tell whether the Delta jar stands beside Spark's own (`make setup` puts it there)."""
    import pyspark

    home = Path(os.environ.get("SPARK_HOME") or Path(pyspark.__file__).parent)
    return any((home / "jars").glob("delta-spark*.jar"))


def _quiet_java() -> dict[str, str]:
    """Return settings that keep a JVM of ours silent unless something fails, where no `conf/spark/` does.

    What a task dies of reaches the job as an exception. One line stays: Java itself warns of the incubator module
    that Spark's launcher asks for, before it reads any configuration.
    """
    import pyspark

    home = Path(os.environ.get("SPARK_HOME") or Path(pyspark.__file__).parent)
    conf = Path(os.environ.get("SPARK_CONF_DIR") or home / "conf")
    ours = Path(__file__).with_name("log4j2.properties")
    if any(conf.glob("log4j2.*")) or not ours.is_file():  # somebody's own, or we were imported from a zip
        return {}
    # The default options, which the user's own `spark.driver.extraJavaOptions` are added to.
    return {
        "spark.driver.defaultJavaOptions": f"-Dlog4j2.configurationFile={ours.as_uri()}",
        "spark.ui.showConsoleProgress": "false",  # jobs print their own
    }


def _running() -> SparkSession | None:
    """Return the session that is there, whichever thread began it; None if there is none."""
    try:
        return SparkSession.active()
    except PySparkException:
        return None


def get_spark(app: str, master: str = "", remote: str = "") -> SparkSession:
    """Return the active session or start one.

    Args:
        app: name shown by the cluster.
        master: `local[2]`, `spark://…`, `yarn`, `k8s://…`; empty leaves it to spark-submit or the defaults.
        remote: Spark Connect address (`sc://host:15002`, or `local[2]` for a server of our own).

    Raises:
        UserError: Java is missing or too old, Delta is not on the class path, or the server is unreachable.
    """
    if (running := _running()) is not None:
        return running
    # pyspark logs every analysis error as JSON before it raises it; asking whether a table is there is no error.
    for chatty in ("DataFrameQueryContextLogger", "SQLQueryContextLogger"):
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    # Workers must start this interpreter: another one may lack numpy.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName(app)
    remote = chosen_remote(remote)
    if remote and not remote.startswith("local"):  # a server that runs already has its own configuration
        endpoint = require_server(remote)
        return _reach(builder.remote(remote), f"the Spark Connect server at {endpoint}")
    if remote:
        require_master(remote)
        builder = on_own_port(builder.remote(remote))
    elif master:
        require_master(master)
        builder = builder.master(master)
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ  # spark-submit has started the JVM before us
    if not submitted and (problem := _java_problem()):
        raise UserError(problem)
    for key, value in (DELTA_CONF | s3_conf() | ({} if submitted else _quiet_java())).items():
        builder = builder.config(key, value)
    if not submitted and not _delta_is_placed():
        builder = builder.config("spark.jars.packages", DELTA_PACKAGE)
    spark = _reach(builder, "a local Spark session")
    _require_delta(spark)
    return spark


@contextmanager
def session(app: str, master: str = "", remote: str = "") -> Iterator[SparkSession]:
    """Yield `get_spark`'s session, and stop at the end what was started here, or Connect's local server outlives us."""
    ours = _running() is None
    spark = get_spark(app, master, remote)
    try:
        yield spark
    finally:
        if ours:
            spark.stop()


def _reach(builder: SparkSession.Builder, what: str) -> SparkSession:
    try:
        with warnings.catch_warnings():
            # Connect warns for each static setting that it sends a second time to its own local server.
            warnings.filterwarnings("ignore", message="Failed to set spark")
            return builder.getOrCreate()
    except Exception as error:
        raise UserError(f"cannot start or reach {what}: {_cause(error)}") from error


def _cause(error: Exception) -> str:
    """Return the one line of a Java error that says what happened: the last that is no stack frame."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(("at ", "... "))]
    return told[-1].removeprefix("Caused by: ").lstrip(": ") if told else type(error).__name__


def _require_delta(spark: SparkSession) -> None:
    """Ask the JVM whether Delta's classes are there, through SQL alone (works on Connect too)."""
    try:
        spark.catalog.currentDatabase()  # loads the extension and the catalog
    except Exception as error:
        if "DeltaCatalog" in str(error) or "delta" in str(error).lower():
            raise UserError(
                f"Delta is not on Spark's class path: run `make setup`, or `spark-submit --packages {DELTA_PACKAGE} …`"
            ) from error
        raise


def is_connect(spark: SparkSession) -> bool:
    """Tell whether a session is Spark Connect's, whose messages are limited in size."""
    return type(spark).__module__.startswith("pyspark.sql.connect")


def cores(spark: SparkSession) -> int:
    """Count how many tasks the cluster runs at once, asked through a frame (works on Connect and serverless)."""
    return spark.range(1 << 20).select(F.spark_partition_id()).distinct().count()
