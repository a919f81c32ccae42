"""What the four pages share: where the photos are, where results go, and how long to train.

These variables of the environment change it:

    HANDFUL_GUIDE_PHOTOS    folder or zip of photos [data/cats-vs-dogs, else what the demo finds]
    HANDFUL_GUIDE_QUICK     1 takes a few photos and two epochs, so that a page takes a minute
    HANDFUL_GUIDE_OUTPUT    folder for figures and runs [runs/guides, or runs/guides-quick]
    HANDFUL_GUIDE_XCEPTION  file with Xception's ImageNet weights, for page 4
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import handful
from handful.datasets.registry import find_demo_data
from handful.environment import cache_folder
from handful.features.keras_runtime import prepare_keras
from handful.reports.drawing import Chart
from handful.reports.figures import plot, save_png
from handful.reports.sheets import Sheet

QUICK = os.environ.get("HANDFUL_GUIDE_QUICK", "") not in ("", "0")
FOLDER = Path(os.environ.get("HANDFUL_GUIDE_OUTPUT") or f"runs/guides{'-quick' if QUICK else ''}")
XCEPTION = os.environ.get("HANDFUL_GUIDE_XCEPTION") or None
_QUICK_PHOTOS = {"train": 40, "validation": 20, "test": 20, "": 60}  # of each class

# Keras comes with TensorFlow below it; this keeps TensorFlow's first lines off the screen.
prepare_keras()


def find_photos() -> Path:
    """Find the photos to train on.

    Returns:
        A folder or zip; when QUICK is set, a folder with a few of its photos.
    """
    given = os.environ.get("HANDFUL_GUIDE_PHOTOS")
    unpacked = Path("data/cats-vs-dogs")
    if given:
        found = Path(given)
    elif unpacked.is_dir():
        found = unpacked
    else:
        found = find_demo_data(None, cache_folder(), handful.PrintReporter()).path
    print(f"Photos: {found}")
    return _copy_few(found) if QUICK else found


def _copy_few(photos: Path) -> Path:
    """Copy the first photos of each part and class to a folder of their own."""
    index, folder = handful.load_index(photos), fresh("photos")
    taken: dict[tuple[str, int], int] = {}
    for row, (part, label) in enumerate(zip(index.splits, index.labels.tolist(), strict=True)):
        number = taken[part, label] = taken.get((part, label), 0) + 1
        if number <= _QUICK_PHOTOS[part]:
            path = folder / part / index.class_names[label] / f"{number:03d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(index.read(row))
    print(f"HANDFUL_GUIDE_QUICK is set: a few of them are in {folder}")
    return folder


def epochs(number: int) -> int:
    """Number of epochs to train for.

    Args:
        number: What the exercise takes.

    Returns:
        The same, or 2 at most when QUICK is set.
    """
    return min(number, 2) if QUICK else number


def fresh(name: str) -> Path:
    """Make room for a run.

    Args:
        name: Its name.

    Returns:
        A place in FOLDER; what an earlier run of the page left there is gone.
    """
    path = FOLDER / name
    shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(path.with_name(f"{name}.checkpoint"), ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def show(picture: Sheet | Sequence[Chart], name: str) -> None:
    """Save charts or a sheet of photos, and show it where the page runs as a notebook.

    Args:
        picture: From `handful.reports`.
        name: Of the PNG file in FOLDER.
    """
    path = FOLDER / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(picture, Sheet):
        picture.save(path, replace=True)
    else:
        save_png(plot(picture), path)
    print(f"Figure: {path}")
    try:
        from IPython import get_ipython
    except ImportError:
        return
    if get_ipython() is not None:
        from IPython.display import Image, display

        display(Image(filename=str(path)))
