"""Parquet that others wrote: Petastorm data sets of every age, Hive partitions, conditions, pictures for patches."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests_root import ROOT

from lakerank.cli.errors import UserError
from sr_model import build_patches
from sr_model.data.format import read_manifest
from sr_model.data.parquet_sets import ParquetSet
from sr_model.data.petastorm_compat import NdarrayCodec, Unischema, UnischemaField
from sr_model.data.stored_schema import UNISCHEMA_KEY, read_schema
from sr_model.patching.sources import list_items, read_items

SIDES = (40, 48, 3)


def fields() -> list[Any]:
    """The kinds of fields in the data sets that Petastorm's own tests keep of its releases."""
    from petastorm.codecs import CompressedImageCodec, CompressedNdarrayCodec, ScalarCodec
    from pyspark.sql import types as spark

    return [
        UnischemaField("partition_key", np.str_, ()),
        UnischemaField("id", np.int64, ()),
        UnischemaField("id2", np.int32, (), ScalarCodec(spark.ShortType()), False),
        UnischemaField("odd", np.bool_, (), ScalarCodec(spark.BooleanType()), False),
        UnischemaField("small", np.uint8, (), ScalarCodec(spark.IntegerType()), False),
        UnischemaField("when", np.datetime64, (), ScalarCodec(spark.DateType()), False),
        UnischemaField("decimal", Decimal, (), ScalarCodec(spark.DecimalType(10, 9)), False),
        UnischemaField("text", np.str_, (), ScalarCodec(spark.StringType()), True),
        UnischemaField("image_png", np.uint8, SIDES, CompressedImageCodec("png"), False),
        UnischemaField("image_jpeg", np.uint8, SIDES, CompressedImageCodec("jpeg", 95), True),
        UnischemaField("deep", np.uint16, SIDES[:2], CompressedImageCodec("png"), False),
        UnischemaField("pixels", np.uint8, (None, None, 3), NdarrayCodec(), False),
        UnischemaField("matrix", np.float32, (3, 2), NdarrayCodec(), False),
        UnischemaField("packed", np.float64, (None,), CompressedNdarrayCodec(), True),
        UnischemaField("words", np.bytes_, (None, None), NdarrayCodec(), False),
        UnischemaField("integer_nullable", np.int32, (), nullable=True),
    ]


TYPES = {"id2": pa.int16(), "small": pa.int32(), "decimal": pa.decimal128(10, 9), "integer_nullable": pa.int32()}


