"""Every page, by axe-core: names for screen readers, contrast, landmarks, order; light and dark."""

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from browsers import NEEDS_BROWSER, chromium, studio
from conftest import draw_photo, write_photo
from handful.projects.project import Project
from handful.reporting import Reporter
from handful.workflows.check import check
from handful.workflows.train import train
from live_server import live

pytestmark = NEEDS_BROWSER
LOOKS = [("light", 1280), ("dark", 390)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was trained and checked; some of its labels are wrong."""
    root = tmp_path_factory.mktemp("accessibility")
    project = Project.create(root / "work")
    for number in range(24):
        write_photo(root / "heap" / f"a{number}.jpg", draw_photo("round", number))
        write_photo(root / "heap" / f"b{number}.jpg", draw_photo("square", 1000 + number))
    project.add_source(root / "heap")
    for photo in project.photos:
        is_round = (photo.name[0] == "a") != (photo.name[1:] in ("7.jpg", "8.jpg"))
        project.labels.assign([photo.id], "Round" if is_round else "Square")
    train(project.folder, output=project.runs / "first", reporter=Reporter())
    check(project.folder, output=project.folder / "check", reporter=Reporter())
    return project.folder


def opened(browser: Any, look: tuple[str, int]) -> Any:
    scheme, width = look
    size = {"width": width, "height": 900}
    page = browser.new_context(viewport=size, color_scheme=scheme).new_page()
    page.set_default_timeout(120_000)
    return page


def violations(page: Any) -> list[str]:
    """What axe-core finds fault with, each with the element."""
    page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text("utf-8"))
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    assert len(found["passes"]) > 10  # it has looked
    return [f"{v['id']}: {v['nodes'][0]['html'][:200]}" for v in found["violations"]]


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: f"{look[0]}-{look[1]}")
@pytest.mark.parametrize("is_full", [False, True], ids=["empty", "full"])
def test_the_studio(
    browser: Any, tmp_path: Path, work: Path, look: tuple[str, int], is_full: bool
) -> None:
    with studio(tmp_path, *([str(work)] if is_full else [])) as address:
        page = opened(browser, look)
        page.goto(address)
        for place in ("Photos", "Check", "Train", "Results", "Use"):
            page.get_by_role("navigation").get_by_role("link", name=re.compile(f"^{place}")).click()
            page.locator(f".place.{place.lower()}").wait_for()
            if place == "Photos" and is_full:
                page.get_by_role("option").nth(1).click()
                page.get_by_role("button", name="Large").wait_for()
            for summary in page.locator(".place summary:visible").all():
                if place != "Check":
                    summary.click()
            assert violations(page) == [], place


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: f"{look[0]}-{look[1]}")
def test_reports(browser: Any, work: Path, look: tuple[str, int]) -> None:
    page = opened(browser, look)
    for file in (work / "runs" / "first" / "report.html", work / "check" / "check.html"):
        page.goto(file.as_uri())
        assert violations(page) == [], file.name


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: f"{look[0]}-{look[1]}")
def test_the_served_page(browser: Any, work: Path, look: tuple[str, int]) -> None:
    page = opened(browser, look)
    with live(work / "runs" / "first") as server:
        page.goto(f"http://127.0.0.1:{server.port}/")
        page.locator("input[type=file]").first.set_input_files(work.parent / "heap" / "a1.jpg")
        page.get_by_text("Round").first.wait_for()
        assert violations(page) == []
        page.goto(f"http://127.0.0.1:{server.port}/docs")
        assert violations(page) == []
