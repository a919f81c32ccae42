"""What programs hold as photos: paths, files' bytes, arrays, Pillow's images."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, TypeGuard

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handful.data.decoding import rgb_of
from handful.errors import UsageError

Picture = str | os.PathLike[str] | bytes | IO[bytes] | NDArray[np.uint8] | Image.Image
# One of them, several, or an (N, H, W, 3) array.
Pictures = Picture | Iterable[Picture]

_EXPECTED = "a path, a file's bytes, an (H, W, 3) uint8 array or a Pillow image"


PHOTOS = "a folder, a zip or a CSV of photos"


def path_of(value: Any, name: str, expected: str) -> Path:
    """Take an argument for a path.

    Args:
        value: As the user gave it.
        name: The argument's name.
        expected: What it may be, in words.

    Returns:
        The path; whether something is there is not looked at.

    Raises:
        UsageError: When it is no path, or an empty one.
    """
    if isinstance(value, str | os.PathLike) and os.fspath(value):
        return Path(value)
    found = value if isinstance(value, str | int | float) else None
    found = f"of type {type(value).__name__}" if found is None else repr(found)
    raise UsageError(f"`{name}` is {found}; expected {expected}.")


def listed(images: Pictures) -> list[Any]:
    """Tell one photo from several.

    Args:
        images: A photo, or any number of them; anything that NumPy takes for an array is one.

    Returns:
        The photos, not looked at yet.

    Raises:
        UsageError: When it is neither.
    """
    if isinstance(images, str | os.PathLike | bytes | bytearray | memoryview | Image.Image):
        return [images]
    if hasattr(images, "read"):  # an open file, whose parts are its lines
        return [images]
    if hasattr(images, "__array__"):
        array = np.asarray(images)
        is_one = array.dtype.kind not in "OU" and array.ndim < 4
        return [array] if is_one else list(array)
    if isinstance(images, Iterable) and not isinstance(images, dict):
        return list(images)
    raise UsageError(
        f"images is of type {type(images).__name__}; expected {_EXPECTED}, or a list of them."
    )


def is_path(image: object) -> TypeGuard[str | os.PathLike[str]]:
    """Whether a photo is given by its path.

    Args:
        image: A photo.

    Returns:
        True for a path.
    """
    return isinstance(image, str | os.PathLike)


def in_memory(image: Any, name: str = "image") -> bytes | NDArray[np.uint8]:
    """Bring a photo that is no path into one of two forms.

    Args:
        image: A file's bytes, a file opened to read them, an array or a Pillow image.
        name: What to call it.

    Returns:
        The file's bytes, or its pixels, (H, W, 3) uint8 RGB.

    Raises:
        DataError: When a Pillow image cannot be loaded; a clause.
        UsageError: When it is something else, or an array of another kind.
    """
    if hasattr(image, "read"):
        image = image.read()
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, Image.Image):
        return rgb_of(image)
    if not hasattr(image, "__array__"):
        raise UsageError(f"{name} is of type {type(image).__name__}; expected {_EXPECTED}.")
    array = np.asarray(image)
    if array.dtype != np.uint8:
        raise UsageError(
            f"{name} is not uint8 but {array.dtype}; expected (H, W, 3) uint8, 0 to 255."
        )
    is_gray = array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1)
    if not array.size or not (is_gray or (array.ndim == 3 and array.shape[2] == 3)):
        raise UsageError(f"{name} is {array.shape}; expected (H, W, 3), RGB, or (H, W), gray.")
    if is_gray:
        array = np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    return np.ascontiguousarray(array)
