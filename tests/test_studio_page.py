"""The studio in a real browser: from dropped photos to a classifier that is tried."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browsers import NEEDS_BROWSER, chromium, make_class, open_page, studio, toast
from conftest import draw_photo, write_photo
from handful.projects.project import Project

pytestmark = NEEDS_BROWSER
_DROP = """async (names) => {
  const transfer = new DataTransfer();
  for (const name of names) {
    const data = await (await fetch("/__photo/" + name)).arrayBuffer();
    transfer.items.add(new File([data], name));
  }
  document.querySelector(".photos-page").dispatchEvent(
    new DragEvent("drop", {dataTransfer: transfer, bubbles: true}));
}"""
# Square photos that are called round, by their place among all; some are test photos then.
PLANTED = range(28, 32)


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


def drop(page: Any, folder: Path, pattern: str) -> None:
    def give(route: Any) -> None:
        route.fulfill(body=(folder / route.request.url.rpartition("/")[2]).read_bytes())

    page.route("**/__photo/*", give)
    page.evaluate(_DROP, sorted(file.name for file in folder.glob(pattern)))


def select(page: Any, first: int, last: int) -> None:
    page.get_by_role("option").nth(first).click()
    page.get_by_role("option").nth(last).click(modifiers=["Shift"])


def show(page: Any, chip: str, count: int) -> None:
    button = page.get_by_role("group").get_by_role("button", name=re.compile(rf"{chip} {count}$"))
    button.click()
    page.locator(f".chip[aria-pressed=true]:has-text('{chip}')").wait_for()


def go(page: Any, place: str) -> None:
    page.get_by_role("navigation").get_by_role("link", name=place, exact=True).click()
    page.wait_for_url(re.compile(f"/{'' if place == 'Photos' else place.lower()}$"))


def run_job(page: Any, place: str, link: str) -> None:
    """Press the one button of a page and wait until its job is done."""
    go(page, place)
    page.get_by_role("button", name=re.compile(f"^{place}")).click()
    page.get_by_role("link", name=link).wait_for(timeout=120_000)


def test_from_a_heap_of_photos_to_a_classifier(browser: Any, tmp_path: Path, heap: Path) -> None:
    (heap / "notes.txt").write_text("milk")
    with studio(tmp_path) as address:
        page, faults = open_page(browser, address)
        page.get_by_role("heading", name="Drop photos here").wait_for()
        drop(page, heap, "a*")
        toast(page, "20 photos added.")
        drop(page, heap, "[bn]*")
        toast(page, "1 of 21 could not be added. notes.txt")
        _sort(page)
        _check(page)
        _train_and_fix(page)
        _use(page, heap)
        assert faults == []
    project = Project.open(tmp_path / "studio.handful")
    assert project.labels.counts == {"Round": 20, "Square": 20}


def _sort(page: Any) -> None:
    """Two classes by mouse and keys, with mistakes that are taken back, and some that stay."""
    page.keyboard.press("p")  # room for all photos at once
    make_class(page, "Round")
    make_class(page, "Square")
    select(page, 0, 19)
    page.keyboard.press("2")
    toast(page, "20 photos are Square now.")
    page.keyboard.press("Control+z")
    toast(page, "Taken back: 20 photos are Square.")
    page.keyboard.press("Control+Shift+z")
    toast(page, "Done again: 20 photos are Square.")
    select(page, 0, 19)
    page.keyboard.press("1")
    toast(page, "20 photos are Round now.")
    select(page, 20, 24)
    page.keyboard.press("2")
    toast(page, "5 photos are Square now.")
    page.get_by_role("button", name="Suggestions").click()
    page.get_by_role("button", name=re.compile("Accept .* Square")).wait_for(timeout=60_000)
    page.keyboard.press("Enter")
    page.locator(".toast", has_text=re.compile("^ *(?!5 )\\d+ photos are Square now")).wait_for()
    page.locator(".chip", has_text="Unsorted").click()
    page.locator(".chip[aria-pressed=true]", has_text="Unsorted").wait_for()
    page.keyboard.press("Control+a")
    page.keyboard.press("2")
    page.get_by_text("All photos are sorted.").wait_for()
    show(page, "All", 40)
    select(page, PLANTED[0], PLANTED[-1])
    page.get_by_role("toolbar").get_by_role("button", name="Round").click()
    toast(page, f"{len(PLANTED)} photos are Round now.")
    page.get_by_role("option").first.click()
    page.keyboard.press("x")
    toast(page, "1 photo is left out now.")
    page.get_by_role("toolbar").get_by_role("button", name="Undo").click()
    toast(page, "Taken back: 1 photo is left out.")


def _check(page: Any) -> None:
    """The planted labels are found; one is kept, one is mended."""
    run_job(page, "Check", "See what was found")
    card = page.locator(".finding", has_text="may be wrong")
    first = card.get_by_role("article").first
    first.get_by_role("button", name="The label is wrong, it is Square").click()
    first.get_by_text("is now Square").wait_for()
    second = card.get_by_role("article").nth(1)
    second.get_by_role("button", name="Keep").click()
    second.get_by_text("kept").wait_for()


def _train_and_fix(page: Any) -> None:
    """A wrong label among the test photos is seen as a mistake, and mended there."""
    from playwright.sync_api import expect

    go(page, "Train")
    assert page.get_by_text("40 photos to learn from and to test on").count() == 1
    page.get_by_role("button", name="Have I labeled enough?").click()
    page.get_by_text("of 100 new photos right now").wait_for(timeout=60_000)
    run_job(page, "Train", "See the results")
    page.get_by_role("link", name="See the results").click()
    page.locator(".verdict", has_text="Expect").wait_for()
    assert re.fullmatch(r"\d+(\.\d)? %", page.locator(".huge").inner_text())
    mistakes = page.locator(".photo-card")
    for place in range(mistakes.count()):
        card = mistakes.nth(place)
        card.get_by_role("button", name="The label is wrong, it is Square").click()
        card.get_by_text("is now Square").wait_for()
    assert mistakes.count() and page.get_by_text("changed since. Train again").count() == 1
    go(page, "Photos")
    wrong = page.get_by_role("option", name=re.compile("^b.*, Round$"))
    page.get_by_role("option").first.wait_for()
    for left in reversed(range(wrong.count())):
        wrong.first.click()
        page.keyboard.press("2")
        expect(wrong).to_have_count(left)
    page.locator(".chip:has-text('Square') b", has_text="20").wait_for()


def _use(page: Any, heap: Path) -> None:
    go(page, "Use")
    page.locator(".empty input[multiple]").set_input_files([heap / "a03.jpg", heap / "notes.txt"])
    card = page.locator(".answer", has_text="a03.jpg")
    card.locator(".bar-row").nth(1).wait_for()
    assert "Round" in card.locator(".headline").inner_text()
    assert card.locator(".number").first.inner_text().endswith(" %")
    page.locator(".answer", has_text="notes.txt is not a photo").wait_for()


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
        page.get_by_text("Training (best) was canceled.").wait_for(timeout=120_000)
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
