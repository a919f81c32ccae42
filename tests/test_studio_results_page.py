"""Results and Check in a real browser: what went wrong is seen, and mended there."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest

from browsers import NEEDS_BROWSER, chromium, open_page, studio
from conftest import draw_photo, write_photo
from handful.config import TrainConfig
from handful.projects.project import Project
from handful.run_store.store import RunStore
from handful.workflows.check import check
from handful.workflows.train import train
from networks import write_map_network

pytestmark = NEEDS_BROWSER
# Their labels are wrong, by their place among all.
PLANTED = (3, 8, 12, 25, 31, 38)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Forty photos and a copy, some labels wrong; trained twice and checked."""
    root = tmp_path_factory.mktemp("studio")
    for number in range(20):
        for kind, seed in (("Round", number), ("Square", 1000 + number)):
            write_photo(root / "heap" / f"{kind}{number:02d}.png", draw_photo(kind.lower(), seed))
    image = cv2.imread(str(root / "heap" / "Round00.png"))
    cv2.imwrite(str(root / "heap" / "copy.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    network = str(write_map_network(root / "network" / "small.onnx"))
    options: dict[str, Any] = {"backbone": network, "preprocessing": "mean=0.5 std=0.5"}
    found = Project.create(root / "work")
    found.add_source(root / "heap")
    for place, photo in enumerate(sorted(found.photos, key=lambda photo: photo.name)):
        is_round = (photo.name[0] == "R") != (place in PLANTED)
        found.labels.assign([photo.id], "Round" if is_round else "Square")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HANDFUL_CACHE", str(root / "cache"))
        for _ in range(2):
            train(found.folder, **options, store=RunStore(found.runs))
        folder = found.folder / "jobs" / "check"
        folder.mkdir(parents=True)
        (folder / "labels.json").write_text(json.dumps(found.labels.all()))
        check(found.folder, TrainConfig(**options), output=found.folder / "check")
        yield found


def test_mistakes_are_seen_with_maps_and_mended(
    browser: Any, project: Project, tmp_path: Path
) -> None:
    with studio(tmp_path, str(project.folder)) as address:
        page, faults = open_page(browser, address)
        page.goto(address.partition("?")[0] + "results")
        page.get_by_text(re.compile("then, of the .* tested in both")).wait_for()
        _mix_ups(page)
        _answers(page, project)
        with page.expect_popup() as popup:
            page.get_by_role("link", name="The whole report").click()
        popup.value.get_by_role("heading", name="What gets mixed up").wait_for()
        assert popup.value.locator("script").count() == 0
        page.get_by_text("Details", exact=True).click()
        page.get_by_role("row", name=re.compile("^Square ")).last.wait_for()
        assert faults == []


def _mix_ups(page: Any) -> None:
    """A cell's photos by keyboard, with maps; a label mended there."""
    cell = page.get_by_role("button", name=re.compile("(Round|Square) taken for")).first
    cell.focus()
    page.keyboard.press("Enter")
    heading = page.get_by_role("heading", name=re.compile(r"taken for .* \(\d+\)"))
    heading.wait_for()
    assert cell.get_attribute("aria-pressed") == "true"
    card = page.get_by_role("article").first
    image = card.get_by_role("img", name=re.compile("Where the network looked"))
    image.scroll_into_view_if_needed()
    page.wait_for_function("(image) => image.naturalWidth > 100", arg=image.element_handle())
    card.get_by_role("button", name=re.compile("The label is wrong")).click()
    card.get_by_text(re.compile("is now")).wait_for()
    page.get_by_text("1 label changed since. Train again").wait_for()
    cell.click()
    page.get_by_role("heading", name="Classified wrong").wait_for()


def _answers(page: Any, project: Project) -> None:
    slider = page.get_by_label("How sure an answer must be")
    slider.fill("0")
    page.get_by_text(re.compile("^100 % answered · .* wrong")).wait_for()
    page.get_by_role("button", name="Use this").click()
    page.get_by_role("button", name="In use").wait_for()
    assert json.loads((project.folder / "answering.json").read_text()) == {"error_rate": None}


def test_findings_are_decided_on_and_fold_away(
    browser: Any, project: Project, tmp_path: Path
) -> None:
    with studio(tmp_path, str(project.folder)) as address:
        page, faults = open_page(browser, address)
        number = page.locator(".open-findings")
        number.wait_for()
        before = int(number.inner_text().split()[0])
        page.get_by_role("link", name="Check", exact=True).click()
        card = page.locator(".finding", has_text="may be wrong")
        card.get_by_role("button", name=re.compile(r"^Keep \w+\.png")).first.focus()
        page.keyboard.press("Enter")
        card.get_by_text("kept", exact=True).first.wait_for()
        page.keyboard.press("Tab")  # the focus is where it was
        assert page.evaluate("() => document.activeElement.closest('.finding') !== null")
        card.get_by_role("button", name=re.compile("^Keep (all|both)")).click()
        page.locator(".finding:not([open])", has_text="may be wrong – done").wait_for()
        page.wait_for_function(
            "(n) => document.querySelector('.open-findings').innerText.startsWith(n)",
            arg=f"{before - 1}",
        )
        card.locator("summary").click()
        card.get_by_role("button", name=re.compile("^Take it back")).first.click()
        page.locator(".finding[open] summary", has_text=re.compile("may be wrong$")).wait_for()
        _copies(page)
        assert faults == []


def _copies(page: Any) -> None:
    card = page.locator(".finding", has_text="near-duplicates").last
    card.locator("summary").click()
    group = card.get_by_role("group", name="2 photos that look alike")
    group.get_by_role("button", name=re.compile("Keep only this one")).first.click()
    group.get_by_text("left out").wait_for()
    group.get_by_role("button", name=re.compile("^Keep ")).wait_for()
