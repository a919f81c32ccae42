"""Make the pictures of docs/studio.md and docs/tours/studio.md: the studio in Chromium.

The photos are drawn here, leaves in three states, so that no stranger's photo is in the docs; what
the pages say of them is what the studio found. Takes some minutes.

    .venv/bin/python tools/studio_pictures.py [FOLDER]   [docs]
"""

import io
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

WIDTH, HEIGHT = 1440, 900
TALL = 1500
PHONE = {"width": 412, "height": 915}
MOST_BYTES = 90_000
KINDS = ("Healthy", "Spotted", "Holed")
NUM_EACH = 32
BY_HAND = 5
# What hands get wrong before the check: so many of the second kind are called healthy.
NUM_WRONG = 4
GREENS = ((86, 140, 62), (112, 158, 74), (66, 116, 58), (132, 160, 82))
PAPERS = ((228, 222, 208), (206, 208, 204), (192, 174, 148))
DRAWN = 2  # photos are drawn so much larger, for smooth edges
ALL_LABELS = """async ([truth, wrong]) => {
  const {cells} = await (await fetch("/data/photos?shown=all")).json();
  const byClass = {};
  for (const [id, name, label] of cells) {
    const stem = name.split(/[-.]/)[0];
    const is = wrong.includes(stem) ? "Healthy" : truth[stem];
    if (is !== label) (byClass[is] ??= []).push(id);
  }
  for (const [name, ids] of Object.entries(byClass))
    await fetch("/data/act", {method: "POST", headers: {"content-type": "application/json"},
      body: JSON.stringify({action: "assign", ids, name})});
}"""


def outline(length: float, width: float) -> np.ndarray:
    """A leaf's outline around (0, 0), its tip on the right: (N, 2)."""
    along = np.linspace(0, 1, 60)
    half = width * np.sin(np.pi * along**0.85) ** 0.9
    above = np.stack([(2 * along - 1) * length, half], axis=1)
    return np.concatenate([above, above[::-1] * (1, -1)])


def draw_leaf(kind: str, seed: int) -> np.ndarray:
    """A leaf on paper, (H, W, 3) uint8 RGB; some are spotted or holed a little only."""
    rng = np.random.default_rng(seed)
    height, width = 360 * DRAWN, 360 * DRAWN
    paper = np.array(PAPERS[int(rng.integers(len(PAPERS)))])
    # Plain paper and plain leaves: few colors make small files.
    ground = np.full((height, width, 3), paper, float)
    length, half = rng.uniform(135, 160) * DRAWN, rng.uniform(52, 78) * DRAWN
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centre = np.array([width, height]) / 2 + rng.uniform(-12, 12, 2) * DRAWN

    def place(points: np.ndarray) -> np.ndarray:
        return np.round(np.asarray(points) @ turn + centre).astype(np.int32)

    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [place(outline(length, half))], 255)
    spots = [
        (place([(rng.uniform(-0.6, 0.6) * length, rng.uniform(-0.5, 0.5) * half)])[0], size)
        for size in rng.uniform(6, 15, int(rng.integers(2, 9))) * DRAWN
    ]
    green = np.array(GREENS[int(rng.integers(len(GREENS)))], float)
    leaf = np.full((height, width, 3), green)
    draw_veins(leaf, place, green, length, half)
    if kind == "Spotted":
        for spot, size in spots:
            cv2.circle(leaf, spot.tolist(), int(1.5 * size), (214, 190, 84), -1, cv2.LINE_AA)
            cv2.circle(leaf, spot.tolist(), int(size), (136, 62, 34), -1, cv2.LINE_AA)
    if kind == "Holed":
        for spot, size in spots:
            axes = (int(size * 1.5), int(size * rng.uniform(0.8, 1.3)))
            turned = float(rng.uniform(0, 180))
            cv2.ellipse(leaf, spot.tolist(), axes, turned, 0, 360, (96, 84, 44), 5 * DRAWN)
            cv2.ellipse(mask, spot.tolist(), axes, turned, 0, 360, 0, -1)
    shadow = cv2.GaussianBlur(np.roll(mask, (7 * DRAWN, 5 * DRAWN), (0, 1)), (0, 0), 6 * DRAWN)
    image = ground * (1 - 0.35 * shadow[..., None] / 255)
    image = np.where(mask[..., None] > 0, leaf, image)
    small = cv2.resize(image, (width // DRAWN, height // DRAWN), interpolation=cv2.INTER_AREA)
    return np.clip(small, 0, 255).astype(np.uint8)


def draw_veins(leaf: np.ndarray, place: Any, green: np.ndarray, length: float, half: float) -> None:
    """The midrib and pairs of veins, lighter than the leaf."""
    color = tuple(0.8 * green + 45)
    ends = [([-1.12 * length, 0], [0.98 * length, 0], 4)]
    for at in np.linspace(-0.65, 0.6, 6):
        reach = 0.75 * half * np.cos(1.3 * at)
        ends += [([at * length, 0], [(at + 0.22) * length, side * reach], 2) for side in (-1, 1)]
    for first, last, thick in ends:
        a, b = place([first, last])
        cv2.line(leaf, a.tolist(), b.tolist(), color, thick * DRAWN, cv2.LINE_AA)


def write_photo(file: Path, image: np.ndarray, quality: int = 90) -> None:
    """A JPEG as a phone writes it."""
    file.parent.mkdir(exist_ok=True)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(file), bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])


