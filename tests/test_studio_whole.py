"""The studio's whole way, in a real browser: from dropped photos to a page for anybody's phone."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browsers import FAKE_CAMERA, NEEDS_BROWSER, chromium, make_class, open_page, studio, toast
from conftest import draw_photo, write_photo
from handful.projects.project import Project

pytestmark = NEEDS_BROWSER
KINDS = ("Red", "Blue", "Striped")
MOST_INTERACTIONS = 25
_NUM_WRONG = """[...document.querySelectorAll("button")].filter((one) =>
  one.innerText.startsWith("The label is wrong, it is Blue")).length"""
_DROP = """async (names) => {
  const transfer = new DataTransfer();
  for (const name of names) {
    const data = await (await fetch("/__photo/" + name)).arrayBuffer();
    transfer.items.add(new File([data], name));
  }
  document.querySelector(".photos-page").dispatchEvent(
    new DragEvent("drop", {dataTransfer: transfer, bubbles: true}));
}"""


def draw(kind: str, seed: int) -> np.ndarray:
    """A red disc, a blue square, or yellow stripes."""
    image = draw_photo("round" if kind == "Red" else "square", seed)
    if kind == "Striped":
        rows, columns = np.indices(image.shape[:2])
        image[(rows + columns + seed) % 24 < 12] = (250, 220, 40)
    return image


@pytest.fixture(scope="module")
def heap(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Sixty photos of three kinds in no order, and what each is; six more beside them."""
    root, kinds = tmp_path_factory.mktemp("whole"), [kind for kind in KINDS for _ in range(20)]
    truth = {}
    for number, place in enumerate(np.random.default_rng(0).permutation(60)):
        name = f"photo{place:02d}"
        truth[name] = kinds[number]
        write_photo(root / "heap" / f"{name}.jpg", draw(kinds[number], number))
    for number, kind in enumerate(KINDS * 2):
        write_photo(root / "field" / f"{kind}{number}.jpg", draw(kind, 500 + number))
    return root, truth


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium(*FAKE_CAMERA) as found:
        yield found


class Hands:
    """Clicks and keys, counted."""

    def __init__(self, page: Any) -> None:
        self.page, self.count = page, 0

    def click(self, target: Any) -> None:
        target.click()
        self.count += 1

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)
        self.count += 1


def go(page: Any, place: str) -> None:
    page.get_by_role("navigation").get_by_role("link", name=re.compile(f"^{place}")).click()
    page.wait_for_url(re.compile(f"/{'' if place == 'Photos' else place.lower()}$"))


def run_job(page: Any, place: str, link: str) -> None:
    """Press the one button of a page, wait until its job is done, and see what came of it."""
    go(page, place)
    page.get_by_role("button", name=re.compile(f"^{place}")).click()
    page.get_by_role("button", name="Cancel").wait_for()
    page.get_by_role("link", name=link).click(timeout=300_000)


def test_from_a_heap_of_photos_to_a_page_for_phones(
    browser: Any, tmp_path: Path, heap: tuple[Path, dict[str, str]]
) -> None:
    root, truth = heap
    (root / "heap" / "notes.txt").write_text("milk")
    with studio(tmp_path) as address:
        page, faults = open_page(browser, address)
        page.set_viewport_size({"width": 1920, "height": 1200})
        page.get_by_role("heading", name="Drop photos here").wait_for()
        _drop(page, root / "heap")
        toast(page, "1 of 61 could not be added. notes.txt")
        for kind in KINDS:
            make_class(page, kind)
        assert _sort(page, truth) <= MOST_INTERACTIONS
        project = Project.open(tmp_path / "studio.handful")
        labels = {
            photo.name.partition(".")[0]: project.labels.of(photo.id) for photo in project.photos
        }
        assert labels == truth
        wrong = _plant(page, truth)
        _check(page)
        _train_and_mend(page, wrong)
        _use(page, root)
        made = _share(page, tmp_path)
        there = _answer_here(page, root / "field" / "Striped2.jpg")
        assert faults == []
    assert _answer_offline(browser, made, root / "field" / "Striped2.jpg") == there
    assert project.labels.counts == dict.fromkeys(KINDS, 20)


def _drop(page: Any, folder: Path) -> None:
    def give(route: Any) -> None:
        route.fulfill(body=(folder / route.request.url.rpartition("/")[2]).read_bytes())

    page.route("**/__photo/*", give)
    page.evaluate(_DROP, sorted(file.name for file in folder.iterdir()))


def _sort(page: Any, truth: dict[str, str]) -> int:
    """Five photos of a class by hand, the others as suggested; how many clicks and keys."""
    hands = Hands(page)
    page.locator(".chip", has_text=re.compile("Unsorted *60")).wait_for()
    page.get_by_label("Size of the photos").fill("90")  # all are in sight
    for number, kind in enumerate(KINDS, 1):
        for name in [name for name in sorted(truth) if truth[name] == kind][:5]:
            hands.click(page.get_by_role("option", name=re.compile(rf"^{name}\.")))
        hands.press(str(number))
        toast(page, f"5 photos are {kind} now.")
    hands.click(page.get_by_role("button", name="Suggestions"))
    # Each group that is accepted makes the classifier surer of the others.
    accept = page.get_by_role("button", name=re.compile("Accept"))
    end = page.get_by_text("All photos are sorted.")
    accept.or_(end).first.wait_for(timeout=300_000)
    while not end.is_visible():
        before = page.locator(".cell").count()
        hands.press("Enter")
        page.wait_for_function(
            "(count) => document.querySelectorAll('.cell').length < count", arg=before
        )
        accept.or_(end).first.wait_for()
    return hands.count


