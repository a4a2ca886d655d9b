"""Ask an advisory service about every locked package, by pip-audit: `make audit`.

Exit code 0: nothing known but what conf/audit.toml explains, or no answer, which is said ("not audited").
1: an advisory that is not explained. 2: pip-audit could not do its work.

pip-audit alone does not tell these apart: to its `pypi` service a package that an index does not know is clean, and its
`osv` service ends in a stack trace and 1 where there is no network.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PIP_AUDIT = "pip-audit==2.10.1"  # the release whose report and failures are read below
SERVICE = "https://api.osv.dev/v1/query"
SECONDS = 300
# In the stack trace pip-audit ends with when the service fails after it has answered once.
SERVICE_FAILED = re.compile(r"requests\.exceptions\.|ServiceError|Could not connect to OSV")


class NotAuditedError(Exception):
    """The service did not answer."""


class AuditError(Exception):
    """pip-audit could not do its work."""


def installed() -> Path:
    """Install pip-audit in an environment of its own, once; return its path."""
    home = ROOT / "build" / "audit"
    tool, mark = home / "bin" / "pip-audit", home / PIP_AUDIT
    if not mark.exists():
        uv = str(Path(sys.executable).parent / "uv")
        for command in (
            [uv, "venv", "-q", "--clear", "--python", sys.executable, str(home)],
            [uv, "pip", "install", "-q", "--python", str(home / "bin" / "python"), PIP_AUDIT],
        ):
            # The system's certificates, as set-up: a company's proxy is trusted there and nowhere else.
            trusting = {**os.environ, "UV_SYSTEM_CERTS": "true"}
            done = subprocess.run(command, capture_output=True, text=True, env=trusting)
            if done.returncode:
                raise AuditError(f"{PIP_AUDIT} could not be installed: {done.stderr.strip()}")
        mark.touch()
    return tool


def ask_once(service: str) -> None:
    """See whether the service answers, before anything is installed for it."""
    query = {"package": {"name": "pip", "ecosystem": "PyPI"}, "version": "20.0"}
    # The address is the caller's own.
    request = urllib.request.Request(service, json.dumps(query).encode())  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=15) as answer:  # noqa: S310
            if not isinstance(json.load(answer), dict):
                raise ValueError("it sent something else than advisories")
    except (OSError, ValueError) as error:
        raise NotAuditedError(str(error)) from error


def report_of(lock: Path, service: str) -> list[dict[str, object]]:
    """Run pip-audit; return its entry for each package of the lock."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [str(installed()), "-r", str(lock), "--disable-pip", "--require-hashes"]
        command += ["-s", "osv", "--osv-url", service, "-f", "json", "-o", str(report), "--progress-spinner", "off"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired as error:
            raise NotAuditedError(f"no end after {SECONDS} s") from error
        if not report.exists():
            said = done.stderr.strip().splitlines()[-1:]
            if SERVICE_FAILED.search(done.stderr):
                raise NotAuditedError(*said)
            raise AuditError(f"pip-audit: {done.stderr.strip()[-2000:]}")
        return list(json.loads(report.read_text(encoding="utf-8"))["dependencies"])


def judge(packages: list[dict[str, object]], ignored: Mapping[str, str]) -> tuple[list[str], list[str], list[str]]:
    """Sort advisories into those that fail, those that are explained, and unused names in `ignored`, as lines."""
    failing, explained, used = [], [], set()
    for package in packages:
        for one in package.get("vulns", ()):
            known = {one["id"], *one["aliases"]}
            line = f"{package['name']} {package['version']}: {one['id']}"
            if found := sorted(known & set(ignored)):
                used |= known & set(ignored)
                explained.append(f"{line} ({found[0]}): {ignored[found[0]]}")
            else:
                mended = ", ".join(one["fix_versions"]) or "no release"
                failing.append(f"{line}, mended in {mended}: {one['description'][:200]}")
    return failing, explained, sorted(set(ignored) - used)


def main(argv: list[str] | None = None) -> int:
    """Audit, print, and say by the exit code how it went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lock", type=Path, default=ROOT / "requirements.lock")
    parser.add_argument("--ignored", type=Path, default=ROOT / "conf" / "audit.toml")
    parser.add_argument("--service", default=SERVICE, help="speaks OSV's query API (default: %(default)s)")
    args = parser.parse_args(argv)
    ignored = tomllib.loads(args.ignored.read_text(encoding="utf-8"))["ignored"]
    try:
        ask_once(args.service)
        packages = report_of(args.lock, args.service)
    except NotAuditedError as error:
        print(f"audit: not audited: the advisory service {args.service} did not answer ({error})")
        return 0
    except AuditError as error:
        print(f"audit: {error}", file=sys.stderr)
        return 2
    failing, explained, stale = judge(packages, ignored)
    for line in explained:
        print(f"audit: let pass: {line}")
    for name in stale:
        print(f"audit: {name} in {args.ignored.name} applies to nothing; take it out")
    for line in failing:
        print(f"audit: {line}", file=sys.stderr)
    print(f"audit: {len(packages)} packages, {len(failing)} advisories to act on, {len(explained)} let pass")
    return 1 if failing else 0


if __name__ == "__main__":
    sys.exit(main())
