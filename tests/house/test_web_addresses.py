"""Web addresses: the check of them, against a server that the test plays, and their form."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests_root import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import check_links

ANSWERS = {"/good": 200, "/moved": 301, "/elsewhere": 302, "/shy": 403}


@pytest.fixture
def server() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(ANSWERS.get(self.path, 404))
            self.send_header("Location", "/good")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_good_moved_and_dead_addresses(
    server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_links, "NOT_MEANT", check_links.re.compile("example.org"))
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "a.md"
    page.write_text(f"[a]({server}/good) [b]({server}/moved), {server}/elsewhere. `{server}/shy` https://example.org/x")
    assert check_links.main(tmp_path) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"moved: {server}/moved (to /good), docs/a.md",
        f"shy: {server}/shy (403), docs/a.md",
        "4 addresses, 0 dead",
    ]
    page.write_text(f"[a]({server}/gone) http://127.0.0.1:9/")
    assert check_links.main(tmp_path) == 1
    said = capsys.readouterr().out
    assert f"dead: {server}/gone (404), docs/a.md" in said
    assert "dead: http://127.0.0.1:9/ (" in said


def test_every_address_is_https_and_well_formed() -> None:
    found = {address: page for page in check_links.pages() for address in check_links.addresses(page)}
    assert len(found) >= 5
    for address, page in found.items():
        parts = urlsplit(address)
        assert parts.scheme == "https", f"{page}: {address}"
        assert "." in (parts.hostname or ""), f"{page}: {address}"


@pytest.mark.parametrize(
    "text", ["https://…", "http://127.0.0.1:8080/", "https://x.example/a", "https://example.org/b"]
)
def test_examples_are_not_asked_for(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.md").write_text(text)
    assert list(check_links.addresses(tmp_path / "a.md")) == []
