"""Write the links between the pages of a folder of HTML as an edge list: `site_links.py FOLDER BASE_URL OUT`.

The demo ranks the hand-written site in `examples/site` with it. Links marked nofollow are not votes and are
left out; so are links within a page.
"""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import urldefrag, urljoin

from selectolax.lexbor import LexborHTMLParser


def links(page: Path, url: str) -> list[str]:
    """Targets of a page's links, absolute, without fragments, in the order they stand."""
    anchors = LexborHTMLParser(page.read_text(encoding="utf-8")).css("a[href]")
    followed = [a for a in anchors if "nofollow" not in (a.attributes.get("rel") or "").split()]
    return [urldefrag(urljoin(url, a.attributes["href"] or "")).url for a in followed]


def main() -> None:
    """Read all pages, write `source<TAB>target` lines."""
    folder, base, out = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    out.parent.mkdir(parents=True, exist_ok=True)
    lines = ["# source\ttarget"]
    for page in sorted(folder.rglob("*.html")):
        url = urljoin(base, page.relative_to(folder).as_posix())
        lines += [f"{url}\t{target}" for target in links(page, url) if target != url]
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines) - 1} links between pages of {folder} in {out}")


if __name__ == "__main__":
    main()
