"""Every setting under conf/spark is one that this Spark knows, with a reason; clusters share theirs."""

from __future__ import annotations

import re
import struct
import zipfile
from functools import cache
from pathlib import Path

import pyspark
import pytest
from tests_root import ROOT

CONF = ROOT / "conf" / "spark"
FILES = sorted(CONF.glob("*.conf"))
JARS = Path(pyspark.__file__).parent / "jars"
NAMES_SETTINGS = re.compile(r"[Cc]onf\w*[.$/]|/(k8s|yarn|catalog)/|/Analyzer\$\.class")
# Keys that end as one likes: variables of an environment, volumes by name.
OPEN = ("spark.executorEnv.", "spark.yarn.appMasterEnv.")
VOLUME = re.compile(
    r"(spark\.kubernetes\.(?:driver|executor)\.volumes\.)(persistentVolumeClaim)\.\w+\.(mount\.path|options\.claimName)"
)
# Keys that Spark puts together from these.
COMPOSED = {
    "spark.sql.catalog.spark_catalog": ("spark.sql.catalog.", "spark_catalog"),
    "spark.kubernetes.authenticate.driver.serviceAccountName": (
        "spark.kubernetes.authenticate.driver",
        "\x01.serviceAccountName",  # \x01: where the first is put in
    ),
}


def settings(file: Path) -> dict[str, str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return dict(re.split(r"\s+", line.strip(), maxsplit=1) for line in lines if line.startswith("spark."))


@cache
def classes() -> bytes:
    """The classes in which Spark and Delta name their settings, one after the other."""
    found = []
    for jar in JARS.glob("*.jar"):
        if jar.name.startswith(("spark-", "delta-spark")):
            with zipfile.ZipFile(jar) as archive:
                found += [archive.read(name) for name in archive.namelist() if NAMES_SETTINGS.search(name)]
    return b"".join(found)


def is_a_constant(text: str) -> bool:
    """Whether a class has this text, whole, among its constants: a tag, the length, the bytes."""
    return b"\x01" + struct.pack(">H", len(text)) + text.encode() in classes()


def is_known(key: str) -> bool:
    if key in COMPOSED:
        return all(map(is_a_constant, COMPOSED[key]))
    if volume := VOLUME.fullmatch(key):
        return all(map(is_a_constant, volume.groups()))
    if key.startswith("spark.databricks.delta."):
        return is_a_constant(key.removeprefix("spark.databricks.delta."))
    return is_a_constant(key) or any(key.startswith(begin) and is_a_constant(begin) for begin in OPEN)


@pytest.mark.parametrize("key", ["spark.executor.memroy", "spark.yarn.maxAttempts", "spark.kubernetes.namespaces"])
def test_a_slip_is_noticed(key: str) -> None:
    assert not is_known(key)


@pytest.mark.parametrize("name", ["yarn.conf", "k8s.conf"])
def test_clusters_share_their_settings(name: str) -> None:
    # A properties file takes the place of all others, so each says everything; k8s.conf has Delta in the image.
    shared, own = settings(CONF / "cluster.conf"), settings(CONF / name)
    if name == "k8s.conf":
        del shared["spark.jars.packages"]
    assert {key: own.get(key) for key in shared} == shared


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_setting_says_why(file: Path) -> None:
    previous = ""
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("spark."):
            assert previous.startswith(("#", "spark.")), f"no reason above: {line}"
        previous = line


@pytest.mark.parametrize(("file", "key"), [(file.name, key) for file in FILES for key in settings(file)])
def test_spark_knows_the_setting(file: str, key: str) -> None:
    assert is_known(key), f"{file}: this Spark has no setting {key}"
