"""The studio in a real browser: trainings that outlive their page, and pages of every width."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browsers import NEEDS_BROWSER, chromium, open_page, studio
from conftest import draw_photo, write_photo
from handful.projects.project import Project

pytestmark = NEEDS_BROWSER


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture
def heap(tmp_path: Path) -> Path:
    """Forty photos of two kinds, sorted by name: round ones first."""
    for number in range(20):
        write_photo(tmp_path / "heap" / f"a{number:02d}.jpg", draw_photo("round", number))
        write_photo(tmp_path / "heap" / f"b{number:02d}.jpg", draw_photo("square", 1000 + number))
    return tmp_path / "heap"


def go(page: Any, place: str) -> None:
    page.get_by_role("navigation").get_by_role("link", name=place, exact=True).click()
    page.wait_for_url(re.compile(f"/{'' if place == 'Photos' else place.lower()}$"))


def test_a_training_is_canceled_and_goes_on_without_a_page(
    browser: Any, tmp_path: Path, heap: Path
) -> None:
    project = Project.create(tmp_path / "work")
    project.add_source(heap)
    for photo in project.photos:
        project.labels.assign([photo.id], "Round" if photo.name[0] == "a" else "Square")
    with studio(tmp_path, "work") as address:
        page, faults = open_page(browser, address)
        go(page, "Train")
        page.get_by_label("Quality").fill("2")
        page.get_by_text("best: tries several networks").wait_for()
        page.get_by_role("button", name="Train").click()
        page.get_by_role("button", name="Cancel").wait_for()
        page.close()
        page, faults = open_page(browser, address)
        page.get_by_role("button", name="Cancel").click()
        page.get_by_text("Training (best) was canceled.").wait_for(timeout=300_000)
        assert faults == [] and not (project.runs / "work").exists()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_pages_fit_a_phone_and_a_desk(
    browser: Any, tmp_path: Path, heap: Path, width: int, scheme: str
) -> None:
    with studio(tmp_path, "heap") as address:
        page, faults = open_page(browser, address)
        page.set_viewport_size({"width": width, "height": 844})
        page.emulate_media(color_scheme=scheme)
        page.get_by_role("option").first.wait_for()
        for place in ("Check", "Train", "Results", "Use", "Photos"):
            go(page, place)
            page.locator(".place").wait_for()
            assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
            back = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
            assert (back == "rgb(246, 246, 243)") == (scheme == "light")
        assert faults == []
