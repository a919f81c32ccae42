"""Make the pictures of docs/studio.md: the studio in Chromium, with drawn photos.

.venv/bin/python tools/studio_pictures.py [FOLDER]   [docs]
"""

import io
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

WIDTH, HEIGHT = 1280, 800
NUM_PHOTOS = 24
GREEN = ((46, 125, 50), (104, 159, 56), (51, 105, 30))


def draw_leaf(seed: int, is_ill: bool) -> np.ndarray:
    """A leaf on soil, with spots where it is ill: (H, W, 3) uint8 RGB."""
    rng = np.random.default_rng(seed)
    height, width = 240, 300
    soil = rng.integers(60, 130, (8, 10, 1)) * np.array([1.0, 0.8, 0.6])
    image = cv2.resize(soil.astype(np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    centre = (int(rng.integers(125, 175)), int(rng.integers(100, 140)))
    axes, angle = (int(rng.integers(80, 105)), int(rng.integers(38, 52))), int(rng.integers(0, 180))
    color = GREEN[int(rng.integers(len(GREEN)))]
    cv2.ellipse(image, centre, axes, angle, 0, 360, color, -1, cv2.LINE_AA)
    turn = np.deg2rad(angle)
    along = np.array([np.cos(turn), np.sin(turn)])
    ends = [tuple(int(v) for v in centre + s * axes[0] * along) for s in (-1, 1)]
    cv2.line(image, ends[0], ends[1], tuple(int(0.75 * c) for c in color), 3, cv2.LINE_AA)
    across = np.array([-along[1], along[0]])
    for _ in range(int(rng.integers(5, 11)) if is_ill else 0):
        u, v = rng.uniform(-0.75, 0.75), rng.uniform(-0.55, 0.55)
        place = centre + u * axes[0] * along + v * axes[1] * across
        spot = tuple(int(one) for one in place)
        cv2.circle(image, spot, int(rng.integers(5, 12)), (121, 85, 40), -1, cv2.LINE_AA)
    noise = rng.integers(-10, 11, image.shape)
    return np.clip(image.astype(np.int64) + noise, 0, 255).astype(np.uint8)


def write_photos(folder: Path) -> None:
    """Leaves, healthy and ill ones in turn, under the names that a phone gives."""
    folder.mkdir()
    for number in range(2 * NUM_PHOTOS):
        image = draw_leaf(number, is_ill=number >= NUM_PHOTOS)
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / f"IMG_{2041 + number}.jpg"), bgr, [cv2.IMWRITE_JPEG_QUALITY, 90])
    # One came back by a messenger.
    cv2.imwrite(str(folder / "WA0001.jpg"), bgr, [cv2.IMWRITE_JPEG_QUALITY, 60])


def take_pictures(page: object, folder: Path) -> None:
    """Sort the photos with some mistakes, train, and look at both pages."""
    page.locator(".cell").nth(5).wait_for()
    for name in ("Healthy", "Blight"):
        page.get_by_label("Name of a new class").fill(name)
        page.keyboard.press("Enter")
        page.locator(".chip", has_text=name).wait_for()
    page.keyboard.press("Escape")
    page.evaluate("() => document.activeElement.blur()")
    options = page.get_by_role("option")
    label(page, 0, 15, "1")
    options.nth(17).click()
    options.nth(21).click(modifiers=["Shift"])
    page.locator(".grid").evaluate("(grid) => (grid.scrollTop = 0)")
    page.locator(".toast span").wait_for(state="detached")
    save_screen(page, folder / "studio-photos.png")
    page.keyboard.press("1")
    page.locator(".tick").first.wait_for(state="detached")
    label(page, 16, 23, "1")
    page.locator(".chip", has_text="Unsorted").click()
    page.locator(".chip[aria-pressed=true]", has_text="Unsorted").wait_for()
    page.keyboard.press("Control+a")
    page.keyboard.press("2")
    page.get_by_text("All photos are sorted.").wait_for()
    page.locator(".chip", has_text="Blight").click()
    page.locator(".chip[aria-pressed=true]", has_text="Blight").wait_for()
    label(page, 12, 15, "1")
    page.get_by_role("option", name="WA0001").click()
    page.keyboard.press("1")
    page.locator(".tick").first.wait_for(state="detached")
    take_results(page, folder)


def take_results(page: object, folder: Path) -> None:
    """Check, train, mend a label, train again, and look at what came of it."""
    page.get_by_role("link", name="Check", exact=True).click()
    page.get_by_role("button", name="Check", exact=True).click()
    page.get_by_role("link", name="See what was found").wait_for(timeout=300_000)
    page.locator(".finding").first.wait_for()
    page.wait_for_load_state("networkidle")
    save_screen(page, folder / "studio-check.png")
    train(page)
    page.get_by_role("link", name="Check", exact=True).click()
    page.get_by_role("button", name="Both are Blight").click()
    page.get_by_text("is now Blight").first.wait_for()
    train(page)
    page.set_viewport_size({"width": WIDTH, "height": 1280})
    for image in page.locator(".photo-cards .frame img").all():
        see = "(image) => image.naturalWidth > 0"
        page.wait_for_function(see, arg=image.element_handle(), timeout=300_000)
    save_screen(page, folder / "studio-results.png")


def train(page: object) -> None:
    """Train, and look at the results."""
    page.get_by_role("link", name="Train", exact=True).click()
    page.get_by_role("button", name="Train", exact=True).click()
    page.get_by_role("button", name="Cancel").wait_for()
    page.get_by_role("button", name="Cancel").wait_for(state="hidden", timeout=300_000)
    page.get_by_role("link", name="See the results").click()
    page.locator(".verdict").wait_for()


def save_screen(page: object, file: Path) -> None:
    """Half of the bytes, and no difference that one sees among photos."""
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        few = picture.convert("RGB").quantize(256)
    few.save(file, optimize=True)


def take_train_picture(page: object, folder: Path) -> None:
    """Train a network for some epochs, and look at its curves and at views of a photo."""
    page.get_by_role("link", name="Train", exact=True).click()
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
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    page.locator(".curves").evaluate("(curves) => curves.scrollIntoView()")
    save_screen(page, folder / "studio-train.png")


def label(page: object, first: int, last: int, key: str) -> None:
    """Select photos from one to another and press a key."""
    page.get_by_role("option").nth(first).click()
    page.get_by_role("option").nth(last).click(modifiers=["Shift"])
    page.keyboard.press(key)
    page.locator(".tick").first.wait_for(state="detached")


def main(folder: Path) -> None:
    """Write the pictures."""
    with tempfile.TemporaryDirectory() as work, sync_playwright() as playwright:
        write_photos(Path(work) / "leaves")
        command = [sys.executable, "-m", "handful", "studio", "leaves", "--port", "0"]
        with subprocess.Popen(
            [*command, "--no-browser"], cwd=work, stdout=subprocess.PIPE, text=True
        ) as studio:
            address = re.findall(r"http\S+", studio.stdout.readline())[0]
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            try:
                page.goto(address)
                take_pictures(page, folder)
                take_train_picture(page, folder)
            finally:
                browser.close()
                studio.send_signal(signal.SIGINT)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
