"""Use in a real browser, with a camera that draws its own pictures."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browsers import FAKE_CAMERA, NEEDS_BROWSER, chromium, open_page, studio
from conftest import draw_photo, write_photo
from handful.projects.project import Project
from handful.reporting import Reporter
from handful.workflows.train import train

pytestmark = NEEDS_BROWSER


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
    with studio(work.parent, str(work)) as found:
        yield found


@pytest.fixture
def page(address: str) -> Iterator[Any]:
    with chromium(*FAKE_CAMERA) as browser:
        found, faults = open_page(browser, address)
        found.goto(address.partition("?")[0] + "use")
        yield found
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


def test_why_there_is_no_camera_is_said(address: str) -> None:
    with chromium(FAKE_CAMERA[0], "--deny-permission-prompts") as browser:
        page = browser.new_page()
        page.goto(address)
        page.goto(address.partition("?")[0] + "use")
        page.get_by_role("button", name="Use the camera").click()
        page.get_by_role("alert").get_by_text("The browser may not use the camera").wait_for()
