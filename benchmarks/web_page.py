"""A classifier as one web page: how large, how fast, and whether it answers as `predict` does.

    python benchmarks/web_page.py RUN PHOTOS

RUN is a run, PHOTOS a folder or zip of photos to ask both about. Chromium must be installed. It
prints a row of the table in docs/serving.md. Photos go through the page as files, so that the
browser's decoder is compared too; the camera is Chromium's own moving picture.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from handful.data.index import ImageIndex, load_unlabeled
from handful.exporting.export_jobs import export
from handful.exporting.web_browser import find_chromium
from handful.models.classifier import Classifier
from handful.reporting import Reporter

AT_ONCE = 50
CAMERA_SECONDS = 5.0
_ANSWERS = "() => [...answers.values()].map((answer) => answer.probabilities)"
_DONE = "() => $('status').textContent.includes(' done') && !$('status').textContent.includes('…')"


def main() -> None:
    """Export, ask, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--precision")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = export(
            given.run, "web", precision=given.precision, output=Path(folder) / "page",
            reporter=Reporter(),
        )  # fmt: skip
        index = load_unlabeled(given.photos)
        found, figures = ask_page(made.file, index)
    own = Classifier.load(given.run).predict_index(index)
    assert not own.index.rejected, "give photos that can all be read"
    differences = np.abs(found - own.probabilities).max(axis=1)
    others = int((found.argmax(axis=1) != own.probabilities.argmax(axis=1)).sum())
    print(f"{made.precision}, {made.num_bytes / 1e6:.1f} MB, unusual photos: {made.tells_unusual}")
    print(f"{others} of {len(index)} files are named otherwise than by predict")
    print(f"difference of a probability: median {np.median(differences):.2g}, ", end="")
    print(f"99 of 100 within {np.quantile(differences, 0.99):.2g}, most {differences.max():.2g}")
    for name, value in figures.items():
        print(f"{name}: {value:.2f}")


def ask_page(path: Path, index: ImageIndex) -> tuple[Any, dict[str, float]]:
    """Probabilities (N, C) of photos' files, and seconds."""
    from playwright.sync_api import sync_playwright

    arguments = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=arguments)
        page = browser.new_context(offline=True).new_page()
        page.set_default_timeout(600_000)
        start = time.perf_counter()
        page.goto(path.as_uri())
        page.wait_for_selector("body[data-state=ready]")
        figures = {"seconds until it is ready": time.perf_counter() - start}
        rows = []
        start = time.perf_counter()
        for first in range(0, len(index), AT_ONCE):
            numbers = range(first, min(first + AT_ONCE, len(index)))
            files = [
                {"name": f"{row}", "mimeType": "image/jpeg", "buffer": index.read(row)}
                for row in numbers
            ]
            page.set_input_files("#choose", files)
            page.wait_for_function(_DONE)
            rows += page.evaluate(_ANSWERS)
            page.click("#clear")
        figures["photos a second, from files"] = len(index) / (time.perf_counter() - start)
        page.click("#camera")
        page.wait_for_function("() => frames >= 5")
        before, start = page.evaluate("frames"), time.perf_counter()
        page.wait_for_timeout(1000 * CAMERA_SECONDS)
        count = page.evaluate("frames") - before
        figures["camera frames a second"] = count / (time.perf_counter() - start)
        browser.close()
    return np.array(rows), figures


if __name__ == "__main__":
    main()
