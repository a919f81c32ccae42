"""An exported page asked as people ask it: in Chromium, without a window or a network."""

import base64
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.extras import is_installed

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SECONDS = 60
_ASK = """async ([width, height, text]) => {
  const rgb = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return await classify({ array: { width, height, rgb } });
}"""


class PageRunner:
    """A page that is open in a browser.

    Args:
        page: Playwright's page, whose calls must come from the thread of `executor`.
        executor: Its one thread.
        browser: Name and version of the browser.
    """

    def __init__(self, page: Any, executor: ThreadPoolExecutor, browser: str) -> None:
        self._page, self._executor = page, executor
        self.browser = browser

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities of an image.

        Args:
            image: (H, W, 3) uint8 RGB of any size.

        Returns:
            (C,) float32.
        """
        return np.array(self.answer(image)["probabilities"], np.float32)

    def answer(self, image: NDArray[np.uint8]) -> dict[str, Any]:
        """All that the page's worker says of an image.

        Args:
            image: (H, W, 3) uint8 RGB of any size.

        Returns:
            "probabilities", "distance" and "isUnlike".
        """
        height, width = image.shape[:2]
        arguments = [width, height, text_of(image)]
        asked = self._executor.submit(self._page.evaluate, _ASK, arguments)
        found: dict[str, Any] = asked.result()
        return found


def text_of(image: NDArray[np.uint8]) -> str:
    """An image's bytes as base64, for a page.

    Args:
        image: (H, W, 3) uint8.

    Returns:
        The text.
    """
    return base64.b64encode(np.ascontiguousarray(image).tobytes()).decode()


def find_chromium() -> str | None:
    """Where a browser is that can try a page out.

    Returns:
        Its path; None where there is none, or nothing to drive it with.
    """
    if not is_installed("playwright"):
        return None
    return next(filter(None, map(shutil.which, _NAMES)), None)


@contextmanager
def page_runner(path: Path, chromium: str) -> Iterator[PageRunner]:
    """Open an exported page in a browser.

    Args:
        path: The page.
        chromium: The browser, see `find_chromium`.

    Yields:
        What asks it.

    Raises:
        playwright.sync_api.Error: When the browser or the page does not start.
    """
    from playwright.sync_api import sync_playwright

    # A thread of its own: a notebook's has an event loop, which Playwright refuses.
    with ThreadPoolExecutor(1, thread_name_prefix="handful-browser") as executor:
        playwright = executor.submit(lambda: sync_playwright().start()).result()
        try:
            browser, page = executor.submit(_open, playwright, path, chromium).result()
            yield PageRunner(page, executor, f"Chromium {browser.version}")
            executor.submit(browser.close).result()
        finally:
            executor.submit(playwright.stop).result()


def _open(playwright: Any, path: Path, chromium: str) -> tuple[Any, Any]:
    browser = playwright.chromium.launch(executable_path=chromium)
    page = browser.new_context(offline=True).new_page()
    page.set_default_timeout(1000 * _SECONDS)
    page.goto(path.resolve().as_uri())
    page.wait_for_selector("body[data-state]")
    page.evaluate("() => ready")
    return browser, page
