"""Draw photos, check and train on them, and take the pictures of pages that the docs show.

The photos are drawn here, since no photograph of other people's may lie in the repository. Needs
Chromium:

    python tools/report_picture.py docs/report.png docs/check.png
"""

import contextlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

import handful

KINDS = ("leaf", "flower", "mushroom")
PHOTOS_A_KIND = 60


def draw(kind: str, seed: int) -> NDArray[np.uint8]:
    """Draw one picture, (240, 320, 3) uint8 BGR, of a leaf, flower or mushroom."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 150, (5, 7, 3)).astype(np.uint8)
    coarse[..., 1] += rng.integers(10, 60, dtype=np.uint8)
    image = cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC)
    x, y = int(rng.integers(100, 220)), int(rng.integers(90, 150))
    size, turn = int(rng.integers(26, 48)), float(rng.uniform(0, 360))
    tint = [int(value) for value in rng.integers(40, 235, 3)]
    if kind == "leaf":
        cv2.ellipse(image, (x, y), (size, size // 2), turn, 0, 360, (40, tint[1], 60), -1)
        tip = np.array([np.cos(np.radians(turn)), np.sin(np.radians(turn))]) * size
        ends = [(int(x + sign * tip[0]), int(y + sign * tip[1])) for sign in (-1, 1)]
        cv2.line(image, *ends, (30, 60, 40), 2)
    elif kind == "flower":
        for petal in range(6):
            angle = np.radians(turn + petal * 60)
            place = (int(x + np.cos(angle) * size * 0.7), int(y + np.sin(angle) * size * 0.7))
            cv2.circle(image, place, size // 2, tint, -1)
        cv2.circle(image, (x, y), size // 3, (60, 200, 240), -1)
    else:
        cv2.rectangle(image, (x - size // 5, y), (x + size // 5, y + size), (200, 215, 225), -1)
        cv2.ellipse(image, (x, y), (size, int(size * 0.7)), 0, 180, 360, tint, -1)
    noise = rng.normal(0, 9, image.shape)
    image = np.clip(cv2.GaussianBlur(image, (0, 0), 1.2) + noise, 0, 255).astype(np.uint8)
    return np.asarray(image, dtype=np.uint8)


def draw_folder(folder: Path) -> None:
    """Draw a folder of photos, a few of them under a wrong label, as real folders have them."""
    for kind in KINDS:
        (folder / kind).mkdir(parents=True)
    for number, kind in enumerate(KINDS):
        for photo in range(PHOTOS_A_KIND):
            image = draw(kind, number * 1000 + photo)
            where = KINDS[(number + 1) % 3] if photo % 11 == 10 else kind
            assert cv2.imwrite(str(folder / where / f"{kind}{photo}.jpg"), image)


def take(page: Path, picture: Path) -> None:
    """Have Chromium take the picture of a page's beginning; what it keeps goes to this folder.

    Args:
        page: HTML file.
        picture: PNG file to write.
    """
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("Chromium is needed to take the picture.")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    options += ["--user-data-dir=browser", "--disable-background-networking"]
    options += ["--window-size=1200,1000", f"--screenshot={picture}", page.resolve().as_uri()]
    subprocess.run([chromium, *options], check=True, stderr=subprocess.DEVNULL)
    # Fewer colors: half the bytes, and no difference to be seen.
    Image.open(picture).convert("RGB").quantize(256).save(picture, optimize=True)


def main() -> None:
    """Draw, train and check, and take the pictures."""
    report, check = (Path(name).resolve() for name in sys.argv[1:])
    photos = Path("forest floor")
    # Commands on the pages name the photos as they are given.
    with tempfile.TemporaryDirectory() as work, contextlib.chdir(work):
        draw_folder(photos)
        config = handful.TrainConfig(validation_fraction=0.4)
        handful.train(photos, config, output="run")
        take(Path("run/report.html"), report)
        handful.check(photos, output="check", fix_list="fixes.csv")
        take(Path("check/check.html"), check)


if __name__ == "__main__":
    main()
