"""Images to try an exported model on: photos of the run, others, or drawn ones."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from handful.data.decoding import DecodeSettings, decode_whole
from handful.data.index import ImageIndex, load_index, load_unlabeled
from handful.errors import DataError
from handful.run_store.stored_run import StoredRun

MAX_IMAGES = 64
# Height and width of the drawn ones: usual, small, large, narrow, wide.
_DRAWN_SIZES = ((375, 500), (120, 100), (768, 1024), (500, 60), (48, 640), (333, 333))
NUM_DRAWN = 12


@dataclass(frozen=True, eq=False)
class TrialImages:
    """Images, read one at a time: photos of full size take much memory.

    Args:
        source: Where they come from, in words.
        index: The photos; None for drawn images.
        max_megapixels: Larger photos are not read.
        validation: All validation photos of the run, labeled; None where they are not there.
    """

    source: str
    index: ImageIndex | None
    max_megapixels: float
    validation: ImageIndex | None = None

    def __len__(self) -> int:
        return NUM_DRAWN if self.index is None else len(self.index)

    def __iter__(self) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        if self.index is None:
            yield from draw_images()
            return
        for row, path in enumerate(self.index.paths):
            try:
                yield path, decode_whole(self.index.read(row), self.max_megapixels)
            except DataError:
                # Training and prediction leave it out as well.
                continue


def find_images(
    run: StoredRun | None,
    photos: Path | None,
    settings: DecodeSettings,
) -> TrialImages:
    """Find images to try a model on, spread over all there are.

    Args:
        run: The run; None for a classifier without its run.
        photos: Folder, zip or file of other photos; None takes the run's own.
        settings: The classifier's, for the size that is still read.

    Returns:
        Up to 64 images: the photos that were given, else validation photos of the run, else
        drawn ones.

    Raises:
        DataError: When the photos that were given are not there, or none is an image.
    """
    limit = settings.max_megapixels
    validation = None if run is None else _run_photos(run)
    if photos is not None:
        index = load_unlabeled([photos])
        if not len(index):
            raise DataError(f"{photos} has no readable photos; give others as `photos`.")
        found = TrialImages(f"photos given: {photos.name}", _some(index), limit)
    elif validation is not None:
        found = TrialImages("validation photos of the run", _some(validation), limit)
    else:
        found = TrialImages("drawn pictures, for the run's photos are gone", None, limit)
    return replace(found, validation=validation)


def _run_photos(run: StoredRun) -> ImageIndex | None:
    """The run's validation photos as they were, or as many of them as are left."""
    parts = run.parts
    try:
        index = load_index(run.photos)
    except DataError:
        return None
    hashes = enumerate(index.content_hashes)
    rows = [row for row, content_hash in hashes if parts.get(content_hash) == "validation"]
    return index.select(rows) if rows else None


def _some(index: ImageIndex) -> ImageIndex:
    rows = np.linspace(0, len(index) - 1, min(MAX_IMAGES, len(index))).round()
    return index.select(np.unique(rows.astype(np.int64)))


def draw_images() -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Colored clouds under noise, of several sizes; the same at each call.

    Yields:
        A name, and (H, W, 3) uint8 RGB.
    """
    rng = np.random.default_rng(0)
    for number in range(NUM_DRAWN):
        height, width = _DRAWN_SIZES[number % len(_DRAWN_SIZES)]
        coarse = rng.integers(0, 256, (6, 6, 3)).astype(np.float32)
        clouds = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        noisy = clouds + rng.normal(0, 12, clouds.shape)
        yield f"drawn picture {number + 1}", np.clip(noisy, 0, 255).astype(np.uint8)