def write_photos(root: Path) -> dict[str, str]:
    """The heap, the new photos; the stem of each one's name to what it shows."""
    kinds = [kind for kind in KINDS for _ in range(NUM_EACH)]
    truth = {}
    for number, at in enumerate(np.random.default_rng(3).permutation(len(kinds))):
        name = f"IMG_{2041 + number}"
        truth[name] = kinds[at]
        image = draw_leaf(kinds[at], int(at))
        write_photo(root / "leaves" / f"{name}.jpg", image)
        if kinds[at] == "Holed":
            copied = image
    # One came back by a messenger.
    write_photo(root / "leaves" / "WA0001.jpg", copied, 60)
    truth["WA0001"] = "Spotted"
    for number, kind in enumerate(KINDS):
        write_photo(root / "new" / f"IMG_{3001 + number}.jpg", draw_leaf(kind, 500 + number))
    bee = np.full((360, 360, 3), (150, 190, 230), np.uint8)
    cv2.circle(bee, (180, 190), 70, (240, 200, 60), -1, cv2.LINE_AA)
    for x in (150, 180, 210):
        cv2.line(bee, (x, 130), (x, 250), (50, 40, 30), 12, cv2.LINE_AA)
    write_photo(root / "new" / "IMG_3004.jpg", bee)
    return truth


