"""Photos in a real browser: what hands do, what keys do, and how photos come."""

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browsers import FAKE_CAMERA, NEEDS_BROWSER, chromium, make_class, open_page, studio, toast
from conftest import draw_photo, write_photo
from handful.projects.project import Project

pytestmark = NEEDS_BROWSER


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium(*FAKE_CAMERA) as found:
        yield found


@pytest.fixture
def heap(tmp_path: Path) -> Path:
    """Twelve photos of two kinds."""
    for number in range(6):
        write_photo(tmp_path / "heap" / f"a{number}.jpg", draw_photo("round", number))
        write_photo(tmp_path / "heap" / f"b{number}.jpg", draw_photo("square", 1000 + number))
    return tmp_path / "heap"


def test_photos_are_sorted_by_hand(browser: Any, tmp_path: Path, heap: Path) -> None:
    """A rectangle selects, dragging assigns, the large photo has buttons of its own."""
    with studio(tmp_path, "heap") as address:
        page, faults = open_page(browser, address)
        photos, chip = page.get_by_role("option"), page.locator(".chip")
        photos.nth(11).wait_for()
        make_class(page, "Round")
        make_class(page, "Square")
        chip.filter(has_text="Square").wait_for()
        first, last = photos.nth(0).bounding_box(), photos.nth(1).bounding_box()
        page.mouse.move(first["x"] - 3, first["y"] - 3)
        page.mouse.down()
        page.mouse.move(last["x"] + 20, last["y"] + 20, steps=5)
        page.mouse.up()
        page.get_by_text("2 selected:").wait_for()
        photos.nth(1).drag_to(chip.filter(has_text="Round"))
        toast(page, "2 photos are Round now.")
        photos.nth(7).drag_to(chip.filter(has_text="Square"))
        toast(page, "1 photo is Square now.")
        preview = page.get_by_role("complementary", name="The photo")
        assert "b1.jpg" in preview.inner_text()
        preview.get_by_role("img").evaluate("(image) => image.decode()")
        assert page.locator(".cell").nth(0).bounding_box()["x"] < preview.bounding_box()["x"]
        preview.get_by_role("button", name="Round").click()
        toast(page, "1 photo is Round now.")
        preview.get_by_text("is Round").wait_for()
        photos.nth(0).drag_to(chip.filter(has_text="Unsorted"))
        toast(page, "1 photo is unsorted now.")
        before = photos.nth(0).bounding_box()["width"]
        page.get_by_label("Size of the photos").fill("300")
        page.wait_for_function(f"document.querySelector('.cell').offsetWidth > {before + 50}")
        assert faults == []


def test_photos_are_sorted_with_keys_alone(browser: Any, tmp_path: Path, heap: Path) -> None:
    with studio(tmp_path, "heap") as address:
        page, faults = open_page(browser, address)
        page.get_by_role("option").nth(11).wait_for()
        keys = page.keyboard
        page.get_by_label("Name of a new class").focus()
        for name in ("Round", "Square"):
            keys.type(name)
            keys.press("Enter")
            toast(page, f"There is a class {name} now.")
        focused = "() => document.activeElement.getAttribute('role')"
        for _ in range(20):  # from the field to the photos
            keys.press("Tab")
            if page.evaluate(focused) == "listbox":
                break
        assert page.evaluate(focused) == "listbox"
        keys.press("ArrowRight")
        for _ in range(5):
            keys.press("Shift+ArrowRight")
        keys.press("1")
        toast(page, "6 photos are Round now.")
        keys.press("ArrowRight")
        for _ in range(5):
            keys.press("Shift+ArrowRight")
        keys.press("2")
        toast(page, "6 photos are Square now.")
        keys.press("p")
        page.get_by_role("complementary").wait_for(state="hidden")
        keys.press("Control+z")
        toast(page, "Taken back: 6 photos are Square.")
        keys.press("Control+y")
        toast(page, "Done again: 6 photos are Square.")
        assert faults == []
    counts = Project.open(tmp_path / "heap.handful").labels.counts
    assert counts == {"Round": 6, "Square": 6}


def test_photos_come_from_a_zip_and_the_camera(browser: Any, tmp_path: Path, heap: Path) -> None:
    packed = tmp_path / "packed.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in heap.iterdir():
            archive.write(file, f"{'Round' if file.name[0] == 'a' else 'Square'}/{file.name}")
    (tmp_path / "no.zip").write_text("milk")
    with studio(tmp_path) as address:
        page, faults = open_page(browser, address)
        page.get_by_role("heading", name="Drop photos here").wait_for()
        page.locator("input[type=file]").first.set_input_files([tmp_path / "no.zip"])
        toast(page, "1 of 1 could not be added. no.zip: no.zip is no zip.")
        page.locator("input[type=file]").first.set_input_files([packed])
        for name in ("Round", "Square"):
            page.locator(".chip", has_text=re.compile(f"{name} 6")).wait_for()
        page.get_by_role("button", name="Camera").click()
        page.get_by_role("button", name="Take a photo").click()
        toast(page, "1 photo added.")
        page.get_by_role("button", name="Take four a second").click()
        page.get_by_text("3 photos taken").wait_for()
        page.get_by_role("button", name="Stop").click()
        page.get_by_role("button", name="Close the camera").click()
        page.locator(".camera").wait_for(state="hidden")
        # A busy computer's camera draws the same picture more than once.
        page.locator(".chip", has_text=re.compile("Unsorted [1-9]")).wait_for()
        assert faults == []
    assert not list((tmp_path / "studio.handful" / "zips").glob("*.part"))
