"""How fast the studio's page of photos is with ten thousand of them, and while it trains.

    python benchmarks/studio_grid.py [cats_and_dogs_filtered.zip] [--photos 10000] [--folder DIR]

Photos of a zip are written as files until there are so many, as `projects.py` does; they are looked
through and their small pictures made once, by the studio itself, before anything is timed (in DIR,
which a second run finds as it is). Chromium must be installed; browser, studio and training share
the processor.
"""

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from handful.exporting.web_browser import find_chromium
from handful.projects.project import Project
from pipelines import find_photos, machine
from projects import write_photos

NUM_LABELED, NUM_CLICKS, NUM_SCROLLS = 400, 20, 30
# Milliseconds from a key to the line that says what was done, and to the next picture on screen.
KEY = """async (key) => {
  const area = document.querySelector(".toast"), began = performance.now();
  const said = new Promise((done) => {
    const seen = new MutationObserver(() => { seen.disconnect(); done(); });
    seen.observe(area, {childList: true, subtree: true, characterData: true});
  });
  window.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
  await said;
  await new Promise(requestAnimationFrame);
  return performance.now() - began;
}"""
CLICK = """async (at) => {
  const cell = document.querySelectorAll(".cell")[at], began = performance.now();
  cell.click();
  while (document.querySelectorAll(".cell")[at].ariaSelected !== "true")
    await new Promise(requestAnimationFrame);
  return performance.now() - began;
}"""
# Whether rows in sight are empty two frames after a jump; how long until all pictures are there.
JUMP = """async (share) => {
  const grid = document.querySelector(".grid"), began = performance.now();
  grid.scrollTop = share * (grid.scrollHeight - grid.clientHeight);
  const frame = () => new Promise(requestAnimationFrame);
  await frame(); await frame();
  const box = grid.getBoundingClientRect(), all = grid.querySelector(":scope > div");
  const cells = [...document.querySelectorAll(".cell")].map((one) => one.getBoundingClientRect());
  const end = Math.min(box.bottom, all.getBoundingClientRect().bottom);
  const gap = !cells.length || Math.min(...cells.map((one) => one.top)) > box.top + 15
    || Math.max(...cells.map((one) => one.bottom)) < end - 15;
  const inSight = () => [...document.querySelectorAll(".cell img")].filter((one) => {
    const at = one.getBoundingClientRect();
    return at.bottom > box.top && at.top < box.bottom;
  });
  const isThere = (one) => one.complete && one.naturalWidth;
  while (!inSight().length || !inSight().every(isThere)) await frame();
  return [gap, performance.now() - began];
}"""


@contextmanager
def studio(folder: Path, *arguments: str) -> Iterator[tuple[str, int]]:
    """A studio's address and its process."""
    command = [sys.executable, "-m", "handful", "studio", *arguments, "--port", "0"]
    with subprocess.Popen(
        [*command, "--no-browser"], cwd=folder, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield re.findall(r"http://\S+", process.stdout.readline())[0], process.pid
        finally:
            process.send_signal(signal.SIGINT)


def memory_of(pid: int) -> str:
    """What the server holds, and held at most."""
    text = Path(f"/proc/{pid}/status").read_text()
    now, most = (int(re.findall(rf"{name}:\s+(\d+)", text)[0]) / 1e3 for name in ("VmRSS", "VmHWM"))
    return f"{now:.0f} MB, at most {most:.0f} MB"


def show(page: Any, address: str) -> float:
    """Seconds until the pictures of the first screen are there."""
    started = time.perf_counter()
    page.goto(address)
    page.locator(".cell img").first.wait_for()
    page.evaluate(JUMP, 0)
    return time.perf_counter() - started


def told(name: str, found: list[float]) -> None:
    """Print the middle and the worst of several."""
    print(f"{name}: {statistics.median(found):.0f} ms, at worst {max(found):.0f} ms", flush=True)


def measure_keys(page: Any, when: str) -> None:
    """Clicks, and keys that label."""
    told(f"a click selects, {when}", [page.evaluate(CLICK, at) for at in range(NUM_CLICKS)])
    page.keyboard.press("Escape")
    found = []
    for number in range(NUM_CLICKS):
        # Left out and unsorted in turn: each time something else is said.
        page.evaluate(CLICK, number // 2)
        found.append(page.evaluate(KEY, "xu"[number % 2]))
        page.wait_for_timeout(200)
    told(f"a key labels, {when}", found)


def prepare(root: Path, number: int, archive: Path) -> None:
    """A project with so many photos, some of them labeled."""
    write_photos(archive, root / "photos", number)
    started = time.perf_counter()
    with studio(root, "photos") as (_, pid):
        while len(list((root / "photos.handful/thumbnails").rglob("*.webp"))) < number:
            time.sleep(0.5)
        seconds = time.perf_counter() - started
        print(f"looked through, small pictures made: {seconds:.0f} s; server {memory_of(pid)}")
    project = Project.open(root / "photos.handful")
    for photo in project.photos[:NUM_LABELED]:
        project.labels.assign([photo.id], "cat" if int(photo.name[:5]) % 2 else "dog")


def measure(page: Any, address: str, pid: int) -> None:
    """Print what each step takes."""
    print(f"first grid: {show(page, address):.1f} s; again {show(page, address):.1f} s")
    jumps = [page.evaluate(JUMP, (7 * n % NUM_SCROLLS) / NUM_SCROLLS) for n in range(NUM_SCROLLS)]
    print(f"jumps of the grid: {sum(gap for gap, _ in jumps)} of {len(jumps)} with a gap")
    told("all pictures in sight after a jump", [found for _, found in jumps])
    page.evaluate(JUMP, 0)
    measure_keys(page, "nothing else running")
    training = page.context.new_page()
    training.goto(address.partition("?")[0] + "train")
    training.get_by_role("button", name="Train", exact=True).click()
    training.get_by_role("button", name="Cancel").wait_for()
    page.bring_to_front()
    measure_keys(page, "while it trains")
    still = training.get_by_role("button", name="Cancel").is_visible()
    print(f"the training {'went on all the time' if still else 'ended meanwhile'}")
    print(f"server: {memory_of(pid)}")


def main() -> None:
    """Make the project, open it in a browser, and print."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", nargs="?", type=Path)
    parser.add_argument("--photos", dest="number", type=int, default=10_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--prepare", action="store_true", help="make the project only")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        root = given.folder or Path(name)
        if not (root / "photos.handful").exists():
            prepare(root, given.number, find_photos(given.photos))
        if given.prepare:
            return
        print(f"{machine()}, load {os.getloadavg()[0]:.0f}", flush=True)
        with studio(root, "photos.handful") as (address, pid):
            browser = playwright.chromium.launch(
                executable_path=find_chromium(), args=["--no-sandbox"]
            )
            page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
            page.set_default_timeout(120_000)
            measure(page, address, pid)
            browser.close()
    print(f"load at the end {os.getloadavg()[0]:.0f}")


if __name__ == "__main__":
    main()
