from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lakerank.cli.errors import UserError
from lakerank.lake.archive import listing, opened


def zipped(path: Path, **members: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def test_a_zip_becomes_a_folder_that_is_removed(tmp_path: Path) -> None:
    source = zipped(tmp_path / "a.zip", **{"top/r.csv": "1", "top/big.csv": "2", "__MACOSX/top/._r.csv": "3"})
    with opened(source, tmp_path / "scratch", ["r.csv"]) as folder:
        assert listing(folder) == ["top/r.csv"]
        assert (folder / "top" / "r.csv").read_text(encoding="utf-8") == "1"
    with opened(source, tmp_path / "scratch") as folder:
        assert listing(folder) == ["top/big.csv", "top/r.csv"]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_what_a_killed_job_has_unpacked_is_removed_by_the_next(tmp_path: Path) -> None:
    source, scratch = zipped(tmp_path / "a.zip", **{"r.csv": "1"}), tmp_path / "scratch"
    killed = f"""
import os
from pathlib import Path
from lakerank.lake.archive import opened
with opened(Path({str(source)!r}), Path({str(scratch)!r})):
    os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", killed], check=False)
    (left,) = scratch.iterdir()
    (scratch / "unpacked-x_1o2345").mkdir()  # as earlier versions named them
    with opened(source, scratch) as mine, opened(source, scratch) as other:
        assert not left.exists()
        assert mine != other
        assert {path.name for path in scratch.iterdir()} == {mine.name, other.name}
    assert list(scratch.iterdir()) == []


def test_folders_and_files_are_themselves(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "b").touch()
    (tmp_path / "c").touch()
    (tmp_path / ".DS_Store").touch()
    with opened(tmp_path, tmp_path / "scratch") as folder:
        assert folder == tmp_path
        assert listing(folder) == ["c", "x/b"]
    assert not (tmp_path / "scratch").exists()


@pytest.mark.parametrize("name", ["../out.csv", "/out.csv", "a/../../out.csv", "c:\\out.csv", "..\\out.csv"])
def test_members_that_would_land_outside_are_refused(tmp_path: Path, name: str) -> None:
    source = zipped(tmp_path / "slip.zip", **{"ok.csv": "1", name: "2"})
    with pytest.raises(UserError, match=r"slip\.zip: .*outside"), opened(source, tmp_path / "scratch"):
        pass
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [source]


def test_damaged_zips_are_named(tmp_path: Path) -> None:
    good = zipped(tmp_path / "a.zip", **{"r.csv": "0123456789" * 1000}).read_bytes()
    at = good.index(b"r.csv") + 12
    flipped = good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :]
    for content in (good[:-30], flipped, b"no zip", b""):
        bad = tmp_path / "bad.zip"
        bad.write_bytes(content)
        with pytest.raises(UserError, match=r"bad\.zip: not a sound zip"), opened(bad, tmp_path / "scratch"):
            pass
    with pytest.raises(UserError, match=r"none\.zip: no such file"), opened(tmp_path / "none.zip", tmp_path):
        pass
    assert list((tmp_path / "scratch").iterdir()) == []
