"""Use in a real browser, with a camera that draws its own pictures."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import draw_photo, write_photo
from handful.extras import is_installed
from handful.projects.project import Project
from handful.reporting import Reporter
from handful.workflows.train import train

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
# Where every check must run, what is missing is a failure and no reason to skip.
MUST_RUN = bool(os.environ.get("HANDFUL_BROWSER_TESTS"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        (CHROMIUM is None or not is_installed("nicegui")) and not MUST_RUN,
        reason="needs Chromium (Debian: apt install chromium) and the extra studio",
    ),
]
CAMERA = "--use-fake-device-for-media-stream"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a run, and photos beside it."""
    root = tmp_path_factory.mktemp("use")
    for number in range(12):
        for kind in ("round", "square"):
            write_photo(root / "sorted" / kind / f"{number}.jpg", draw_photo(kind, number))
    for number in range(3):
        write_photo(root / "field" / f"a{number}.jpg", draw_photo("round", 50 + number))
        write_photo(root / "field" / "more" / f"b{number}.jpg", draw_photo("square", 60 + number))
    project = Project.create(root / "work")
    for kind in ("round", "square"):
        project.labels.add_class(kind)
    train(root / "sorted", output=project.runs / "first", reporter=Reporter())
    return project.folder


@pytest.fixture(scope="module")
def address(work: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "handful", "studio", str(work), "--port", "0", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        (found,) = re.findall(r"http://127\.0\.0\.1:\d+/\?token=\S+", process.stdout.readline())
        yield found
        process.send_signal(signal.SIGINT)


@pytest.fixture(scope="module")
def browsers() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    assert CHROMIUM is not None, "HANDFUL_BROWSER_TESTS is set and there is no Chromium"
    with sync_playwright() as playwright:
        yield playwright.chromium


@pytest.fixture
def page(browsers: Any, address: str) -> Iterator[Any]:
    arguments = ["--no-sandbox", CAMERA, "--use-fake-ui-for-media-stream"]
    browser = browsers.launch(executable_path=CHROMIUM, args=arguments)
    found, faults = browser.new_page(), []
    found.set_default_timeout(30_000)
    found.on("pageerror", lambda error: faults.append(error))
    found.goto(address)
    found.goto(address.partition("?")[0] + "use")
    yield found
    browser.close()
    assert faults == []


def test_the_camera_is_answered_all_the_time(page: Any) -> None:
    page.get_by_role("button", name="Use the camera").click()
    page.locator(".live .bar-row").first.wait_for()
    page.locator(".rate", has_text="answers a second").wait_for()
    page.get_by_text("speaks for").wait_for()
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Go on").click()
    page.get_by_role("button", name="Keep this picture").click()
    kept = page.locator(".answers .answer", has_text="camera 1.jpg")
    kept.locator(".bar-row").first.wait_for()
    page.get_by_label("Wrong? What camera 1.jpg is").select_option("square")
    kept.get_by_text("camera 1.jpg is square now, and one of your photos.").wait_for()
    kept.get_by_role("button", name="Undo").click()
    kept.get_by_text("Taken back").wait_for()
    page.get_by_role("button", name="Close the camera").click()
    assert page.evaluate("() => document.querySelector('video').srcObject") is None
    assert page.locator(".live").is_hidden()


def test_a_folder_is_classified_corrected_and_copied(page: Any, work: Path) -> None:
    page.locator(".folder input").set_input_files(work.parent / "field")
    page.get_by_text("field: 6 photos, classified by first").wait_for()
    assert page.get_by_role("row").count() == 7
    page.get_by_label("What field/more/b0.jpg is").select_option("round")
    page.locator(".toast", has_text="b0.jpg is round now").wait_for()
    page.get_by_role("button", name=re.compile("^round")).click()
    page.locator(".chip[aria-pressed=true]", has_text="round").wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="Save as a table").click()
    lines = download.value.path().read_text().splitlines()
    assert len(lines) == 7 and lines[0].startswith("path,label,probability,round,square,")
    page.get_by_role("button", name="Copy into class folders").click()
    page.locator(".toast", has_text="6 photos copied to").wait_for()
    assert (work / "sorted" / "field" / "round" / "b0.jpg").is_file()
    page.get_by_role("button", name="Another folder").click()
    page.get_by_role("button", name="Choose a folder").wait_for()


def test_corrections_are_taken_and_ignored(page: Any, work: Path) -> None:
    project = Project.open(work)
    for number in range(3):
        photo = work.parent / "field" / f"a{number}.jpg"
        project.suggest(photo.name, photo.read_bytes(), "square", predicted="round", origin="serve")
    waiting = page.get_by_role("region", name="Corrections")
    waiting.get_by_text("3 corrections from the served page").wait_for()
    waiting.get_by_role("article").first.get_by_role("button", name="Take").click()
    waiting.get_by_text("2 corrections from the served page").wait_for()
    waiting.get_by_role("button", name="Ignore all").click()
    page.get_by_text("2 ignored.").wait_for()
    assert waiting.count() == 0
    page.locator(".note").get_by_role("button", name="Undo").click()
    waiting.get_by_role("button", name="Take them all").click()
    waiting.wait_for(state="detached")
    assert project.labels.counts["square"] == 3


def test_what_was_made_for_others_is_downloaded(page: Any, work: Path) -> None:
    share = page.get_by_role("region", name="Share")
    share.get_by_role("button", name="Make the page: One web page that works offline").wait_for()
    share.get_by_text("The studio is open to this computer alone").wait_for()
    folder = work / "shared" / "first-web"
    folder.mkdir(parents=True)
    (folder / "classifier.html").write_text("<title>all of it</title>")
    told = {"bytes": 24, "tells_unusual": True, "parity": {"largest_difference": 0.0}}
    (folder / "export.json").write_text(json.dumps(told))
    page.reload()
    with page.expect_download() as download:
        share.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "work-classifier.html"
    assert "all of it" in download.value.path().read_text()


def test_why_there_is_no_camera_is_said(browsers: Any, address: str) -> None:
    denied = "--deny-permission-prompts"
    browser = browsers.launch(executable_path=CHROMIUM, args=["--no-sandbox", CAMERA, denied])
    page = browser.new_page()
    page.goto(address)
    page.goto(address.partition("?")[0] + "use")
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("alert").get_by_text("The browser may not use the camera").wait_for()
    browser.close()
