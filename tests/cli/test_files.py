"""Files written in one step, and packages that an installation lacks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lakerank.cli.errors import UserError
from lakerank.cli.extras import require
from lakerank.cli.files import atomic_path, write_file


@pytest.mark.parametrize("failing", [False, True])
def test_the_page_is_replaced_whole_or_not_at_all(
    failing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "index.html"
    file.write_text("old")
    seen = []
    replace = Path.replace

    def spy(fresh: Path, target: Path) -> Path:
        seen.append((file.read_text(), fresh.read_text(), fresh.parent == target.parent))
        if failing:
            raise OSError(28, "No space left on device")
        return replace(fresh, target)

    monkeypatch.setattr(Path, "replace", spy)
    if failing:
        with pytest.raises(UserError, match=r"index\.html: cannot write it \(No space left"):
            write_file(file, "new", "--out")
    else:
        write_file(file, "new", "--out")
    assert seen == [("old", "new", True)]
    assert file.read_text() == ("old" if failing else "new")
    assert list(tmp_path.iterdir()) == [file]


def test_without_a_flag_the_disks_complaint_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        write_file(tmp_path / "file" / "x", b"x")


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "new" / "x") as fresh:
        assert fresh.write_text("half") == 1 / 0
    assert list((tmp_path / "new").iterdir()) == []


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    assert require("json", extra="none") is sys.modules["json"]
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match=r"^`torch` is not installed: pip install 'lakerank\[sr\]'$"):
        require("torch", extra="sr")
    monkeypatch.setitem(sys.modules, "pyspark", None)
    monkeypatch.delitem(sys.modules, "lakerank.spark.checkpoint", raising=False)
    monkeypatch.delitem(sys.modules, "pyspark.errors", raising=False)
    with pytest.raises(UserError, match=r"^`pyspark` is not installed: pip install 'lakerank\[spark\]'$"):
        require("lakerank.spark.checkpoint", extra="spark")
