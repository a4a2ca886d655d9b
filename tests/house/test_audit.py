"""The audit of dependencies: pip-audit itself against a service that the test plays."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests_root import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import audit

ADVISORY = {
    "id": "GHSA-1111-2222-3333",
    "aliases": ["CVE-2026-0001"],
    "summary": "Reads what it should not",
    "affected": [
        {
            "package": {"name": "alpha", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.0.1"}]}],
        }
    ],
}
Answer = Callable[[str], tuple[int, object]]


@pytest.fixture
def service() -> Iterator[Callable[[Answer], str]]:
    """Starts a service that answers as told; its address."""
    servers = []

    def start(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, body = answer(asked["package"]["name"])
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/v1/query"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Audits two locked packages; the exit code and what was said."""
    try:
        audit.installed()
    except audit.AuditError as error:
        pytest.skip(str(error))

    def run(service: str, ignored: str = "", lock: str | None = None) -> tuple[int, str]:
        hashed = f"--hash=sha256:{'0' * 64}"
        (tmp_path / "lock").write_text(lock or f"alpha==1.0 {hashed}\nbeta==2.0 {hashed}\n")
        (tmp_path / "ignored.toml").write_text(f"[ignored]\n{ignored}")
        argv = ["--service", service, "--lock", str(tmp_path / "lock"), "--ignored", str(tmp_path / "ignored.toml")]
        code = audit.main(argv)
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def alpha_is_bad(name: str) -> tuple[int, object]:
    return 200, {"vulns": [ADVISORY]} if name == "alpha" else {}


def test_nothing_known(service, run) -> None:
    assert run(service(lambda name: (200, {}))) == (0, "audit: 2 packages, 0 advisories to act on, 0 let pass\n")


def test_a_known_advisory_fails(service, run) -> None:
    code, said = run(service(alpha_is_bad))
    assert code == 1
    assert "alpha 1.0: CVE-2026-0001, mended in 1.0.1: Reads what it should not" in said


@pytest.mark.parametrize("name", ["CVE-2026-0001", "GHSA-1111-2222-3333"])
def test_an_advisory_with_a_reason_is_let_pass(service, run, name: str) -> None:
    code, said = run(service(alpha_is_bad), f'"{name}" = "never called"')
    assert code == 0
    assert f"let pass: alpha 1.0: CVE-2026-0001 ({name}): never called" in said


def test_a_reason_that_applies_to_nothing_is_named(service, run) -> None:
    code, said = run(service(alpha_is_bad), '"CVE-1999-1" = "long ago"')
    assert code == 1
    assert "CVE-1999-1 in ignored.toml applies to nothing" in said


def test_no_service_is_said_and_does_not_fail(service, run) -> None:
    for address in (
        "http://127.0.0.1:9/v1/query",
        service(lambda name: (404, {})),
        service(lambda name: (200, "a page")),
        # It goes away after the first question.
        service(lambda name: (200, {}) if name in ("pip", "alpha") else (503, {})),
    ):
        code, said = run(address)
        assert code == 0, said
        assert said.startswith(f"audit: not audited: the advisory service {address} did not answer"), said


def test_a_lock_that_cannot_be_read_fails(service, run) -> None:
    code, said = run(service(lambda name: (200, {})), lock="alpha\n")
    assert code == 2
    assert "alpha" in said


def test_each_ignored_advisory_has_a_reason() -> None:
    ignored = audit.tomllib.loads((ROOT / "conf/audit.toml").read_text())["ignored"]
    assert all(len(reason) > 20 for reason in ignored.values())
