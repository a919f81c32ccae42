"""Build the documentation's pages, and check them: `make docs`.

    python tools/build_docs.py [FOLDER]     build/site, unless a folder is named

A warning is an error, and so is a link or a picture that leads nowhere within the pages, and
anything that a page would load from another computer: a copy of the folder works offline.
"""

import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

PROJECT = Path(__file__).resolve().parent.parent
SITE = PROJECT / "build" / "site"
# What a browser fetches by itself, by element.
LOADED = {"img": "src", "script": "src", "link": "href", "source": "src", "iframe": "src"}


class Page(HTMLParser):
    """What a page names, and where it leads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: "list[tuple[str, str | None]]") -> None:
        """Note an element's name and its links."""
        given = {name: value or "" for name, value in attrs}
        self.names |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in LOADED and LOADED[tag] in given:
            self.loads.append(given[LOADED[tag]])


def broken_links(site: Path) -> "list[str]":
    """Find links that lead nowhere, and what pages would load from elsewhere.

    Args:
        site: Folder of HTML pages.

    Returns:
        A line for each.
    """
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    problems = []
    for path, page in sorted(pages.items()):
        here = path.relative_to(site)
        problems += [f"{here}: loads {link}" for link in page.loads if urlsplit(link).netloc]
        for link in dict.fromkeys([*page.links, *page.loads]):
            if urlsplit(link).scheme or urlsplit(link).netloc:
                continue
            place, fragment = map(unquote, urldefrag(link))
            target = (path.parent / place.partition("?")[0]).resolve() if place else path
            if not target.exists():
                problems.append(f"{here}: no {link}")
            elif fragment and target in pages and fragment not in pages[target].names:
                problems.append(f"{here}: nothing is called #{fragment} in {link}")
    return problems


def main() -> None:
    """Build and check."""
    site = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else SITE
    shutil.rmtree(site, ignore_errors=True)
    # From nothing each time: what was read before would be silent about its warnings.
    command = [sys.executable, "-m", "sphinx", "-b", "html", "--nitpicky", "--fail-on-warning"]
    command += ["--keep-going", "--quiet", "--fresh-env", "--doctree-dir", f"{site}-doctrees"]
    done = subprocess.run([*command, str(PROJECT / "docs"), str(site)], check=False)
    problems = broken_links(site) if site.is_dir() else []
    print(*problems, sep="\n", end="\n" if problems else "", file=sys.stderr)
    if done.returncode or problems:
        sys.exit("The pages are not as they should be; see above.")
    print(f"{len(list(site.rglob('*.html')))} pages: {site / 'index.html'}")


if __name__ == "__main__":
    main()
