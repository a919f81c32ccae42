"""The job behind `handful preview`: what augmentation does to a photo, seen or in a file."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from handful.augmentation_policy import AugmentationPolicy
from handful.data.decoding import DecodeSettings, decode, resize
from handful.data.inputs import Picture, in_memory, is_path
from handful.data.storage import read_file
from handful.errors import DataError, UsageError
from handful.reports.sheets import preview_sheet
from handful.training.previews import Preview, draw_preview
from handful.training.recipes import find_recipe

PREVIEW_RECIPES = ("keras-tutorial", "handful")


def preview(
    photo: Picture,
    policy: AugmentationPolicy | None = None,
    *,
    recipe: str = "keras-tutorial",
    image_size: int | None = None,
    seed: int = 0,
    output: str | Path | Literal[False] | None = False,
) -> Preview:
    """Show what augmentation does to a photo: random views, and each parameter by itself.

    Args:
        photo: A path, a file's bytes, an (H, W, 3) uint8 array or a Pillow image.
        policy: What views are drawn from; None takes the recipe's.
        recipe: "keras-tutorial" or "handful", which also say how the network sees photos.
        image_size: Side in pixels of the square that the network sees; None takes the recipe's:
            150 for the exercise, 128 for ours.
        seed: Seed of the random views, 0 or more.
        output: PNG file to make; None takes NAME-preview.png. Without one, nothing is written.

    Returns:
        The views; a notebook shows them.

    Raises:
        UsageError: For an unknown recipe, a size outside 8 to 1024, or what is no photo.
        DataError: When there is no readable photo at the path.
        OutputError: When the output exists or cannot be written.

    Example:
        ```python
        handful.preview("cat.jpg", handful.AugmentationPolicy(rotation_range=10))
        ```
    """
    if recipe not in PREVIEW_RECIPES:
        raise UsageError(f"`recipe` is {recipe!r}; expected one of {', '.join(PREVIEW_RECIPES)}.")
    found = find_recipe(recipe, "augmented")
    assert found is not None and found.policy is not None
    size = found.image_size if image_size is None else image_size
    if not 8 <= size <= 1024:
        raise UsageError(f"`image_size` is {size}; expected 8 to 1024 pixels.")
    source = Path(photo) if is_path(photo) else None
    pixels = _pixels(photo, DecodeSettings(size, found.resize))
    name = "a photo" if source is None else source.name
    how = f"recipe {recipe}" if policy is None else "a policy of one's own"
    shown = draw_preview(pixels, policy or found.policy, seed, f"{name}, {how}")
    shown = replace(shown, source=source, recipe=recipe)
    if output is False:
        return shown
    stem = "photo" if source is None else source.stem
    path = Path(f"{stem}-preview.png" if output is None else output)
    preview_sheet(shown).save(path)
    return replace(shown, path=path)


def _pixels(photo: Picture, settings: DecodeSettings) -> NDArray[np.uint8]:
    """A photo as the network sees it."""
    name = "The photo"
    try:
        if is_path(photo):
            name = str(photo)
            return decode(_read(Path(photo)), settings)
        given = in_memory(photo, "photo")
        return decode(given, settings) if isinstance(given, bytes) else resize(given, settings)
    except DataError as error:
        raise DataError(
            f"{name} {error}; expected a whole photo, such as a JPEG or PNG. Give another photo."
        ) from error


def _read(path: Path) -> bytes:
    if path.is_dir():
        raise DataError("is a folder")
    if not path.exists():
        raise DataError("does not exist")
    return read_file(path)
