"""Files written in one step, locks, private folders, and packages that an installation lacks."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lakerank.cli.errors import UserError
from lakerank.cli.extras import require
from lakerank.cli.files import atomic_path, exchange, locked, part_name, private_folder, try_lock, write_file
from lakerank.recommend.data.store import download_folder
from lakerank.report.store import SrResults, read_sr_results
from lakerank.search.query.store import cache_folder


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


def test_what_killed_writers_left_goes_when_it_is_a_day_old(tmp_path: Path) -> None:
    old, new, theirs = tmp_path / part_name("x"), tmp_path / part_name("y"), tmp_path / ".x.part"
    for path in (old, new, theirs):
        path.touch()
    for path in (old, theirs):
        os.utime(path, (0, 0))
    write_file(tmp_path / "z", b"z")
    assert {path.name for path in tmp_path.iterdir()} == {new.name, theirs.name, "z"}


def test_a_lock_excludes_others_and_goes_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, "waiting") as lock:
        assert lock.is_sure
        assert try_lock(path) is None
        assert try_lock(path, shared=True) is None
    assert not path.exists()
    held = "import sys, time; from pathlib import Path; from lakerank.cli.files import try_lock\n"
    held += f"lock = try_lock(Path({str(path)!r})); print(lock, flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", held], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"is_sure=True" in process.stdout.readline()
        assert try_lock(path) is None
        process.kill()
    assert try_lock(path) is not None
    (tmp_path / "link").symlink_to(path)
    assert try_lock(tmp_path / "link") is None


def test_two_folders_change_places_in_one_step(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    assert exchange(tmp_path / "one", tmp_path / "other")
    assert [(tmp_path / name / "file").read_text() for name in ("one", "other")] == ["other", "one"]
    assert not exchange(tmp_path / "one", tmp_path / "nowhere")


def test_a_folder_for_temporary_files_is_its_user_s_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = private_folder("lakerank-index", "--cache-dir")
    assert folder == tmp_path / f"lakerank-index-{os.getuid()}"
    folder.chmod(0o777)
    assert private_folder("lakerank-index", "--cache-dir") == folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"is not a folder of yours: .* choose another with --cache-dir"):
        private_folder("lakerank-index", "--cache-dir")
    folder.unlink()
    folder.mkdir()
    other = os.getuid() + 1
    folder.rename(tmp_path / f"lakerank-index-{other}")
    monkeypatch.setattr(os, "getuid", lambda: other)
    with pytest.raises(UserError, match="is not a folder of yours"):
        private_folder("lakerank-index", "--cache-dir")


def test_tables_that_are_elsewhere_have_caches_and_downloads_of_one_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for folder in (cache_folder("s3://b/lake", ""), cache_folder("main.web", ""), download_folder("main.movies")):
        assert Path(folder).parent == tmp_path
        assert Path(folder).name.endswith(f"-{os.getuid()}")
        assert stat.S_IMODE(Path(folder).stat().st_mode) == 0o700


def test_a_line_that_was_cut_short_is_dropped_if_it_is_the_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "history.jsonl"
    assert read_sr_results(tmp_path) == SrResults()
    path.write_text('{"step": 1, "seconds": 2, "total": 3}\n{"step": 2, "sec')
    assert read_sr_results(tmp_path).history == ({"step": 1, "seconds": 2, "total": 3},)
    assert f"report: {path}: the last line was cut short and is dropped" in capsys.readouterr().out
    path.write_text('{"st\n{"step": 2}\n')
    with pytest.raises(UserError, match=r"history\.jsonl, line 1: no line of a training history"):
        read_sr_results(tmp_path)


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
