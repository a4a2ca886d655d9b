"""Web addresses: LinkChecker with our settings, against a server that the test plays, and the form of ours."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests_root import ROOT

ANSWERS = {"/": 200, "/good": 200, "/moved": 301, "/elsewhere": 302, "/shy": 403, "/busy": 429}
ADDRESS = re.compile(r"https?://[^\s<>\"'`)\]}|\\]+")
# Names that are examples, variables, this machine, and namespaces of XML.
NOT_MEANT = re.compile(
    r"://(…|site\.org|[\w.-]*example(\.\w+)?\b|localhost|127\.|host\b|www\.w3\.org/(1999|2000)|[^/]*[{$%])"
)


@pytest.fixture
def page() -> Iterator[tuple[str, list[str]]]:
    """A server's address, and the list of links that its first page will have."""
    links: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(ANSWERS.get(self.path, 404))
            self.send_header("Location", "/good")
            self.send_header("Content-Type", "text/html" if self.path == "/" else "text/plain")
            self.end_headers()
            if self.path == "/":
                self.wfile.write("".join(f'<a href="{link}">link</a>' for link in links).encode())

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", links
    server.shutdown()
    server.server_close()


def linkchecker(address: str, *flags: str) -> tuple[int, str]:
    """Exit code and output, white space made one."""
    command = [str(Path(sys.executable).parent / "linkchecker"), "-f", str(ROOT / "conf" / "linkchecker.ini"), *flags]
    done = subprocess.run([*command, "--no-robots", address], capture_output=True, text=True, timeout=120)
    return done.returncode, re.sub(r"\s+", " ", done.stdout)


def test_addresses_that_are_there_and_those_that_answer_browsers_only(page: tuple[str, list[str]]) -> None:
    server, links = page
    links += [f"{server}/good", f"{server}/shy", "https://example.org/x", "https://shop.example/a"]
    links += ["http://www.w3.org/2000/svg", "https://site.org/b"]
    code, said = linkchecker(f"{server}/", "-v")  # names all that it asked for
    assert code == 0, said
    assert re.search(r"/good' .*?Result Valid: 200 OK", said)
    assert re.search(r"/shy' .*?Result Valid: Ignored: 403 Forbidden", said)
    assert "0 warnings found. 0 errors found" in said


def test_addresses_that_have_moved_are_warnings(page: tuple[str, list[str]]) -> None:
    server, links = page
    links += [f"{server}{path}" for path in ("/moved", "/elsewhere", "/busy")]
    code, said = linkchecker(f"{server}/")
    assert code == 1
    assert f"Redirected to `{server}/good' status: 301 Moved" in said
    assert f"Redirected to `{server}/good' status: 302 Found" in said
    assert "[http-rate-limited]" in said
    assert "3 warnings found. 0 errors found" in said


def test_dead_addresses_and_refused_connections(page: tuple[str, list[str]]) -> None:
    server, links = page
    links += [f"{server}/gone", "http://127.0.0.1:9/"]
    code, said = linkchecker(f"{server}/")
    assert code == 1
    assert re.search(r"/gone' .*?Result Error: 404 Not Found", said)
    assert re.search(r"http://127\.0\.0\.1:9/' .*?Result Error: ConnectionError: .*?refused", said)
    assert "2 errors found" in said


def addresses(page: Path) -> Iterator[str]:
    """Addresses of a file that are meant to be followed."""
    for found in ADDRESS.findall(page.read_text(encoding="utf-8")):
        address = found.rstrip(".,;:*")
        if not NOT_MEANT.search(address):
            yield address


def test_every_address_is_https_and_well_formed() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    pages += [file for package in ("lakerank", "spark_jobs", "sr_model") for file in ROOT.glob(f"{package}/**/*.py")]
    found = {address: page for page in sorted(pages) for address in addresses(page)}
    assert len(found) >= 5
    for address, file in found.items():
        parts = urlsplit(address)
        assert parts.scheme == "https", f"{file}: {address}"
        assert "." in (parts.hostname or ""), f"{file}: {address}"


@pytest.mark.parametrize(
    "text", ["https://…", "http://127.0.0.1:8080/", "https://x.example/a", "https://example.org/b"]
)
def test_examples_are_not_asked_for(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.md").write_text(text)
    assert list(addresses(tmp_path / "a.md")) == []
