"""Draw photos, train on them and take the picture of the report that the README shows.

The photos are drawn here, since no photograph of other people's may lie in the repository. Needs
Chromium:

    python tools/report_picture.py docs/report.png
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

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


def main() -> None:
    """Draw, train, and have Chromium take the picture."""
    picture = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "forest floor"
        for number, kind in enumerate(KINDS):
            (folder / kind).mkdir(parents=True)
            for photo in range(PHOTOS_A_KIND):
                image = draw(kind, number * 1000 + photo)
                # A few wrong labels, as real folders have them.
                where = KINDS[(number + 1) % 3] if photo % 11 == 10 else kind
                cv2.imwrite(str(folder / where / f"{kind}{photo}.jpg"), image)
        config = handful.TrainConfig(validation_fraction=0.4)
        run = handful.train(folder, config, output=Path(name) / "run")
        assert run.path is not None
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        if chromium is None:
            raise SystemExit("Chromium is needed to take the picture.")
        page = (run.path / "report.html").as_uri()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        options += [f"--user-data-dir={name}/browser", "--disable-background-networking"]
        options += ["--window-size=1200,1000", f"--screenshot={picture}", page]
        subprocess.run([chromium, *options], check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
