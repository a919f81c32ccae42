import os
from pathlib import Path

import cv2
import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """Folder with the real photos and weights; tests that need it carry the marker `real`."""
    folder = Path(os.environ.get("HANDFUL_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"needs the real photos and weights; no such folder: {folder}")
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("HANDFUL_CACHE", str(tmp_path_factory.getbasetemp() / "handful-cache"))


def draw_photo(kind: str, seed: int, size: tuple[int, int] = (96, 120)) -> np.ndarray:
    """A noisy picture with an ellipse ("round") or a box ("square"): (H, W, 3) uint8 RGB."""
    rng = np.random.default_rng(seed)
    height, width = size
    coarse = rng.integers(30, 220, (6, 7, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    centre = (int(rng.integers(35, width - 35)), int(rng.integers(30, height - 30)))
    colour = (250, 60, 60) if kind == "round" else (60, 60, 250)
    radius = int(rng.integers(18, 28))
    if kind == "round":
        cv2.circle(image, centre, radius, colour, -1)
    else:
        x, y = centre
        cv2.rectangle(image, (x - radius, y - radius), (x + radius, y + radius), colour, -1)
    noise = rng.integers(-12, 13, image.shape)
    return np.clip(image.astype(np.int64) + noise, 0, 255).astype(np.uint8)


def write_photo(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, "round" and "square", 24 drawn JPEG photos each, no given split."""
    root = tmp_path_factory.mktemp("photos")
    for kind, first_seed in (("round", 0), ("square", 1000)):
        for number in range(24):
            write_photo(root / kind / f"{number:03d}.jpg", draw_photo(kind, first_seed + number))
    return root
