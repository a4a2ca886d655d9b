"""The command itself, over a lake on disk: in a real browser, on a new version of the index, at its end."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright
from tests_root import ROOT
from webapp.small_lake import PAGES, write_lake

from lakerank.cli.errors import UserError
from lakerank.webapp import server as server_module
from lakerank.webapp.store import NewestSite
from spark_jobs import serve

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-headless-shell", "google-chrome"))), None)


@dataclass
class Server:
    """A running `serve`."""

    process: subprocess.Popen[str]
    lake: Path
    address: str

    def get(self, path: str) -> dict[str, object]:
        with urllib.request.urlopen(self.address + path, timeout=10) as answer:
            return json.load(answer)


def start(lake: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "spark_jobs.serve", "--lake", str(lake), "--port", "0", *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)


def until(process: subprocess.Popen[str], sign: str) -> str:
    """The first line with a sign in it."""
    said = []
    for line in process.stdout or ():
        said.append(line)
        if sign in line:
            return line
    raise AssertionError("".join(said))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    lake = tmp_path_factory.mktemp("lake")
    write_lake(lake, PAGES)
    process = start(lake, "--refresh", "0.2", "--json")
    try:
        line = until(process, "Ctrl-C ends it")
        yield Server(process, lake, line.split()[1].rstrip("/"))
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here: scripts/setup_browser.sh installs it")
    root = hasattr(os, "geteuid") and os.geteuid() == 0  # Chromium's sandbox refuses to run as root
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"] if root else [])
        yield started
        started.close()


@pytest.fixture
def said() -> list[str]:
    """What the browser's console says."""
    return []


@pytest.fixture
def open_at(browser: Browser, said: list[str]) -> Iterator[Callable[[int, int], Page]]:
    contexts = []

    def at(width: int, height: int) -> Page:
        contexts.append(browser.new_context(viewport={"width": width, "height": height}))
        page = contexts[-1].new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        return page

    yield at
    for context in contexts:
        context.close()


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_a_reader_searches_asks_why_and_follows_links(
    server: Server, open_at: Callable[[int, int], Page], said: list[str], width: int, height: int
) -> None:
    page = open_at(width, height)

    def fits() -> None:
        assert page.evaluate("document.documentElement.scrollWidth") == width

    page.goto(server.address)
    expect(page.get_by_label("Search the pages")).to_be_focused()
    fits()
    page.get_by_label("Search the pages").fill("broadcasting arrays")
    page.get_by_role("button", name="Search").click()

    first = page.locator(".result").first
    expect(first.locator(".snippet mark").first).to_have_text("Broadcasting")
    assert first.locator("mark").first.evaluate("e => getComputedStyle(e).fontWeight") == "750"  # the style came
    bar = first.get_by_role("img", name="Rank by links: 100 of 100")
    assert bar.locator(".part").bounding_box()["width"] > 60
    fits()

    table = first.locator(".why table")
    expect(table).to_be_hidden()
    first.get_by_text("Why this result").click()
    expect(table).to_be_visible()
    expect(table.locator("tfoot")).to_contain_text("sum")
    fits()
    first.get_by_text("Same content: 1 more").click()
    expect(first.locator(".copies a")).to_have_text("example.org/2")

    first.get_by_role("link", name="Page and links").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Broadcasting arrays")
    incoming = page.get_by_role("region", name="Links to this page")
    expect(incoming.get_by_role("listitem")).to_have_count(3)
    expect(incoming.get_by_text("stretching arrays")).to_be_visible()
    fits()
    page.get_by_role("link", name="← Results for broadcasting arrays").click()
    expect(page.locator(".result")).not_to_have_count(0)

    # The keyboard reaches everything: from the box over the button to the first title.
    page.get_by_label("Search the pages").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.locator(".result h2 a").first).to_be_focused()
    assert said == []


