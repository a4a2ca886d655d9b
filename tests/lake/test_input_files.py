from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from lakerank.cli.errors import UserError
from lakerank.cli.stores import damaged_file
from lakerank.lake.binary_files import _PARTS, list_files
from lakerank.lake.input_files import bzip2_lines, first_line, read_lines, read_rows
from lakerank.lake.pictures import contents
from lakerank.recommend.data.delimited import Shape, split_fields
from lakerank.recommend.data.rating_input import read_pairs
from lakerank.search.pages.ingest import _records_of_part
from lakerank.search.pages.read_file import ReadOptions

Rows = list[tuple[str, int, str]]


def rows_of(spark: SparkSession, *args: object) -> Rows:
    return sorted(tuple(row) for row in read_lines(spark, *args).collect())  # type: ignore[arg-type]


@pytest.fixture
def small_pieces(spark: SparkSession) -> object:
    """Files are read in pieces of 400 bytes, several pieces to a task."""
    settings = {"spark.sql.files.maxPartitionBytes": "400", "spark.sql.files.openCostInBytes": "5"}
    for key, value in settings.items():
        spark.conf.set(key, value)
    yield
    for key in settings:
        spark.conf.unset(key)


@pytest.mark.connect
def test_numbers_lines_of_files_that_are_read_in_pieces(
    spark: SparkSession, small_pieces: object, tmp_path: Path
) -> None:
    random_ = random.Random(7)
    expected: Rows = []
    paths = []
    for k, (n, end, mark) in enumerate([(1, "\n", ""), (40, "\r\n", "\ufeff"), (60, "\n", ""), (90, "\n", "")]):
        width = [0, 1, 7, 30, 230]
        lines = ["".join(random_.choices("aé,\t ", k=random_.choice(width))) + "." for _ in range(n)]
        path = tmp_path / f"file{k}.txt"
        path.write_bytes((mark + end.join(lines) + ("" if k % 2 else end)).encode())
        paths.append(str(path))
        expected += [(str(path), i, line) for i, line in enumerate(lines, start=1)]
    packed = tmp_path / "packed.gz"
    packed.write_bytes(gzip.compress(b"one\n\nthree", mtime=0))
    expected += [(str(packed), 1, "one"), (str(packed), 2, ""), (str(packed), 3, "three")]

    frame = read_lines(spark, [*paths, str(packed)])

    assert [(f.name, f.dataType.simpleString()) for f in frame.schema] == [
        ("source", "string"),
        ("line", "bigint"),
        ("value", "string"),
    ]
    assert sorted(tuple(row) for row in frame.collect()) == sorted(expected)


@pytest.mark.connect
def test_decodes_latin_1_bytes_and_tells_it_from_utf_8_by_line(spark: SparkSession, tmp_path: Path) -> None:
    path = tmp_path / "mixed.txt"
    path.write_bytes("Café Ñandú ÿ\n".encode("latin-1") + "Café ★\n".encode() + b"plain\n")
    one = str(path)
    assert [row[2] for row in rows_of(spark, one, "auto")] == ["Café Ñandú ÿ", "Café ★", "plain"]
    assert rows_of(spark, one, "latin-1")[0] == (one, 1, "Café Ñandú ÿ")
    assert rows_of(spark, one)[0] == (one, 1, "Caf� �and� �")  # bad UTF-8 is visible, not lost
    with pytest.raises(UserError, match="utf-16"):
        read_lines(spark, one, "utf-16")


def test_takes_off_marks_and_line_ends_only(spark: SparkSession, tmp_path: Path) -> None:
    path = tmp_path / "windows.txt"
    path.write_bytes(b"\xef\xbb\xbfa\r\n\r\n b \r\nc\rd")
    assert [row[1:] for row in rows_of(spark, str(path))] == [(1, "a"), (2, ""), (3, " b "), (4, "c\rd")]
    assert first_line(spark, str(path)) == "a"
    packed = tmp_path / "windows.txt.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert rows_of(spark, str(packed))[0] == (str(packed), 1, "a")
    assert rows_of(spark, str(packed), "auto")[0] == (str(packed), 1, "a")


def test_paths_stay_as_given(spark: SparkSession, tmp_path: Path) -> None:
    folder = tmp_path / "_downloads" / "a b%20c+[x]{y}*é"
    folder.mkdir(parents=True)
    path = folder / "f 1?[0-9]#.txt"
    path.write_text("x\n", encoding="utf-8")
    (folder / "_SUCCESS").touch()
    indirect = str(folder / ".." / folder.name / path.name)
    assert rows_of(spark, str(path)) == [(str(path), 1, "x")]
    assert rows_of(spark, indirect) == [(indirect, 1, "x")]
    assert rows_of(spark, [str(path), indirect]) == [(indirect, 1, "x")]  # one file, read once
    assert rows_of(spark, str(folder)) == [(str(path), 1, "x")]
    assert first_line(spark, str(path)) == "x"