class Studio:
    """A browser's page with the studio, and where pictures of it go."""

    def __init__(self, page: Any, folder: Path, work: Path, truth: dict[str, str]) -> None:
        self.page, self.folder, self.work, self.truth = page, folder, work, truth

    def save(self, name: str) -> None:
        """What is on the screen, when all photos in sight are there."""
        self.page.wait_for_function(
            "() => [...document.images].every((one) => one.complete || one.loading === 'lazy')"
        )
        self.page.wait_for_timeout(500)
        save_picture(self.page.screenshot(), self.folder / f"{name}.png")

    def quiet(self) -> None:
        """Wait until nothing is said any more."""
        self.page.locator(".toast span").wait_for(state="detached")
        self.page.locator(".note-toast").wait_for(state="detached")

    def go(self, place: str) -> None:
        """Open one of the five places."""
        rail = self.page.get_by_role("navigation")
        rail.get_by_role("link", name=re.compile(f"^{place}")).click()
        self.page.wait_for_url(re.compile(f"/{'' if place == 'Photos' else place.lower()}$"))

    def run(self, place: str, link: str) -> None:
        """Press a place's button, wait until its job is done, and see what came of it."""
        self.go(place)
        self.page.get_by_role("button", name=place, exact=True).click()
        self.page.get_by_role("button", name="Cancel").wait_for()
        self.page.get_by_role("link", name=link).click(timeout=300_000)

    def all(self) -> None:
        """The pictures, in the order of the tour."""
        self.collect()
        self.sort()
        self.check()
        self.train()
        self.use()
        self.students()

    def collect(self) -> None:
        """An empty page, then the photos."""
        page = self.page
        page.get_by_role("heading", name="Drop photos here").wait_for()
        page.set_viewport_size({"width": WIDTH, "height": 560})
        self.save("tours/studio-empty")
        page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
        files = sorted((self.work / "leaves").iterdir())
        page.locator("input[type=file]").first.set_input_files(files)
        page.locator(".toast", has_text=f"{len(files)} photos added.").wait_for(timeout=300_000)
        for kind in KINDS:
            page.get_by_label("Name of a new class").fill(kind)
            page.keyboard.press("Enter")
            page.locator(".toast", has_text=f"There is a class {kind} now.").wait_for()

    def sort(self) -> None:
        """Five of each by hand, the next as suggested, the rest at once."""
        page = self.page
        for number, kind in enumerate(KINDS, 1):
            for stem in [stem for stem in self.truth if self.truth[stem] == kind][:BY_HAND]:
                page.get_by_role("option", name=re.compile(f"^{stem}\\b")).click()
            if kind == KINDS[-1]:
                page.locator(".grid").evaluate("(grid) => (grid.scrollTop = 0)")
                self.quiet()
                self.save("studio-photos")
            page.keyboard.press(str(number))
            page.locator(".toast", has_text=f"{BY_HAND} photos are {kind} now.").wait_for()
        page.get_by_role("button", name="Suggestions").click()
        page.get_by_role("button", name=re.compile("Accept")).first.wait_for(timeout=300_000)
        self.quiet()
        self.save("tours/studio-suggestions")
        page.keyboard.press("Enter")
        page.locator(".toast", has_text=re.compile("now")).wait_for()
        page.get_by_role("button", name="Label next").click()
        page.locator(".hint-mark").nth(5).wait_for(timeout=300_000)
        page.emulate_media(color_scheme="dark")
        self.quiet()
        self.save("tours/studio-next")
        page.emulate_media(color_scheme="light")
        wrong = [stem for stem in self.truth if self.truth[stem] == "Spotted"][-1 - NUM_WRONG : -1]
        page.evaluate(ALL_LABELS, [self.truth, wrong])

    def check(self) -> None:
        """A copy under another label, and wrong labels."""
        self.run("Check", "See what was found")
        self.page.locator(".finding").first.wait_for()
        self.save("studio-check")

    def train(self) -> None:
        """Train, mend what the check found, train again."""
        page = self.page
        self.go("Train")
        # The estimates of all three.
        page.locator(".marks span", has_text="·").nth(1).wait_for(timeout=300_000)
        page.get_by_role("button", name="Train", exact=True).click()
        page.get_by_role("button", name="Cancel").wait_for()
        page.set_viewport_size({"width": WIDTH, "height": 560})
        self.save("tours/studio-training")
        page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
        page.get_by_role("link", name="See the results").click(timeout=300_000)
        page.locator(".verdict").wait_for()
        page.evaluate(ALL_LABELS, [{**self.truth, "WA0001": "Holed"}, []])
        self.run("Train", "See the results")
        page.locator(".verdict").wait_for()
        page.set_viewport_size({"width": WIDTH, "height": TALL})
        for image in page.locator(".photo-cards .frame img").all():
            see = "(image) => image.naturalWidth > 0"
            page.wait_for_function(see, arg=image.element_handle(), timeout=300_000)
        self.save("studio-results")
        page.set_viewport_size({"width": WIDTH, "height": HEIGHT})

    def use(self) -> None:
        """New photos, and the page for phones on one."""
        page, new = self.page, sorted((self.work / "new").iterdir())[1:]
        self.go("Use")
        page.set_viewport_size({"width": WIDTH, "height": 1010})
        page.locator(".empty input[multiple]").first.set_input_files(new)
        page.locator(".answer", has_text=new[-1].name).locator(".bar-row").first.wait_for()
        self.save("tours/studio-use")
        page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
        share = page.get_by_role("region", name="Share")
        share.get_by_role("button", name=re.compile("^Make the page")).click()
        link = share.get_by_role("link", name="Download").first
        link.wait_for(timeout=300_000)
        share.scroll_into_view_if_needed()
        with page.expect_download() as download:
            link.click()
        made = self.work / "classifier.html"
        download.value.save_as(made)
        self.phone(made, new[0])

    def phone(self, made: Path, photo: Path) -> None:
        """The page that was made, on a phone without a network."""
        context = self.page.context.browser.new_context(offline=True, viewport=PHONE)
        page = context.new_page()
        page.goto(made.as_uri())
        page.wait_for_selector("body[data-state=ready]", timeout=120_000)
        page.set_input_files("#choose", [photo])
        page.locator("#results > li").get_by_text(re.compile(r"\d %")).first.wait_for()
        page.wait_for_timeout(500)
        save_picture(page.screenshot(), self.folder / "tours/studio-phone.png")
        context.close()

    def students(self) -> None:
        """A small network's curves, and views of a photo."""
        page = self.page
        self.go("Train")
        page.get_by_text("For students").click()
        for field, value, epochs in (
            ("Recipe", "keras-tutorial", "10"),
            ("Strategy", "augmented", "100"),
        ):
            page.get_by_label(field).select_option(value)
            page.get_by_placeholder(epochs, exact=True).wait_for()
        for name, value in (("Epochs", "12"), ("Image side, pixels", "64")):
            page.get_by_label(name).fill(value)
            page.get_by_label(name).press("Tab")
            page.locator(f".numbers input[value='{value}']").wait_for()
        page.get_by_role("button", name="Train this").click()
        page.get_by_text("Training (augmented) is done.").wait_for(timeout=600_000)
        page.locator(".curves").evaluate("(curves) => curves.scrollIntoView()")
        self.save("studio-train")


