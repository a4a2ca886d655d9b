"""Pictures that are hard to find or to read, and data sets of patches that were interrupted or damaged."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests_root import ROOT

from lakerank.cli import files
from lakerank.cli.errors import UserError
from lakerank.cli.files import exchange, part_name
from sr_model import build_patches, images
from sr_model.data import writer
from sr_model.data.format import MANIFEST, read_manifest
from sr_model.images import BrokenImage
from sr_model.patching import dataset, sources
from sr_model.patching import parts as patch_parts
from sr_model.patching.dataset import finish_build
from sr_model.patching.extract import PatchPlan, gradient
from sr_model.patching.sources import list_items, read_items
from sr_model.scoring import read_pictures


def png(seed: int, height: int = 64, width: int = 80) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


def put(folder: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(seed))
    return folder


def names(source: Path | str) -> list[str]:
    return [item.name for item in list_items(str(source)).items]


# --- finding


def test_pictures_beside_div2k_are_taken_too(tmp_path: Path) -> None:
    put(tmp_path / "DIV2K", "DIV2K_train_HR/0001.png", "DIV2K_train_LR_bicubic/X4/0001x4.png")
    put(tmp_path / "Flickr2K", "000001.png")
    listing = list_items(f"{tmp_path / 'DIV2K'},{tmp_path / 'Flickr2K'}")
    assert {item.name: item.split for item in listing.items} == {"DIV2K_train_HR/0001.png": "train", "000001.png": ""}
    assert listing.others == 1


def test_links_to_folders_are_followed_and_circles_end(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", "b.png")
    put(tmp_path / "here", "a.png")
    (tmp_path / "here" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "here")
    assert names(tmp_path / "here") == ["a.png", "linked/b.png"]


def test_names_that_are_no_utf8_can_be_stored(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    (tmp_path / "a.png").rename(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")))
    (item,) = list_items(str(tmp_path)).items
    assert item.name == "caf\\xe9.png"
    assert list(read_items([item])) == [png(0)]


def test_an_object_store_is_said_to_be_one() -> None:
    with pytest.raises(UserError, match="read the store with Spark's binaryFile into a table"):
        list_items("hdfs://name/pictures")


# --- reading


def zipped(at: Path, n: int = 4) -> Path:
    with zipfile.ZipFile(at / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(n):
            archive.writestr(f"{i}.png", png(i))
    return at / "all.zip"


def tarred(at: Path, n: int = 4) -> Path:
    with tarfile.open(at / "all.tar.gz", "w:gz") as tar:
        for i in range(n):
            member = tarfile.TarInfo(f"{i}.png")
            member.size = len(png(i))
            tar.addfile(member, io.BytesIO(png(i)))
    return at / "all.tar.gz"


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_an_archive_is_opened_once_for_its_pictures(
    tmp_path: Path, pack: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    items = list_items(str(pack(tmp_path))).items
    opened = []
    real = sources._open
    monkeypatch.setattr(sources, "_open", lambda path: opened.append(path) or real(path))
    assert list(read_items(items)) == [png(i) for i in range(4)]
    assert len(opened) == 1


def test_a_damaged_member_costs_no_other(tmp_path: Path) -> None:
    file = zipped(tmp_path)
    with zipfile.ZipFile(file) as archive:
        inside = archive.getinfo("1.png").header_offset + 35
    data = bytearray(file.read_bytes())
    data[inside : inside + 40] = bytes(40)  # the deflate stream itself
    file.write_bytes(data)
    found = list(read_items(list_items(str(file)).items))
    assert isinstance(found[1], BrokenImage)
    assert "cannot be read" in str(found[1])
    assert [found[0], *found[2:]] == [png(0), png(2), png(3)]


def test_a_file_too_large_for_a_picture_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.png").write_bytes(png(0))
    with (tmp_path / "folder" / "b.png").open("wb") as file:
        file.truncate(images.MAX_BYTES + 1)  # takes no room on the disk
    with zipfile.ZipFile(tmp_path / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b.png", bytes(100_000))  # a few hundred bytes
        archive.writestr("a.png", png(0))
    for kind in ("tar", "tar.gz"):
        with tarfile.open(tmp_path / f"t.{kind}", f"w:{kind[4:]}") as tar:
            for name, data in (("b.png", bytes(100_000)), ("a.png", png(0))):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    expected = ["a.png", "b.png"]
    for source in ("folder", "z.zip", "t.tar", "t.tar.gz"):
        if source != "folder":
            monkeypatch.setattr(images, "MAX_BYTES", 50_000)
            monkeypatch.setattr(read_pictures, "MAX_BYTES", 50_000)
        found = dict(zip(names(tmp_path / source), read_items(list_items(str(tmp_path / source)).items), strict=True))
        assert list(found) == expected
        assert found["a.png"] == png(0)
        assert isinstance(found["b.png"], BrokenImage)
        assert "MiB is more than" in str(found["b.png"])
        assert [name for name, _ in read_pictures.read_pictures(tmp_path / source)] == ["a.png"]


def test_memory_that_does_not_suffice_costs_one_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = sources._member

    def full(archive: zipfile.ZipFile, name: str) -> bytes:
        if name == "1.png":
            raise MemoryError
        return real(archive, name)

    monkeypatch.setattr(sources, "_member", full)
    found = list(read_items(list_items(str(zipped(tmp_path))).items))
    assert [str(one) for one in found if isinstance(one, BrokenImage)] == [
        "memory does not suffice; cut it into parts first"
    ]


@pytest.mark.parametrize("harm", ["encrypted", "damaged"])
def test_an_archive_of_evaluation_pictures_that_cannot_be_read_is_one_sentence(tmp_path: Path, harm: str) -> None:
    file = zipped(tmp_path)
    data = bytearray(file.read_bytes())
    if harm == "encrypted":  # the flag in the head of each member, and in the directory's
        for sign, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
            here = -1
            while (here := data.find(sign, here + 1)) >= 0:
                data[here + at] |= 1
    else:
        data[100:140] = bytes(40)
    file.write_bytes(data)
    with pytest.raises(UserError, match="not a sound zip file"):
        list(read_pictures.read_pictures(file))


def test_an_archive_cut_short_is_refused(tmp_path: Path) -> None:
    for file in (tarred(tmp_path), zipped(tmp_path)):
        file.write_bytes(file.read_bytes()[:-2000])
        with pytest.raises(UserError, match=f"{file}: not a sound"):
            list_items(str(file))


def test_an_archive_that_is_gone_is_a_reason(tmp_path: Path) -> None:
    items = list_items(str(zipped(tmp_path))).items
    (tmp_path / "all.zip").unlink()
    assert all(isinstance(content, BrokenImage) for content in read_items(items))


def test_members_that_point_outside_are_read_in_place_or_not_at_all(tmp_path: Path) -> None:
    # Archives are read, never unpacked: a name that would escape is a name, a link is no picture.
    put(tmp_path, "secret.png")
    outside = str(tmp_path / "secret.png")
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        for name in ("../../up.png", "/tmp/absolute.png"):
            member = tarfile.TarInfo(name)
            member.size = len(png(1))
            tar.addfile(member, io.BytesIO(png(1)))
        for kind, target in ((tarfile.SYMTYPE, outside), (tarfile.LNKTYPE, "../secret.png")):
            member = tarfile.TarInfo(f"link{kind.decode()}.png")
            member.type, member.linkname = kind, target
            tar.addfile(member)
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        for name in ("../../up.png", "/tmp/absolute.png"):
            archive.writestr(name, png(1))
    before = sorted(path for path in tmp_path.parent.rglob("*"))
    for file in ("evil.tar", "evil.zip"):
        items = list_items(str(tmp_path / file)).items
        assert [item.member for item in items] == ["../../up.png", "/tmp/absolute.png"]
        assert list(read_items(items)) == [png(1), png(1)]
        argv = ["--source", str(tmp_path / file), "--out", str(tmp_path / f"{file}-patches"), "--patch", "32"]
        assert build_patches.main(argv) == 0
    made = [path for path in tmp_path.parent.rglob("*") if path not in before]
    assert made
    assert all(path.relative_to(tmp_path).parts[0].endswith("-patches") for path in made)


def test_the_gradient_is_exact_so_that_machines_agree() -> None:
    patch = np.random.default_rng(3).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    luma = [[299 * int(r) + 587 * int(g) + 114 * int(b) for r, g, b in row] for row in patch]
    across = sum(abs(row[x + 1] - row[x]) for row in luma for x in range(23))
    down = sum(abs(luma[y + 1][x] - luma[y][x]) for y in range(23) for x in range(24))
    assert gradient(patch) == (across / (24 * 23) + down / (23 * 24)) / 2000  # to the last bit


# --- the data set


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return put(tmp_path_factory.mktemp("pictures"), *(f"{i}.png" for i in range(8)))


def build(source: Path, out: Path, *words: str) -> int:
    base = ["--source", str(source), "--out", str(out), "--patch", "32", "--valid-fraction", "0.3", "--workers", "1"]
    return build_patches.main([*base, *words])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def built(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(patch_parts, "_LEAST_BYTES", 20_000)  # several parts
    assert build(pictures, tmp_path / "out") == 0
    assert len(list((tmp_path / "out" / "train").glob("*.parquet"))) > 1
    return tmp_path / "out"


def lose_a_manifest(out: Path) -> None:
    (out / "valid" / MANIFEST).unlink()  # killed between the two splits


def lose_a_part(out: Path) -> None:
    next((out / "train").glob("*.parquet")).unlink()


def cut_a_part(out: Path) -> None:
    part = next((out / "train").glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-1])


def alter_a_part(out: Path) -> None:
    part = next((out / "train").glob("*.parquet"))
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)


def damage_a_result(out: Path) -> None:
    (out / "_parts" / "00000.json").write_bytes(b"\0" * 100)
    lose_a_manifest(out)


@pytest.mark.parametrize("harm", [lose_a_manifest, lose_a_part, cut_a_part, alter_a_part, damage_a_result])
def test_what_is_lost_is_made_again(built: Path, pictures: Path, harm: Callable[[Path], None]) -> None:
    whole = contents(built)
    harm(built)
    assert build(pictures, built) == 0
    assert contents(built) == whole


def test_a_run_that_is_killed_goes_on(tmp_path: Path) -> None:
    source, out = tmp_path / "pictures", tmp_path / "out"
    source.mkdir()
    for seed in range(6):
        (source / f"{seed}.png").write_bytes(png(seed, 800, 900))  # 2 MB, so a part for each
    command = [sys.executable, "-m", "sr_model.build_patches", "--source", str(source), "--out", str(out)]
    words = ["--patch", "32", "--valid-fraction", "0.3", "--workers", "1"]
    process = subprocess.Popen([*command, *words], start_new_session=True, cwd=ROOT)
    try:
        limit = time.monotonic() + 120
        while not list(out.glob("_parts/*.json")):
            assert process.poll() is None, "ended by itself"
            assert time.monotonic() < limit, "no part was made"
            time.sleep(0.002)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    kept = {note: note.stat().st_mtime_ns for note in out.glob("_parts/*.json")}
    assert 0 < len(kept) < 6
    assert build(source, out) == 0
    assert build(source, tmp_path / "whole") == 0
    assert contents(out) == contents(tmp_path / "whole")
    assert {note: note.stat().st_mtime_ns for note in kept} == kept


@pytest.mark.parametrize("words", [[], ["--overwrite"]])
def test_a_folder_that_is_not_ours_is_left_alone(
    pictures: Path, tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, "train/holiday.png")
    assert build(pictures, tmp_path, *words) == 2
    assert "its `train` was not made by this command" in capsys.readouterr().err
    assert (tmp_path / "train" / "holiday.png").read_bytes() == png(0)


def test_overwrite_leaves_nothing_of_before(built: Path, pictures: Path, tmp_path: Path) -> None:
    assert build(pictures, built, "--limit", "1", "--valid-fraction", "0", "--overwrite") == 0
    assert build(pictures, tmp_path / "fresh", "--limit", "1", "--valid-fraction", "0") == 0
    assert contents(built) == contents(tmp_path / "fresh")


def test_what_is_replaced_stays_until_the_new_is_whole(
    built: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, words = contents(built), ("--limit", "1", "--valid-fraction", "0", "--overwrite")

    def killed(*_: object) -> None:
        raise SystemExit

    for step in ("finish_build", "_put_in_place"):
        with monkeypatch.context() as patched:
            patched.setattr(dataset, step, killed)
            with pytest.raises(SystemExit):
                build(pictures, built, *words)
        assert contents(built) == before
    assert build(pictures, built, *words) == 0
    assert contents(built) != before
    assert not list(built.parent.glob(f".{built.name}*"))


def test_two_builds_do_not_meet(
    built: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    codes, plain = [], dataset.finish_build

    def meanwhile(where: Path, *args: object) -> None:
        left = where / "_parts" / part_name("00000.json")
        left.write_bytes(b"half")
        codes.append(build(pictures, built, "--limit", "2", "--overwrite"))
        codes.append(build(pictures, built))
        assert left.exists()
        left.unlink()
        monkeypatch.setattr(dataset, "finish_build", plain)
        plain(where, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(dataset, "finish_build", meanwhile)
    assert build(pictures, built, "--limit", "1", "--valid-fraction", "0", "--overwrite") == 0
    assert codes == [2, 2]
    assert capsys.readouterr().err.count("another build is at work there") == 2
    assert not list(built.parent.glob(f".{built.name}*"))
    assert not (built / ".lock").exists()


@pytest.mark.parametrize("can_exchange", [True, False])
def test_killed_while_the_new_takes_its_place(
    built: Path,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    can_exchange: bool,
) -> None:
    before, words, replace = contents(built), ("--limit", "1", "--valid-fraction", "0"), Path.replace

    def dying(path: Path, target: Path) -> Path:
        if path.name.startswith(f".{built.name}-building"):
            raise SystemExit
        return replace(path, target)

    def exchange_and_die(one: Path, other: Path) -> bool:
        if can_exchange:
            assert exchange(one, other)
            raise SystemExit
        return False

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", dying)
        patched.setattr(dataset, "exchange", exchange_and_die)
        with pytest.raises(SystemExit):
            build(pictures, built, *words, "--overwrite")
    assert built.is_dir() == can_exchange
    assert build(pictures, built, *words) == (0 if can_exchange else 2)  # the new, or the old that needs --overwrite
    if not can_exchange:
        assert "holds patches of other pictures or settings" in capsys.readouterr().err
        assert contents(built) == before
        assert build(pictures, built, *words, "--overwrite") == 0
        assert "holds these patches already" in capsys.readouterr().out  # they were whole, and are taken up
    assert build(pictures, built.with_name("fresh"), *words) == 0
    assert contents(built) == contents(built.with_name("fresh"))
    assert not list(built.parent.glob(f".{built.name}*"))


def test_parts_are_flushed_before_what_vouches_for_them(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []

    def note(path: Path) -> None:
        flushed.append(path.name.removeprefix(".").partition("-")[0] if path.is_file() else f"{path.name}/")

    monkeypatch.setattr(files, "flush_to_disk", note)
    monkeypatch.setattr(writer, "flush_to_disk", note)
    (source,) = patch_parts.plan_files(str(pictures), 1, (settings := patch_parts.Build(PatchPlan(32, 32)))).parts
    patch_parts.make_part(tmp_path, 0, source, settings)
    assert flushed == ["part", "train/", "00000.json", "_parts/"]


def test_parts_that_another_machine_kept_are_missed(built: Path) -> None:
    (built / "_parts" / "00000.json").unlink()
    with pytest.raises(UserError, match="parts are here; it must be a folder that this machine and all workers share"):
        finish_build(built, 4, patch_parts.Build(PatchPlan(32, 32), 0.3), "")


def test_a_build_without_a_patch_says_why_and_is_tried_anew(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, source = tmp_path / "out", tmp_path / "pictures"
    shutil.copytree(pictures, source)
    for file in source.iterdir():
        file.write_bytes(b"x" * file.stat().st_size)  # as large as before, and no picture
    assert build(source, out) == 2
    assert "no picture gave a patch; 8 were rejected as: not a picture" in capsys.readouterr().err
    assert build(pictures, out, "--filter", "200") == 2
    assert "all 48 patches are too flat" in capsys.readouterr().err
    assert build(pictures, out) == 0
    assert read_manifest(out / "train").rows + read_manifest(out / "valid").rows == 48


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--row-group-rows", "-1"], "must be at least 0"),
        (["--row-group-rows", "200000"], "a row group must stay below 512 MiB; at most 174762 of --patch 32 fit"),
        (["--patch", "100000", "--stride", "96"], "choose a smaller --patch"),
        (["--seed", str(1 << 64)], "a whole number of at most 64 bits"),
        (["--seed", "-1"], "must be 0 to below 2^63"),
        (["--source", ""], "--source: give a folder"),
    ],
)
def test_wrong_settings_end_with_2(
    pictures: Path, tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(pictures, tmp_path / "out", *words) == 2
    assert message in capsys.readouterr().err


def test_an_out_that_is_a_file_is_refused(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("words")
    assert build(pictures, tmp_path / "out") == 2
    assert "cannot be written" in capsys.readouterr().err


def test_the_summary_counts_everything(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build(pictures, tmp_path / "out", "--json") == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    parquet = sum(file.stat().st_size for file in (tmp_path / "out").rglob("*.parquet"))
    assert (facts["images"], facts["patches"], facts["filtered"], facts["rejected"]) == (8, 48, 0, 0)
    assert (facts["megapixels"], facts["bytes"]) == (round(8 * 64 * 80 / 1e6, 3), parquet)


@pytest.mark.parametrize(
    ("fraction", "said"),
    [
        ("1e-9", "no patch fell to the validation set; raise --valid-fraction"),
        ("0.999999", "no patch fell to the training set; lower --valid-fraction"),
        ("0", ""),
    ],
)
def test_a_draw_with_one_side_is_said(
    pictures: Path, tmp_path: Path, fraction: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(pictures, tmp_path / "out", "--valid-fraction", fraction) == 0
    printed = capsys.readouterr().out
    assert said in printed
    assert ("no patch fell" in printed) == bool(said)