def test_an_empty_file_has_no_lines(spark: SparkSession, tmp_path: Path) -> None:
    path = tmp_path / "empty.txt"
    path.touch()
    assert rows_of(spark, str(path)) == []
    assert first_line(spark, str(path)) == ""


@pytest.mark.parametrize("name", ["_hidden.txt", ".hidden.txt"])
def test_files_that_spark_would_skip_are_refused(spark: SparkSession, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x\n", encoding="utf-8")
    with pytest.raises(UserError, match=f"{name}.*rename"):
        read_lines(spark, str(tmp_path / name))


def test_what_cannot_be_read_is_named(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.txt: no such file"):
        read_lines(spark, str(tmp_path / "none.txt"))
    with pytest.raises(UserError, match="no file in this folder"):
        read_lines(spark, str(tmp_path))
    clipped = tmp_path / "clipped.gz"
    clipped.write_bytes(gzip.compress(random.Random(1).randbytes(9999))[:-4000])
    with pytest.raises(UserError, match=r"clipped\.gz: cannot be read"):
        read_lines(spark, str(clipped))
    with pytest.raises(UserError, match=r"s3x://bucket/a\.txt"):
        read_lines(spark, "s3x://bucket/a.txt")


TEXT = "".join(f"{number * 7919 % 100_003},{number}\n" for number in range(120_000)).encode()


def flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def test_lines_of_a_sound_bzip2_file_are_counted() -> None:
    packed = bz2.compress(TEXT, 1)  # a dozen blocks
    two = packed + b"\0" * 7 + bz2.compress(b"last line") + b"\0" * 5
    pieces = [two[at : at + 999] for at in range(0, len(two), 999)]
    assert bzip2_lines([packed], "a") == 120_000
    assert bzip2_lines(pieces, "a") == 120_001
    assert bzip2_lines([bz2.compress(b"")], "a") == 0


@pytest.mark.parametrize("at", [4, 6, 12, 1000, -4, -9])
@pytest.mark.parametrize("second", [False, True])
def test_a_flipped_bit_of_a_bzip2_file_is_a_sentence(at: int, second: bool) -> None:
    packed = bz2.compress(TEXT[:200_000], 1)
    damaged = packed + flipped(packed, at) if second else flipped(packed, at)
    with pytest.raises(UserError, match=r"a\.bz2: is (damaged|cut off|no bzip2 file)"):
        bzip2_lines([damaged], "a.bz2")


def test_a_bzip2_file_that_is_cut_off_is_a_sentence() -> None:
    packed = bz2.compress(TEXT[:200_000], 1)
    for end in (0, 3, 100, len(packed) - 1):
        with pytest.raises(UserError, match="cut off"):
            bzip2_lines([packed[:end]], "a.bz2")
    with pytest.raises(UserError, match="damaged"):  # the header of the second stream
        bzip2_lines([packed + b"BZx" + packed[3:]], "a.bz2")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv.bz2", b"1,2\n", "is no bzip2 file, as its name says"),
        ("a.csv.lz4", b"1,2\n", "LZ4 is not read"),
        ("a.csv.snappy", b"1,2\n", "Snappy is not read"),
        ("a.csv.xz", lzma.compress(b"1,2\n"), "xz is not read"),
        ("a.csv.zst", b"1,2\n", "zstd is not read"),
        ("a.csv.deflate", b"1,2\n", "deflate is not read"),
        ("a.csv.GZ", gzip.compress(b"1,2\n", mtime=0), "small letters"),
        ("a.csv", gzip.compress(b"1,2\n", mtime=0), "is packed by gzip: its name must end in .gz"),
        ("b.csv", bz2.compress(b"1,2\n"), "is packed by bzip2: its name must end in .bz2"),
        ("c.csv", lzma.compress(b"1,2\n"), "is packed by xz: unpack it"),
        ("d.csv", b"(\xb5/\xfd\x04\x00", "is packed by zstd: unpack it"),
        ("e.csv", b"PK\x03\x04\x04\x00", "is packed by zip: unpack it"),
    ],
)
def test_a_file_that_spark_would_not_unpack_is_a_sentence(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(content)
    for read in (read_lines, first_line):
        with pytest.raises(UserError, match=told):
            read(None, str(tmp_path / name))  # type: ignore[arg-type, operator]


def test_a_name_that_is_not_utf_8_costs_its_file_alone(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/gr\xf6sse.html")).write_text("<p>two")
    sound, odd = list_files(str(tmp_path))
    assert (sound.relative, sound.problem) == ("a.txt", "")
    assert (odd.relative, odd.path) == ("gr\\xf6sse.html", f"{tmp_path}/gr\\xf6sse.html")
    assert "not UTF-8" in odd.problem
    part = {"part": 0, "files": [vars(sound), vars(odd)]}
    rows = list(_records_of_part(part, ReadOptions("https://b.org/", 1 << 20)))
    assert [(row["kind"], row.get("reason")) for row in rows] == [
        ("skipped", "not HTML"),
        ("rejected", odd.problem),
    ]
    table = pa.Table.from_pylist([part], schema=_PARTS).to_batches()[0]
    assert list(contents(table)) == [("a.txt", b"one"), (odd.relative, odd.problem)]


def test_parquet_that_spark_finds_unreadable_is_named(spark: SparkSession, tmp_path: Path) -> None:
    table = pa.table({"user": range(20_000), "item": range(20_000)})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd")
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    data[4:40] = b"\xff" * 36  # the header of a page: of damage in the values themselves Parquet keeps no sums
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(Exception, match="FAILED_READ_FILE") as failed:
        read_rows(spark, str(tmp_path / "a.parquet")).select("row.*").collect()
    assert (
        damaged_file(failed.value) == f"{tmp_path}/a.parquet: cannot be read: it is damaged; fetch it or write it again"
    )
    (tmp_path / "mixed").mkdir()
    few = table.slice(0, 50)
    pq.write_table(few, tmp_path / "mixed" / "a.parquet")
    pq.write_table(few.set_column(0, "user", few["user"].cast(pa.float64())), tmp_path / "mixed" / "b.parquet")
    with pytest.raises(Exception, match="FAILED_READ_FILE") as failed:
        read_rows(spark, str(tmp_path / "mixed")).select("row.*").collect()
    assert f"{tmp_path}/mixed/b.parquet: its column user is double" in damaged_file(failed.value)


def test_columns_of_parquet_may_have_any_names(spark: SparkSession, tmp_path: Path) -> None:
    pq.write_table(pa.table({"us`er": [1], "a.b": [2], "source": [3]}), tmp_path / "a.parquet")
    rows = read_rows(spark, str(tmp_path / "a.parquet")).select("row.*")
    assert [row.asDict() for row in rows.collect()] == [{"us`er": 1, "a.b": 2, "source": 3}]
    pq.write_table(pa.table({"user": [1], "USER": [2]}), tmp_path / "b.parquet")
    with pytest.raises(UserError, match="differ in upper and lower case alone"):
        read_rows(spark, str(tmp_path / "b.parquet"))


@pytest.mark.parametrize(
    "header", ["user,item,source", "user,item,line", "user,item,USER", "user,item,`", "user,item,user", "raw,item,user"]
)
def test_pairs_may_have_columns_of_any_name(spark: SparkSession, tmp_path: Path, header: str) -> None:
    (tmp_path / "a.csv").write_text(f"{header}\n1,2,1\n")
    pairs = read_pairs(spark, "--pairs", str(tmp_path / "a.csv"), {"user_id": "bigint", "item_id": "bigint"})
    assert [tuple(row) for row in pairs.collect()] == [(1, 2)]


def test_a_line_of_too_many_columns_is_a_bad_line(spark: SparkSession) -> None:
    values = ['"1",2,3', '"1",2' + ",3" * 25_000, "1" + ",2" * 25_000, "1,2,3"]
    lines = pa.table({"source": ["f"] * 4, "line": range(1, 5), "value": values})
    shape = Shape(",", 3, {"user": 0, "item": 1, "rating": 2}, quoted=True)
    rows = split_fields(spark.createDataFrame(lines), shape).select("line", "user", "problem").orderBy("line").collect()
    wrong = "wrong number of fields (3 expected)"
    assert [row["problem"] for row in rows] == [None, wrong, wrong, None]
    assert (rows[0]["user"], rows[3]["user"]) == ("1", "1")


def test_all_lines_of_a_bzip2_file_are_read_and_damage_is_told(spark: SparkSession, tmp_path: Path) -> None:
    packed = bz2.compress(TEXT[:300_000], 1)
    (tmp_path / "a.bz2").write_bytes(packed)
    (tmp_path / "b.bz2").write_bytes(flipped(packed, 6))
    assert read_lines(spark, str(tmp_path / "a.bz2")).count() == bzip2_lines([packed], "a")
    with pytest.raises(UserError, match=r"b\.bz2: is damaged"):
        read_lines(spark, str(tmp_path / "b.bz2"))