def save_picture(data: bytes, file: Path) -> None:
    """As few colors as it takes to stay below the limit; one sees no difference."""
    file.parent.mkdir(exist_ok=True)
    with Image.open(io.BytesIO(data)) as picture:
        image = picture.convert("RGB")
    for colors in (256, 160, 96, 64, 40):
        few = image.quantize(colors, Image.Quantize.MAXCOVERAGE, 1, dither=Image.Dither.NONE)
        few.save(file, optimize=True)
        if file.stat().st_size <= MOST_BYTES:
            return
    raise SystemExit(f"{file} has {file.stat().st_size:,} bytes.")


@contextmanager
def served(work: Path) -> Iterator[str]:
    """An empty studio's address."""
    command = [sys.executable, "-m", "handful", "studio", "--port", "0", "--no-browser"]
    command += ["--project", "leaves.handful"]
    with subprocess.Popen(command, cwd=work, stdout=subprocess.PIPE, text=True) as studio:
        try:
            yield re.findall(r"http\S+", studio.stdout.readline())[0]
        finally:
            studio.send_signal(signal.SIGINT)


def main(folder: Path) -> None:
    """Write the pictures."""
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        work = Path(name)
        truth = write_photos(work)
        with served(work) as address:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            try:
                page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
                page.set_default_timeout(60_000)
                page.goto(address)
                Studio(page, folder, work, truth).all()
            finally:
                browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