def test_suggestions_by_keyboard_and_by_hand(
    server: Server, open_at: Callable[[int, int], Page], said: list[str]
) -> None:
    page = open_at(390, 844)
    page.goto(f"{server.address}/?q=noodles")
    box = page.get_by_role("combobox", name="Search the pages")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the results")).to_be_focused()
    expect(page.get_by_role("link", name="Skip to the results")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("/")
    expect(box).to_be_focused()
    assert box.input_value() == "noodles", "the sign went to the box, not into it"
    page.keyboard.type("broad")
    options = page.get_by_role("option")
    expect(options.first).to_have_text("Broadcasting arrays")
    expect(box).to_have_attribute("aria-expanded", "true")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.keyboard.press("ArrowDown")
    expect(box).to_have_value("Broadcasting arrays")
    expect(options.first).to_have_attribute("aria-selected", "true")
    assert box.get_attribute("aria-activedescendant") == options.first.get_attribute("id")
    page.keyboard.press("Escape")
    expect(box).to_have_value("broad")
    expect(options).to_have_count(0)
    page.keyboard.type("c")
    options.first.click()
    expect(page.locator(".result").first).to_contain_text("Broadcasting")
    assert "q=Broadcasting" in page.url
    page.wait_for_load_state()
    page.keyboard.press("/")
    page.keyboard.type("/")
    expect(box).to_have_value("/")
    assert said == []


def test_hostile_markup_runs_nothing(server: Server, open_at: Callable[[int, int], Page], said: list[str]) -> None:
    page = open_at(390, 844)
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.goto(f"{server.address}/?q=%3Cscript%3Ealert(1)%3C/script%3E+hostile")
    expect(page.locator(".result h2").first).to_contain_text('<script>alert("x")</script>')
    page.locator(".result h2 a").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("<script>")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert said == []


def test_a_new_version_of_the_index_is_picked_up_and_ctrl_c_ends_it(server: Server) -> None:
    assert server.get("/healthz") == {"status": "ok", "pages": 30, "version": 1}
    write_lake(server.lake, [{"page_id": 9, "title": "Fresh", "text": "fresh noodles"}])
    wait_until(lambda: server.get("/healthz")["version"] == 2)
    assert [row["url"] for row in server.get("/api/search?q=noodles")["results"]] == ["https://example.org/9"]

    # One that cannot be opened changes nothing for readers.
    shutil.move(server.lake / "publications", server.lake / "elsewhere")
    until(server.process, "the old one stays: no Delta table `index_documents`")
    assert server.get("/healthz") == {"status": "ok", "pages": 1, "version": 2}

    server.process.send_signal(signal.SIGINT)
    rest, _ = server.process.communicate(timeout=20)
    assert server.process.returncode == 0
    assert "Traceback" not in rest
    assert json.loads(rest.splitlines()[-1])["pages"] == 1


def wait_until(done: Callable[[], bool], seconds: float = 20.0) -> None:
    over = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < over, "it did not happen"
        time.sleep(0.1)


def test_no_index_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert serve.main(["--lake", str(tmp_path), "--port", "0"]) == 2
    said = capsys.readouterr().err
    assert "no Delta table `index_documents`" in said
    assert "run build_index first" in said
    assert len(said.splitlines()) == 1


def test_a_taken_port_or_a_strange_address_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert serve.main(["--lake", str(tmp_path), "--port", str(port)]) == 2
    assert f"cannot listen on 127.0.0.1, port {port}" in capsys.readouterr().err
    assert serve.main(["--lake", str(tmp_path), "--host", "192.0.2.1"]) == 2
    assert "choose another --port or --host" in capsys.readouterr().err


def newest(lake: Path, links: str = "", cache_dir: str = "") -> NewestSite:
    return NewestSite(str(lake), links, cache_dir, lambda: pytest.fail("asked for Spark"))


def test_a_lake_without_links_is_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_lake(tmp_path, PAGES, with_links=False)
    shown = newest(tmp_path)
    assert shown.site.view(1).incoming is None
    assert "shown without links: no Delta table `links`" in capsys.readouterr().out
    assert (tmp_path / "_index_cache").is_dir()
    assert newest(tmp_path, "none").site.links is None
    assert "shown without links" not in capsys.readouterr().out
    with pytest.raises(UserError, match="no Delta table `links` at elsewhere"):
        newest(tmp_path, "elsewhere")


def test_the_cache_folder_takes_what_is_decoded(tmp_path: Path) -> None:
    write_lake(tmp_path / "lake", PAGES)
    assert len(newest(tmp_path / "lake", cache_dir=str(tmp_path / "other")).site) == 30
    assert (tmp_path / "other").is_dir()
    assert not (tmp_path / "lake" / "_index_cache").exists()


def test_connections_that_ask_nothing_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "WAITED_FOR_REQUEST", 0.3)
    begun, over = threading.Event(), threading.Event()

    async def app(
        scope: dict[str, object], receive: object, send: Callable[[dict[str, object]], Awaitable[None]]
    ) -> None:
        body = b"ok" if scope["path"] == "/" else b"x" * 8_000_000
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        if body != b"ok":
            begun.set()
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        if body != b"ok":
            over.set()  # not before somebody has read it, or the connection is ended

    bound = server_module.bind("127.0.0.1", 0)
    bound.listen()
    settings = uvicorn.Config(app, log_level="error", lifespan="off", http=server_module.ImpatientProtocol)
    running = uvicorn.Server(settings)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    try:
        unread = socket.create_connection(bound.getsockname())
        unread.sendall(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n" * 30)
        assert begun.wait(10)
        silent, halting, asking = (socket.create_connection(bound.getsockname()) for _ in range(3))
        for connection in (silent, halting, asking):
            connection.settimeout(10)
        halting.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
        asking.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        said = b""
        while not said.endswith(b"ok"):
            said += asking.recv(1000)
        asking.sendall(b"GET ")  # the next request never ends
        for connection in (silent, halting, asking):
            with contextlib.suppress(ConnectionResetError):  # as good an end
                assert connection.recv(1000) == b""
        assert over.wait(10), "a connection that reads no answer holds its request for ever"
    finally:
        running.should_exit = True
        thread.join()