def a_row(i: int) -> dict[str, Any]:
    random = np.random.default_rng(i)
    smooth = np.kron(random.integers(0, 255, (5, 6, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    return {
        "partition_key": f"p_{i // 4}",
        "id": np.int64(i),
        "id2": np.int32(i % 2),
        "odd": np.bool_(i % 2),
        "small": np.uint8(250 + i % 5),
        "when": date(2020, 1, 1 + i),
        "decimal": Decimal(i) / Decimal(100),
        "text": None if i % 3 == 0 else f"é{i}",
        "image_png": random.integers(0, 255, SIDES).astype(np.uint8),
        "image_jpeg": None if i == 1 else smooth,
        "deep": random.integers(0, 65535, SIDES[:2]).astype(np.uint16),
        "pixels": random.integers(0, 255, (40 + i, 44, 3)).astype(np.uint8),
        "matrix": random.random((3, 2)).astype(np.float32),
        "packed": None if i % 2 else random.random(4),
        "words": np.array([[b"a\x00b", b"c"], [b"", b"dd"]]),
        "integer_nullable": None if i % 2 else np.int32(i),
    }


def _restore(name: str, names: Any, values: Any) -> Any:
    """As pyspark pickled named tuples until 3.4."""


class PysparkPickler(pickle.Pickler):
    """Pickles fields as a process does in which pyspark has changed named tuples."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, UnischemaField):
            return _restore, ("UnischemaField", obj._fields, tuple(obj))
        return NotImplemented


def by_pyspark(schema: Any) -> bytes:
    file = io.BytesIO()
    PysparkPickler(file, 0).dump(schema)
    return file.getvalue().replace(f"c{__name__}\n".encode(), b"cpyspark.serializers\n")


def of_python_2(schema: Any, protocol: int) -> bytes:
    names = {b"ccopyreg\n": b"ccopy_reg\n", b"cbuiltins\n": b"c__builtin__\n", b"cnumpy\nstr_": b"cnumpy\nunicode_"}
    pickled = pickle.dumps(schema, protocol, fix_imports=True)
    for new, old in names.items():
        pickled = pickled.replace(new, old)
    return pickled.replace(b"cnumpy\nbytes_", b"cnumpy\nstring_")


def before_petastorm(schema: Any) -> bytes:
    return of_python_2(schema, 0).replace(b"cpetastorm.", b"cav.ml.dataset_toolkit.")


WRITERS: dict[str, Callable[[Any], bytes]] = {
    "0.4.0": lambda schema: of_python_2(schema, 0),
    "0.4.3": lambda schema: of_python_2(schema, 2),
    "0.5.1": by_pyspark,
    "0.6.0": before_petastorm,
    "0.7.0": lambda schema: pickle.dumps(schema, 3),
    "0.13.1": lambda schema: pickle.dumps(schema, 4),
}


def a_set(folder: Path, pickled: bytes | None = None, rows: int = 10) -> Path:
    """Write a data set as Spark does for Petastorm: encoded values, folders for a field, two row groups a file."""
    schema = Unischema("TestSchema", fields())
    by_partition: dict[str, list[dict[str, Any]]] = {}
    for i in range(rows):
        row = a_row(i)
        stored = {}
        for field in fields()[1:]:
            value = row[field.name]
            if value is not None and field.codec is not None and field.codec.__class__.__name__ != "ScalarCodec":
                value = bytes(field.codec.encode(field, value))
            stored[field.name] = value.item() if isinstance(value, np.generic) else value
        by_partition.setdefault(row["partition_key"], []).append(stored)
    for name, stored_rows in by_partition.items():
        (folder / f"partition_key={name}").mkdir(parents=True)
        columns = {key: pa.array([row[key] for row in stored_rows], TYPES.get(key)) for key in stored_rows[0]}
        pq.write_table(pa.table(columns), folder / f"partition_key={name}" / "part-0.parquet", row_group_size=2)
    (folder / "_SUCCESS").touch()
    counts = {
        path.relative_to(folder).as_posix(): pq.read_metadata(path).num_row_groups for path in folder.rglob("*.parquet")
    }
    metadata = {
        b"dataset-toolkit.num_row_groups_per_file.v1": json.dumps(counts),
        UNISCHEMA_KEY: pickle.dumps(schema) if pickled is None else pickled,
    }
    pq.write_metadata(pa.table(columns).schema.with_metadata(metadata), folder / "_common_metadata")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_set(tmp_path_factory.mktemp("petastorm"))


def alike(found: Any, wanted: Any, name: str) -> bool:
    if wanted is None or found is None:
        return found is wanted
    if name == "image_jpeg":  # lossy; blue for red would be 80
        return found.shape == SIDES and np.abs(found.astype(int) - wanted).mean() < 15
    if isinstance(wanted, np.ndarray):
        return found.dtype == wanted.dtype and np.array_equal(found, wanted)
    return found == wanted and (not isinstance(wanted, np.generic) or found.dtype == wanted.dtype)


@pytest.mark.parametrize("release", WRITERS)
def test_data_sets_of_each_release_are_read_whole(tmp_path: Path, release: str) -> None:
    pickled = WRITERS[release](Unischema("TestSchema", fields()))
    assert set(read_schema(pickled)) == {field.name for field in fields()}
    found = list(ParquetSet(a_set(tmp_path / "set", pickled, rows=6)).rows())
    assert sorted(row["id"] for row in found) == list(range(6))
    for row in found:
        wanted = a_row(int(row["id"]))
        assert row.keys() == wanted.keys()
        for name, value in wanted.items():
            assert alike(row[name], value, name), (name, row[name], value)


def test_petastorm_s_own_reader_gives_the_same(data: Path) -> None:
    from sr_model.data.petastorm_compat import make_reader

    ours = {int(row["id"]): row for row in ParquetSet(data).rows()}
    kinds = {"reader_pool_type": "dummy", "num_epochs": 1, "shuffle_row_groups": False}
    with make_reader(
        f"file://{data}", schema_fields=["id", "id2", "small", "image_png", "pixels", "deep"], **kinds
    ) as rows:
        theirs = {int(row.id): row._asdict() for row in rows}
    assert theirs.keys() == ours.keys()
    for i, row in theirs.items():
        assert all(alike(ours[i][name], value, name) for name, value in row.items())


def test_reading_needs_neither_petastorm_nor_pyspark(data: Path) -> None:
    program = (
        "import sys; sys.modules['petastorm'] = sys.modules['pyspark'] = None\n"
        "from sr_model.data.parquet_sets import ParquetSet\n"
        f"print(sum(1 for _ in ParquetSet({str(data)!r}).rows()))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "10\n"


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("partition_key=p_1", [4, 5, 6, 7]),
        ("partition_key!='p_1', id2=1", [1, 3, 9]),
        ("id>=8", [8, 9]),
        ("id<1,odd=false", [0]),
        ("when=2020-01-03", [2]),
        ("decimal>0.08", [9]),
        ("text=é4", [4]),
        ("integer_nullable<=2", [0, 2]),
        ("partition_key=p_9", []),
    ],
)
def test_conditions_choose_rows(data: Path, where: str, ids: list[int]) -> None:
    assert [row["id"] for row in ParquetSet(data).rows(["id"], where)] == ids


def test_what_does_not_fit_is_one_sentence(data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.parquet").write_text("no Parquet")
    opened = ParquetSet(data)
    for call, message in (
        (lambda: ParquetSet(tmp_path / "nowhere"), "no such file or folder of Parquet"),
        (lambda: ParquetSet(tmp_path / "empty"), "holds no Parquet files"),
        (lambda: ParquetSet(tmp_path / "text.parquet"), "not readable as Parquet"),
        (lambda: list(opened.rows(["ID"])), "there is no column `ID`; it has id, "),
        (lambda: list(opened.rows(["id"], "label=3")), "there is no column `label`"),
        (lambda: list(opened.rows(["id"], "id")), "id is no condition"),
        (lambda: list(opened.rows(["id"], "id=many")), "`id` is int64, which many is not"),
        (lambda: opened.image_column(), r"several columns may be pictures .*name it by --image-column"),
        (lambda: opened.image_column("matrix"), "`matrix` is binary, which is no picture"),
    ):
        with pytest.raises(UserError, match=message):
            call()


def plain_sets(folder: Path) -> dict[str, Path]:
    """Pictures in Parquet as other programs keep them: bytes, Hugging Face's struct, Spark's image struct."""
    pixels = [np.random.default_rng(i).integers(0, 255, SIDES).astype(np.uint8) for i in range(3)]
    files = []
    for one in pixels:
        file = io.BytesIO()
        Image.fromarray(one).save(file, "PNG")
        files.append(file.getvalue())
    spark = [
        {"origin": "x", "height": 40, "width": 48, "nChannels": 3, "mode": 16, "data": one[..., ::-1].tobytes()}
        for one in pixels
    ]
    tables = {
        "bytes": {"label": pa.array([0, 1, 2]), "content": pa.array(files, pa.binary())},
        "struct": {"image": pa.array([{"bytes": one, "path": "x.png"} for one in files])},
        "spark": {"image": pa.array(spark), "other": pa.array([b"x"] * 3, pa.binary())},
    }
    for name, columns in tables.items():
        (folder / name).mkdir(parents=True)
        pq.write_table(pa.table(columns), folder / name / "0.parquet", row_group_size=2)
    return {name: folder / name for name in tables}


def test_pictures_of_a_column_become_patches(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def cut(out: str, source: Path, *words: str) -> dict[str, Any]:
        settings = ["--patch", "32", "--filter", "0", "--valid-fraction", "0"]
        command = ["--source", str(source), "--out", str(tmp_path / out), *settings, *words, "--json"]
        assert build_patches.main(command) == 0, capsys.readouterr().err
        return dict(json.loads(capsys.readouterr().out.splitlines()[-1]))

    for column, rejected in (("image_png", 0), ("image_jpeg", 1), ("deep", 0), ("pixels", 0)):
        counts = cut(column, data, "--image-column", column)
        assert (counts["images"], counts["rejected"]) == (10 - rejected, rejected)
    assert cut("some", data, "--image-column", "image_png", "--where", "partition_key=p_1")["images"] == 4
    assert read_manifest(tmp_path / "some" / "train").patch == 32
    for name, folder in plain_sets(tmp_path / "plain").items():
        assert cut(f"cut-{name}", folder)["images"] == 3


def test_the_same_pixels_whatever_they_are_stored_by(data: Path, tmp_path: Path) -> None:
    for name, folder in plain_sets(tmp_path).items():
        items = list_items(str(folder)).items
        for i, content in enumerate(read_items(items)):
            wanted = np.random.default_rng(i).integers(0, 255, SIDES).astype(np.uint8)
            assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), wanted), name
    items = list_items(str(data), "image_png", "id=5").items
    assert [item.name for item in items] == ["partition_key=p_1/part-0.parquet#0-1"]
    (content,) = read_items(items)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), a_row(5)["image_png"])


def test_other_sources_refuse_conditions_and_delta_tables_are_no_parquet(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="is no Parquet; leave out --image-column"):
        list_items(str(tmp_path), "image")
    (tmp_path / "table" / "_delta_log").mkdir(parents=True)
    with pytest.raises(UserError, match="is a Delta table"):
        list_items(str(tmp_path / "table"))
