"""Strips of one photo, each with what a single range of views does to it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.augmentation_policy import FILL_MODES, AugmentationPolicy
from handful.notebook.pictures import picture_uri
from handful.workflows.preview import preview

_SIDE = 88
_MOST_BYTES = 60_000
_SHOWN_VIEWS = 8
# How far the photo is moved to show what lies outside.
_OUTSIDE = 0.3


@dataclass(frozen=True)
class StripView:
    """Pictures side by side.

    Args:
        uri: A data: URI of all of them.
        words: What they show.
        labels: One for each, or none.
        num_tiles: How many there are.
    """

    uri: str
    words: str
    labels: tuple[str, ...] = ()
    num_tiles: int = 1


def range_strip(photo: bytes, policy: AugmentationPolicy, name: str, recipe: str) -> StripView:
    """Show what one range does, from end to end.

    Args:
        photo: An image file.
        policy: Where the range stands, and what lies outside.
        name: Of the range.
        recipe: Decides how photos become squares.

    Returns:
        The strip; the photo alone where the range changes nothing.
    """
    only: dict[str, Any] = {key: getattr(policy, key) for key in (name, "fill_mode", "cval")}
    shown = preview(photo, AugmentationPolicy(**only), recipe=recipe, image_size=_SIDE)
    if not shown.strips:
        return StripView(_joined(shown.photo[None]), "not used")
    strip = shown.strips[0]
    return StripView(_joined(strip.views), strip.range, strip.labels, len(strip.views))


def fill_strip(photo: bytes, recipe: str) -> StripView:
    """Show what lies outside a photo that was moved, for each way.

    Args:
        photo: An image file.
        recipe: As for `range_strip`.

    Returns:
        The strip.
    """
    views = []
    for mode in FILL_MODES:
        policy = AugmentationPolicy(width_shift_range=_OUTSIDE, fill_mode=mode)
        shown = preview(photo, policy, recipe=recipe, image_size=_SIDE)
        views.append(shown.strips[0].views[-1])
    return StripView(_joined(np.stack(views)), ", ".join(FILL_MODES), FILL_MODES, len(views))


def random_strip(photo: bytes, policy: AugmentationPolicy, recipe: str) -> StripView:
    """Show what training sees: views in which all ranges act together.

    Args:
        photo: An image file.
        policy: What they are drawn from.
        recipe: As for `range_strip`.

    Returns:
        The strip.
    """
    shown = preview(photo, policy, recipe=recipe, image_size=_SIDE)
    views = shown.views[:_SHOWN_VIEWS]
    return StripView(_joined(views), "views drawn at random", num_tiles=len(views))


def _joined(views: NDArray[np.uint8]) -> str:
    return picture_uri(np.concatenate(list(views), axis=1), most=_MOST_BYTES)
