"""The studio in a real browser, for tests that look at its pages."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from handful.extras import is_installed

_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, _NAMES)), None)
# Where every check must run, what is missing is a failure and no reason to skip.
MUST_RUN = bool(os.environ.get("HANDFUL_BROWSER_TESTS"))
NEEDS_BROWSER = [
    pytest.mark.slow,
    pytest.mark.skipif(
        (CHROMIUM is None or not is_installed("nicegui")) and not MUST_RUN,
        reason="needs Chromium (Debian: apt install chromium) and the extra studio",
    ),
]
# Cameras that draw their own pictures, and may be used without asking.
FAKE_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@contextmanager
def studio(folder: Path, *arguments: str) -> Iterator[str]:
    """A studio in a process of its own; its full address."""
    command = [sys.executable, "-m", "handful", "studio", "--port", "0", "--no-browser", *arguments]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            (address,) = re.findall(r"http://127\.0\.0\.1:\d+/\?token=\S+", line)
            yield address
        finally:
            process.send_signal(signal.SIGINT)
    assert process.returncode == 0


@contextmanager
def chromium(*flags: str) -> Iterator[Any]:
    """A browser."""
    from playwright.sync_api import sync_playwright

    assert CHROMIUM is not None, "HANDFUL_BROWSER_TESTS is set and there is no Chromium"
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", *flags]
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield found
        found.close()


def open_page(browser: Any, address: str) -> tuple[Any, list[str]]:
    """A page, and faults that must not be there at the end."""
    page, faults = browser.new_context(viewport={"width": 1280, "height": 900}).new_page(), []
    page.set_default_timeout(120_000)
    own = address.partition("?")[0]
    page.on("pageerror", lambda error: faults.append(f"error: {error}"))

    def look(request: Any) -> None:
        if not request.url.startswith((own, own.replace("http", "ws"), "blob:", "data:")):
            faults.append(f"request to {request.url}")

    page.on("request", look)
    page.goto(address)
    return page, faults


def toast(page: Any, text: str) -> None:
    """Wait until the page says so."""
    page.locator(".toast", has_text=text).wait_for()


def make_class(page: Any, name: str) -> None:
    """Make a class on the page of photos."""
    page.get_by_label("Name of a new class").fill(name)
    page.keyboard.press("Enter")
    toast(page, f"There is a class {name} now.")
