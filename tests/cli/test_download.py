from __future__ import annotations

import hashlib
import io
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lakerank.cli import download
from lakerank.cli.download import EDITIONS, fetch, verify
from lakerank.cli.errors import UserError


class Mirror:
    """A web server on this machine; what it offers and how badly it behaves are attributes."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []  # path, Range header
        self.ranges = True
        self.stop_after = 0  # bytes of the body, then the connection closes
        self.may_go_on = threading.Event()  # half of the body waits for it
        self.may_go_on.set()

    def serve(self) -> Iterator[Mirror]:
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers.get("Range", "")
                mirror.asked.append((self.path, wanted))
                body = mirror.files.get(self.path.rsplit("/", 1)[-1])
                if body is None:
                    self.send_error(404)
                    return
                start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and mirror.ranges else 0
                if start >= len(body):
                    self.send_error(416)
                    return
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(body) - start))
                self.end_headers()
                end = mirror.stop_after or len(body)
                half = (start + end) // 2
                self.wfile.write(body[start:half])
                mirror.may_go_on.wait(10)
                self.wfile.write(body[half:end])

            def log_message(self, format: str, *args: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self.url = f"http://127.0.0.1:{server.server_address[1]}/sets"
            yield self
            server.shutdown()


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    yield from Mirror().serve()


@pytest.fixture
def zipped(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A zip that the mirror offers as ml-1m (pinned) and as ml-latest (not pinned)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("ml-1m/ratings.dat", "1::1::3::978300760\n" * 500)
    content = buffer.getvalue()
    mirror.files = {"ml-1m.zip": content, "ml-latest.zip": content}
    monkeypatch.setitem(download.EDITIONS, "ml-1m", hashlib.md5(content).hexdigest())
    return content


def test_fetches_once(mirror: Mirror, zipped: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "lake" / "_downloads"
    path = fetch("ml-1m", folder, mirror.url + "/")
    assert path == folder / "ml-1m.zip"
    assert path.read_bytes() == zipped
    assert fetch("ml-1m", folder, mirror.url) == path
    assert mirror.asked == [("/sets/ml-1m.zip", "")]
    assert "md5 fits" in capsys.readouterr().out
    assert [p.name for p in folder.iterdir()] == ["ml-1m.zip"]


def test_of_two_at_once_one_fetches_and_the_other_waits(
    mirror: Mirror, zipped: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror.may_go_on.clear()
    with ThreadPoolExecutor(2) as pool:
        paths = [pool.submit(fetch, "ml-latest", tmp_path, mirror.url) for _ in range(2)]
        deadline = time.monotonic() + 5
        said = ""
        while "another run is fetching it" not in said and time.monotonic() < deadline:
            time.sleep(0.05)
            said += capsys.readouterr().out
        mirror.may_go_on.set()
        assert [path.result().read_bytes() for path in paths] == [zipped, zipped]
    assert said == f"{tmp_path}/ml-latest.zip: another run is fetching it; waiting for that\n"
    assert [path for path, _ in mirror.asked] == ["/sets/ml-latest.zip.md5", "/sets/ml-latest.zip"]
    assert [path.name for path in tmp_path.iterdir()] == ["ml-latest.zip"]


def test_a_link_in_the_place_of_a_part_is_not_followed(mirror: Mirror, zipped: bytes, tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    folder = tmp_path / "downloads"
    folder.mkdir()
    (folder / "ml-1m.zip.part").symlink_to(tmp_path / "precious")
    assert fetch("ml-1m", folder, mirror.url).read_bytes() == zipped
    assert (tmp_path / "precious").read_bytes() == b"precious"
    (folder / "ml-1m.zip").unlink()
    (folder / ".ml-1m.zip.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(UserError, match=r"cannot keep ml-1m\.zip here"):
        fetch("ml-1m", folder, mirror.url)


def test_a_damaged_copy_is_fetched_again(mirror: Mirror, zipped: bytes, tmp_path: Path) -> None:
    (tmp_path / "ml-1m.zip").write_bytes(zipped[:-1])
    assert fetch("ml-1m", tmp_path, mirror.url).read_bytes() == zipped


def test_a_wrong_checksum_leaves_no_file(mirror: Mirror, zipped: bytes, tmp_path: Path) -> None:
    mirror.files["ml-1m.zip"] = zipped.replace(b"978300760", b"978300761", 1)
    with pytest.raises(UserError, match=r"ml-1m\.zip: .*md5 is .* expected.*removed"):
        fetch("ml-1m", tmp_path, mirror.url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ranges", [True, False])
def test_goes_on_after_an_interruption_or_starts_anew(
    mirror: Mirror, zipped: bytes, tmp_path: Path, ranges: bool
) -> None:
    mirror.ranges, mirror.stop_after = ranges, 4000
    with pytest.raises(UserError, match=f"broke off after 4000 of {len(zipped)} bytes; run again .*--source"):
        fetch("ml-1m", tmp_path, mirror.url)
    assert [(p.name, p.stat().st_size) for p in tmp_path.iterdir()] == [("ml-1m.zip.part", 4000)]
    mirror.stop_after = 0
    assert fetch("ml-1m", tmp_path, mirror.url).read_bytes() == zipped
    assert mirror.asked[-1] == ("/sets/ml-1m.zip", "bytes=4000-")
    assert [p.name for p in tmp_path.iterdir()] == ["ml-1m.zip"]


def test_a_part_that_is_too_long_is_thrown_away(mirror: Mirror, zipped: bytes, tmp_path: Path) -> None:
    (tmp_path / "ml-1m.zip.part").write_bytes(zipped + b"more")
    assert fetch("ml-1m", tmp_path, mirror.url).read_bytes() == zipped


def test_an_edition_without_a_pin_uses_the_md5_beside_it(
    mirror: Mirror, zipped: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror.files["ml-latest.zip.md5"] = f"MD5 (ml-latest.zip) = {hashlib.md5(zipped).hexdigest()}\n".encode()
    (tmp_path / "ml-latest.zip.part").write_bytes(b"half of an older edition")
    assert fetch("ml-latest", tmp_path, mirror.url).read_bytes() == zipped
    assert "fits" in capsys.readouterr().out
    asked = len(mirror.asked)
    fetch("ml-latest", tmp_path, mirror.url)
    assert len(mirror.asked) == asked
    (tmp_path / "ml-latest.zip").unlink()
    mirror.files["ml-latest.zip.md5"] = b"0" * 32
    with pytest.raises(UserError, match="0000 was expected"):
        fetch("ml-latest", tmp_path, mirror.url)


def test_without_any_md5_the_zip_itself_is_checked(
    mirror: Mirror, zipped: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch("ml-latest", tmp_path, mirror.url).read_bytes() == zipped
    assert "no md5 is published, its CRCs fit" in capsys.readouterr().out
    (tmp_path / "ml-latest.zip").unlink()
    mirror.files["ml-latest.zip"] = zipped.replace(b"978300760", b"978300761", 1)
    with pytest.raises(UserError, match="not a sound zip"):
        fetch("ml-latest", tmp_path, mirror.url)
    assert list(tmp_path.iterdir()) == []


def test_an_unreachable_server_says_what_to_do(mirror: Mirror, tmp_path: Path) -> None:
    by_hand = r"fetch .*ml-1m\.zip by hand and pass --dataset ml-1m --source PATH/ml-1m\.zip"
    with pytest.raises(UserError, match=f"answers 404 .*{by_hand}"):
        fetch("ml-1m", tmp_path, mirror.url)
    with pytest.raises(UserError, match=f"cannot reach the server .*{by_hand}"):
        fetch("ml-1m", tmp_path, "http://127.0.0.1:1")
    with pytest.raises(UserError, match="must start with http"):
        fetch("ml-1m", tmp_path, "ftp://x")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot keep ml-1m\.zip here"):
        fetch("ml-1m", tmp_path / "file" / "sub", mirror.url)


def test_a_local_copy_is_held_against_the_pin(zipped: bytes, tmp_path: Path) -> None:
    copy = tmp_path / "copy.zip"
    copy.write_bytes(zipped)
    assert "fits" in verify(copy, "ml-1m")
    with pytest.raises(UserError, match=r"copy\.zip: md5 is .*ml-20m"):
        verify(copy, "ml-20m")
    assert "no fixed checksum" in verify(copy, "ml-latest-small")


def test_every_fixed_edition_is_pinned() -> None:
    assert {name for name, md5 in EDITIONS.items() if md5 is None} == {"ml-latest", "ml-latest-small"}
    assert all(len(md5) == 32 for md5 in EDITIONS.values() if md5)
