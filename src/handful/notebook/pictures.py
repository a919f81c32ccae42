"""Small photos for the output of a cell, read when they are shown; one that is gone is a gap."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from handful.data.decoding import shrunken
from handful.data.sources import list_zip
from handful.data.storage import read_file
from handful.errors import DataError

SIDE, LARGE_SIDE = 112, 240
# A notebook keeps what its cells show: a photo takes no more than this, whatever is on it.
_MOST_BYTES, _MOST_BYTES_LARGE = 2_400, 8_000
_QUALITIES = (70, 45, 25)


@dataclass(frozen=True)
class Photo:
    """A photo as it is shown.

    Args:
        uri: The picture itself; "" where there is none to show.
        path: Where it lies, for people.
        title: First line below it, such as its class.
        is_wrong: Whether the first line is an answer that is wrong.
        note: Second line below it.
        share: Length of the bar below it, in [0, 1], or None.
    """

    uri: str
    path: str
    title: str = ""
    is_wrong: bool = False
    note: str = ""
    share: float | None = None


def photo_uri(read: Callable[[], bytes], large: bool = False) -> str:
    """Make a small picture of a photo.

    Args:
        read: From nothing to the file's bytes.
        large: Whether it is shown by itself.

    Returns:
        A data: URI; "" where the photo cannot be read or decoded any more.
    """
    try:
        return picture_uri(shrunken(read(), LARGE_SIDE if large else SIDE), large)
    except Exception:  # Whatever became of the file, what is known of it is still shown.
        return ""


def picture_uri(image: NDArray[np.uint8], large: bool = False, *, most: int | None = None) -> str:
    """Make a picture that is small in bytes.

    Args:
        image: (H, W, 3) uint8 RGB, no larger than it is shown.
        large: Whether it is shown by itself.
        most: Bytes that it may take; None takes those of a photo.

    Returns:
        A data: URI of a WebP file.
    """
    if most is None:
        most = _MOST_BYTES_LARGE if large else _MOST_BYTES
    turned = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    while True:
        for quality in _QUALITIES:
            _, encoded = cv2.imencode(".webp", turned, [cv2.IMWRITE_WEBP_QUALITY, quality])
            if encoded.nbytes <= most:
                data = base64.b64encode(encoded.tobytes()).decode("ascii")
                return "data:image/webp;base64," + data
        height, width = turned.shape[:2]
        half = (max(width // 2, 1), max(height // 2, 1))
        turned = cv2.resize(turned, half, interpolation=cv2.INTER_AREA)


def fitted(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Make a picture as large as it is shown.

    Args:
        image: (H, W, 3) uint8.
        side: Its longer side in pixels.

    Returns:
        (h, w, 3) uint8.
    """
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def read_named(path: str) -> bytes:
    """Read the photo that a prediction names.

    Args:
        path: Of a file, or of one in a zip.

    Returns:
        The file's bytes.

    Raises:
        DataError: When there is none: it is gone, or never lay on a disk.
    """
    place = Path(path)
    if place.is_file():
        return read_file(place)
    for archive in place.parents:
        if archive.is_file():
            inside = place.relative_to(archive).as_posix()
            for file in list_zip(archive).files:
                if file.path == inside:
                    return file.read()
    raise DataError("does not exist")
