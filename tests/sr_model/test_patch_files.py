"""Patch files: what is written comes back, by our readers and by pyarrow; what is damaged is said."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from lakerank.cli.errors import UserError
from sr_model.data import augment, row_groups
from sr_model.data.format import MANIFEST, PartInfo, PatchRow, npy_header, read_manifest
from sr_model.data.order import RowGroup
from sr_model.data.row_groups import Buffers, ReadError, read_provenance, read_rows
from sr_model.data.writer import COMMON_METADATA, default_row_group_rows, finish, write_part

PATCH = 12


def some(n: int, lr: bool = False, side: int = PATCH) -> list[PatchRow]:
    random = np.random.default_rng(n)

    def image(size: int) -> np.ndarray:
        return random.integers(0, 256, (size, size, 3), dtype=np.uint8)

    return [PatchRow(image(side), image(side // 4) if lr else None, f"ä {i % 3}.png", i, 2 * i) for i in range(n)]


def written(folder: Path, rows: list[PatchRow], **settings: object) -> PartInfo:
    given = {"patch": PATCH, "row_group_rows": 5, "store_lr": rows[0].lr is not None, **settings}
    part = write_part(folder / "a.parquet", rows, **given)  # type: ignore[arg-type]
    assert part is not None
    return part


def read_all(folder: Path, part: PartInfo, store_lr: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
    groups = [RowGroup(part.name, i, rows) for i, rows in enumerate(part.row_groups)]
    found = [read_rows(folder, group, store_lr) for group in groups]
    lr = np.concatenate([rows.lr for rows in found if rows.lr is not None]) if store_lr else None
    return np.concatenate([rows.hr for rows in found]), lr


def by_pyarrow(path: Path, column: str) -> np.ndarray:
    """What stands in the file, by pyarrow and numpy alone."""
    values = pq.read_table(path).column(column).to_pylist()
    return np.stack([np.load(pa.BufferReader(value)) for value in values])


@pytest.mark.parametrize("n", [1, 4, 5, 6, 23])
@pytest.mark.parametrize("lr", [False, True])
def test_what_is_written_comes_back_without_decoding(
    tmp_path: Path, n: int, lr: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = some(n, lr)
    part = written(tmp_path, rows)
    assert part.rows == n
    assert part.size == (tmp_path / "a.parquet").stat().st_size

    def not_needed(*args: object) -> None:
        raise AssertionError("a plain page was decoded")

    monkeypatch.setattr(row_groups, "_decoded", not_needed)
    hr, small = read_all(tmp_path, part, lr)
    assert np.array_equal(hr, np.stack([row.hr for row in rows]))
    assert np.array_equal(hr, by_pyarrow(tmp_path / "a.parquet", "hr"))
    if lr:
        assert small is not None
        assert np.array_equal(small, np.stack([row.lr for row in rows if row.lr is not None]))
        assert np.array_equal(small, by_pyarrow(tmp_path / "a.parquet", "lr"))


@pytest.mark.parametrize("settings", [{"compression": "zstd"}, {"compression": "snappy"}])
def test_compressed_pictures_are_decoded(tmp_path: Path, settings: dict[str, str]) -> None:
    rows = some(13)
    hr, _ = read_all(tmp_path, written(tmp_path, rows, **settings))
    assert np.array_equal(hr, np.stack([row.hr for row in rows]))


@pytest.mark.parametrize(
    "settings",
    [
        {"use_dictionary": True},
        {"data_page_size": 900, "write_batch_size": 1, "use_dictionary": False},
        {"data_page_version": "2.0", "use_dictionary": False},
        {"use_dictionary": False, "write_page_checksum": True},
        {"use_dictionary": False, "column_encoding": "DELTA_LENGTH_BYTE_ARRAY"},
    ],
)
@pytest.mark.parametrize("nullable", [False, True])
def test_files_that_others_wrote_are_read(tmp_path: Path, settings: dict[str, object], nullable: bool) -> None:
    rows = some(13)
    written(tmp_path, rows)
    table = pq.read_table(tmp_path / "a.parquet")
    table = table.cast(pa.schema([field.with_nullable(nullable) for field in table.schema]))
    if "column_encoding" in settings:
        settings = {**settings, "column_encoding": {"hr": settings["column_encoding"]}}
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=5, compression="none", **settings)
    hr, _ = read_all(tmp_path, PartInfo("a.parquet", 0, (5, 5, 3)))
    assert np.array_equal(hr, np.stack([row.hr for row in rows]))


def test_large_row_groups_stay_one_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = some(1100, side=24)  # more than pyarrow usually puts into a page, in bytes and in rows
    part = written(tmp_path, rows, patch=24, row_group_rows=1100)
    monkeypatch.setattr(row_groups, "_decoded", None)
    hr, _ = read_all(tmp_path, part)
    assert np.array_equal(hr, np.stack([row.hr for row in rows]))


@pytest.mark.parametrize("wanted", [[0], [4], [1, 3], [0, 1, 2, 3]])
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_only_wanted_rows_are_needed(tmp_path: Path, wanted: list[int], compression: str) -> None:
    rows = some(5, lr=True)
    part = written(tmp_path, rows, compression=compression)
    found = read_rows(tmp_path, RowGroup(part.name, 0, 5), True, np.array(wanted))
    assert found.lr is not None
    for i in wanted:
        assert np.array_equal(found.hr[i], rows[i].hr)
        assert np.array_equal(found.lr[i], rows[i].lr)


def test_provenance_comes_back(tmp_path: Path) -> None:
    rows = some(7)
    part = written(tmp_path, rows)
    found = read_provenance(tmp_path, RowGroup(part.name, 1, 2)).to_pylist()
    assert found == [{"source": row.source, "x": row.x, "y": row.y} for row in rows[5:]]


def test_the_same_rows_make_the_same_file(tmp_path: Path) -> None:
    contents = []
    for _ in range(2):
        written(tmp_path, some(9))
        contents.append((tmp_path / "a.parquet").read_bytes())
    assert contents[0] == contents[1]


def test_no_rows_make_no_file_and_remove_the_one_before(tmp_path: Path) -> None:
    written(tmp_path, some(3))
    assert write_part(tmp_path / "a.parquet", [], patch=PATCH) is None
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_file_before_and_nothing_else(tmp_path: Path) -> None:
    written(tmp_path, some(3))
    before = (tmp_path / "a.parquet").read_bytes()

    def breaks() -> object:
        yield from some(8)
        raise RuntimeError("lost the picture")

    with pytest.raises(RuntimeError, match="lost the picture"):
        written(tmp_path, Broken(breaks()))  # type: ignore[arg-type]
    assert [file.name for file in tmp_path.iterdir()] == ["a.parquet"]
    assert (tmp_path / "a.parquet").read_bytes() == before


class Broken:
    """An iterable whose first row can be looked at."""

    def __init__(self, rows: object) -> None:
        self._rows = rows

    def __iter__(self) -> object:
        return self._rows

    def __getitem__(self, position: int) -> PatchRow:
        return some(1)[0]


def test_wrong_patches_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\(8, 8, 3\) uint8, not \(12, 12, 3\)"):
        written(tmp_path, some(2, side=8))
    with pytest.raises(ValueError, match="no LR, but it is to be stored"):
        written(tmp_path, some(2), store_lr=True)
    with pytest.raises(ValueError, match="exceed 1 GiB"):
        written(tmp_path, some(2), patch=512, row_group_rows=5000)


def test_row_groups_hold_some_megabytes() -> None:
    for patch in (24, 96, 128, 384, 2048):
        rows = default_row_group_rows(patch)
        assert rows == 1 or 2 << 20 <= rows * patch * patch * 3 <= 4 << 20


def finished(folder: Path) -> Path:
    finish(folder, [written(folder, some(13))], patch=PATCH, facts={"split": "train"})
    return folder


def test_the_manifest_comes_back(tmp_path: Path) -> None:
    found = read_manifest(finished(tmp_path))
    assert (found.patch, found.scale, found.store_lr, found.rows) == (PATCH, 4, False, 13)
    assert found.facts == {"split": "train"}
    assert found.parts[0].row_groups == (5, 5, 3)
    assert sorted(file.name for file in tmp_path.iterdir()) == [COMMON_METADATA, MANIFEST, "a.parquet"]


def test_a_manifest_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    path = finished(tmp_path) / MANIFEST
    fields = json.loads(path.read_text())
    for text, message in (
        ("{", "not readable"),
        ("[]", "not readable"),
        (json.dumps({**fields, "format": 99}), "format 99, but this version reads 1"),
        (json.dumps({**fields, "files": [{"name": "a.parquet"}]}), "not readable"),
        (json.dumps({**fields, "files": [{**fields["files"][0], "size": 7}]}), r"has \d+ bytes instead of 7"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            read_manifest(tmp_path)


def test_files_of_another_run_and_damaged_ones_are_said(tmp_path: Path) -> None:
    part = written(tmp_path, some(13))
    with pytest.raises(ReadError, match=r"a\.parquet: row group 0 .*it has 5 rows, the manifest says 4"):
        read_rows(tmp_path, RowGroup(part.name, 0, 4), False)
    with pytest.raises(ReadError, match=r"a\.parquet: row group 9"):
        read_rows(tmp_path, RowGroup(part.name, 9, 5), False)
    with pytest.raises(ReadError, match=r"a\.parquet: row group 0 .*'lr'"):
        read_rows(tmp_path, RowGroup(part.name, 0, 5), True)
    with pytest.raises(ReadError, match=r"gone\.parquet: row group 0"):
        read_rows(tmp_path, RowGroup("gone.parquet", 0, 5), False)
    file = tmp_path / "a.parquet"
    content = bytearray(file.read_bytes())
    second = content.index(npy_header((PATCH, PATCH, 3)), 400)
    content[second + 2] ^= 255  # the head of one picture
    file.write_bytes(content)
    os.utime(file, ns=(1, 1))  # else its footer is the remembered one
    with pytest.raises(ReadError, match=r"a\.parquet: row group 0"):
        read_rows(tmp_path, RowGroup(part.name, 0, 5), False)


def test_floats_are_no_pictures(tmp_path: Path) -> None:
    header = npy_header((PATCH, PATCH, 3)).replace(b"|u1", b"|i1")
    part = written(tmp_path, some(5))
    file = tmp_path / "a.parquet"
    file.write_bytes(file.read_bytes().replace(npy_header((PATCH, PATCH, 3)), header))
    with pytest.raises(ReadError, match="int8, not uint8"):
        read_rows(tmp_path, RowGroup(part.name, 0, 5), False)


def test_memory_is_used_again_only_when_nobody_looks_at_it() -> None:
    buffers = Buffers()

    def owner(view: np.ndarray) -> int:
        return id(view.base)

    first = buffers.take((4, 5))
    seen = owner(first)
    piece = first[1:, ::2].T
    del first
    assert owner(buffers.take((4, 5))) != seen  # a view of a view is still there
    tensor = torch.from_numpy(piece)
    del piece
    assert owner(buffers.take((4, 5))) != seen  # and a tensor
    view = memoryview(tensor.numpy())
    del tensor
    assert owner(buffers.take((4, 5))) != seen  # and a memory view
    del view
    assert owner(buffers.take((4, 5))) == seen
    assert owner(buffers.take((3, 4))) == seen  # a little smaller
    assert owner(buffers.take((2, 2))) != seen  # much smaller


@pytest.mark.parametrize("turn", range(8))
@pytest.mark.parametrize("with_opencv", [True, False])
def test_turns_agree_with_numpy(turn: int, with_opencv: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "_HAS_CV2", with_opencv and augment._HAS_CV2)
    picture = np.random.default_rng(0).integers(0, 256, (15, 17, 3), dtype=np.uint8)
    picture.flags.writeable = False
    crop = picture[2:11, 3:15]  # 9 × 12
    wanted = crop
    if turn & 1:
        wanted = np.fliplr(wanted)
    if turn & 2:
        wanted = np.flipud(wanted)
    if turn & 4:
        wanted = np.swapaxes(wanted, 0, 1)
    assert np.array_equal(augment.turned(crop, turn), wanted)
    batch = np.full((3, *wanted.shape), 7, np.uint8)
    augment.turn_into(batch[1], crop, turn)
    assert np.array_equal(batch[1], wanted)
    assert (batch[[0, 2]] == 7).all()
