"""Ask for every web address in the documentation and the code: `python scripts/check_links.py`.

Not part of CI, which has no internet. Exit code 1 if an address is dead; one that has moved for good is named. Places
that answer only browsers (403, 429) are named too, and count as there.
"""

from __future__ import annotations

import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ADDRESS = re.compile(r"https?://[^\s<>\"'`)\]}|\\]+")
# Names that are examples, variables, this machine, and namespaces of XML.
NOT_MEANT = re.compile(
    r"://(…|site\.org|[\w.-]*example(\.\w+)?\b|localhost|127\.|host\b|www\.w3\.org/(1999|2000)|[^/]*[{$%])"
)
REDIRECTS_FOR_GOOD = (301, 308)


class _Stay(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer, not to be followed."""

    def redirect_request(self, *_: object) -> None:
        """None: it is raised."""


def pages(root: Path = ROOT) -> list[Path]:
    """Where people meet addresses: documents and the code of both packages."""
    found = [*root.glob("*.md"), *root.glob("docs/**/*.md")]
    return sorted(
        [*found, *root.glob("lakerank/**/*.py"), *root.glob("spark_jobs/**/*.py"), *root.glob("sr_model/**/*.py")]
    )


def addresses(page: Path) -> Iterator[str]:
    """Addresses of a page that are meant to be followed."""
    for found in ADDRESS.findall(page.read_text(encoding="utf-8")):
        address = found.rstrip(".,;:*")
        if not NOT_MEANT.search(address):
            yield address


def ask(address: str) -> tuple[str, str]:
    """(`ok`, `moved`, `shy` or `dead`, what it said)."""
    request = urllib.request.Request(address, headers={"User-Agent": "Mozilla/5.0 (link check)"})  # noqa: S310
    try:
        with urllib.request.build_opener(_Stay).open(request, timeout=20) as answer:
            return "ok", str(answer.status)
    except urllib.error.HTTPError as error:
        if error.code in REDIRECTS_FOR_GOOD:
            return "moved", f"to {error.headers.get('Location')}"
        if 300 <= error.code < 400:
            return "ok", str(error.code)
        return ("shy" if error.code in (403, 429) else "dead"), str(error.code)
    except (OSError, ValueError) as error:
        return "dead", str(getattr(error, "reason", error))


def main(root: Path = ROOT) -> int:
    """Ask for all, print what is not plainly there."""
    where: dict[str, Path] = {}
    for page in pages(root):
        for address in addresses(page):
            where.setdefault(address, page.relative_to(root))
    with ThreadPoolExecutor(8) as pool:
        answers = dict(zip(where, pool.map(ask, where), strict=True))
    for address, (state, said) in answers.items():
        if state != "ok":
            print(f"{state}: {address} ({said}), {where[address]}")
    dead = sum(state == "dead" for state, _ in answers.values())
    print(f"{len(where)} addresses, {dead} dead")
    return 1 if dead else 0


if __name__ == "__main__":
    sys.exit(main())