def _plant(page: Any, truth: dict[str, str]) -> list[str]:
    """Wrong labels on four photos, whose names are given back; leaving out and undoing first."""
    page.get_by_role("button", name=re.compile("^All")).click()
    wrong = [name for name in sorted(truth) if truth[name] == "Blue"][8:12]
    for name in wrong:
        page.get_by_role("option", name=re.compile(rf"^{name}\.")).click()
    page.keyboard.press("x")
    toast(page, "4 photos are left out now.")
    page.get_by_role("toolbar").get_by_role("button", name="Undo").click()
    toast(page, "Taken back: 4 photos are left out.")
    for name in wrong:
        page.get_by_role("option", name=re.compile(rf"^{name}\.")).click()
    page.keyboard.press("1")
    toast(page, "4 photos are Red now.")
    return wrong


def _check(page: Any) -> None:
    """Wrong labels are found; one is kept for now, one is mended by a click."""
    run_job(page, "Check", "See what was found")
    card = page.locator(".finding", has_text="may be wrong")
    first = card.get_by_role("article").first
    first.get_by_role("button", name="The label is wrong, it is Blue").click()
    first.get_by_text("is now Blue").wait_for()
    second = card.get_by_role("article").nth(1)
    second.get_by_role("button", name="Keep", exact=False).first.click()
    second.get_by_text("kept").wait_for()


def _train_and_mend(page: Any, names: list[str]) -> None:
    """What is wrong among the test photos is mended there, the rest on Photos; trained again."""
    run_job(page, "Train", "See the results")
    page.locator(".verdict", has_text="Expect").wait_for()
    assert re.fullmatch(r"\d+(\.\d)? %", page.locator(".huge").inner_text())
    wrong = page.get_by_role("button", name=re.compile("^The label is wrong, it is Blue"))
    for _ in range(wrong.count()):
        count = wrong.count()
        wrong.first.click()
        page.wait_for_function(f"() => {_NUM_WRONG} < {count}")
    go(page, "Photos")
    page.get_by_role("option").first.wait_for()
    left = [page.get_by_role("option", name=re.compile(rf"^{name}\..*, Red$")) for name in names]
    left = [photo for photo in left if photo.count()]
    for photo in left:
        photo.click()
    if left:
        page.keyboard.press("2")
        toast(page, f"{len(left)} {'photo is' if len(left) == 1 else 'photos are'} Blue now.")
    run_job(page, "Train", "See the results")
    page.locator(".verdict", has_text="Expect").wait_for()


def _use(page: Any, root: Path) -> None:
    """The camera, a bad file, and a folder."""
    go(page, "Use")
    page.get_by_role("button", name="Use the camera").click()
    page.locator(".live .bar-row").first.wait_for()
    page.get_by_role("button", name="Close the camera").click()
    photos = page.locator(".empty input[multiple]").first
    photos.set_input_files([root / "heap" / "notes.txt"])
    page.locator(".answer", has_text="notes.txt is not a photo").wait_for()
    page.locator(".folder input").set_input_files(root / "field")
    page.get_by_text("field: 6 photos, classified by").wait_for()
    for kind in KINDS:
        row = page.get_by_role("row").filter(has_text=f"{kind}")
        assert row.count() >= 2


def _share(page: Any, folder: Path) -> Path:
    """The page that works offline, downloaded."""
    share = page.get_by_role("region", name="Share")
    share.get_by_role("button", name=re.compile("^Make the page")).click()
    link = share.get_by_role("link", name="Download").first
    link.wait_for(timeout=300_000)
    with page.expect_download() as download:
        link.click()
    path = folder / "classifier.html"
    download.value.save_as(path)
    return path


def _answer_here(page: Any, photo: Path) -> str:
    """What the studio's page says of a photo."""
    page.locator(".empty input[multiple]").first.set_input_files([photo])
    card = page.locator(".answer", has_text=photo.name)
    card.locator(".bar-row").first.wait_for()
    return _class_and_share(card.inner_text())


def _answer_offline(browser: Any, made: Path, photo: Path) -> str:
    """What the page that was made says of it, in a browser without a network."""
    page = browser.new_context(offline=True).new_page()
    page.goto(made.as_uri())
    page.wait_for_selector("body[data-state=ready]")
    page.set_input_files("#choose", [photo])
    card = page.locator("#results > li", has_text=photo.name)
    card.get_by_text(re.compile(r"\d %")).first.wait_for()
    said = _class_and_share(card.inner_text())
    page.context.close()
    return said


def _class_and_share(text: str) -> str:
    """The likeliest class and its share in whole percents: in 8 bits the tenths may differ."""
    found = re.search(r"(Red|Blue|Striped)\s+(\d+(?:\.\d+)?) %", text)
    assert found is not None, text
    return f"{found[1]} {round(float(found[2]))}"
