"""What a policy does to one photo, as arrays: random views, and each parameter from end to end.

Nothing is drawn on paper here; `handful.reports.sheets` does that.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.augmentation_policy import AugmentationPolicy, Shift
from handful.data.augmentation import Views, apply_views, draw_views
from handful.display import Shown
from handful.errors import UsageError

NUM_VIEWS = 16
NUM_STEPS = 8

_FLIPS = {
    "horizontal_flip": ("flip_horizontal", "mirrored"),
    "vertical_flip": ("flip_vertical", "upside down"),
}
_FACTORS = ("brightness", "contrast", "saturation")


@dataclass(frozen=True, eq=False)
class Strip:
    """K views of a photo that one parameter alone has changed, from its low to its high end.

    Args:
        name: The parameter, as in `AugmentationPolicy`.
        range: What it is drawn from, in words.
        values: (K,) float64, rising, in the parameter's own unit; 0 and 1 for a flip.
        labels: (K,) the values in words.
        views: (K, H, W, 3) uint8.
    """

    name: str
    range: str
    values: NDArray[np.float64]
    labels: tuple[str, ...]
    views: NDArray[np.uint8] = field(repr=False)


@dataclass(frozen=True, eq=False, repr=False)
class Preview(Shown):
    """A photo, random views of it, and a strip for each parameter that does something.

    Args:
        photo: (H, W, 3) uint8, as the network sees it.
        views: (16, H, W, 3) uint8, drawn at random.
        strips: In the order of the policy's parameters; none when it changes nothing.
        notes: Sentences on parameters that no strip can show: what lies outside, `rescale`.
        name: What is shown, for people.
        seed: Seed of the random views.
        source: Path of the photo; None where it lies in memory.
        recipe: What decides how the network sees it; None for a photo shown as it was given.
        path: PNG file that was written, or None.
    """

    photo: NDArray[np.uint8]
    views: NDArray[np.uint8]
    strips: tuple[Strip, ...]
    notes: tuple[str, ...]
    name: str = ""
    seed: int = 0
    source: Path | None = None
    recipe: str | None = None
    path: Path | None = None

    def _in_words(self) -> str:
        height, width = self.photo.shape[:2]
        names = ", ".join(strip.name for strip in self.strips) or "nothing"
        return f"{self.name[:80]}, {width} x {height} pixels: what changes is {names}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `handful preview --json` prints them; the pictures are left out.

        Returns:
            Names and values are described in docs/file-formats.md.
        """
        parameters = [
            {"name": strip.name, "range": strip.range, "values": strip.values.tolist()}
            for strip in self.strips
        ]
        height, width = self.photo.shape[:2]
        return {
            "photo": None if self.source is None else str(self.source),
            "recipe": self.recipe,
            "seed": self.seed,
            "picture": None if self.path is None else str(self.path),
            "height": height,
            "width": width,
            "num_views": len(self.views),
            "parameters": parameters,
            "notes": list(self.notes),
        }


def draw_preview(
    photo: NDArray[np.uint8], policy: AugmentationPolicy, seed: int = 0, name: str = ""
) -> Preview:
    """Show what a policy does to a photo.

    Args:
        photo: (H, W, 3) uint8 RGB, at the size that the network takes.
        policy: Any policy.
        seed: Seed of the random views, 0 or more.
        name: What is shown, for people.

    Returns:
        The views and strips.

    Raises:
        UsageError: When the array is no RGB picture, or the seed is negative.
    """
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or not photo.size:
        raise UsageError(
            f"photo is {photo.dtype} of shape {photo.shape}; expected uint8 of shape (H, W, 3)."
        )
    if seed < 0:
        raise UsageError(f"`seed` is {seed}; expected 0 or more.")
    height, width = photo.shape[:2]
    drawn = draw_views(policy, NUM_VIEWS, height, width, np.random.default_rng(seed))
    return Preview(
        photo=photo,
        views=_apply(photo, drawn, policy),
        strips=tuple(
            Strip(
                sweep.name,
                sweep.range,
                sweep.values,
                tuple(sweep.labels),
                _apply(photo, sweep.views(), _only(policy, sweep.name)),
            )
            for sweep in _sweeps(policy, height, width)
        ),
        notes=tuple(_notes(policy)),
        name=name,
        seed=seed,
    )


@dataclass(frozen=True)
class _Sweep:
    """A strip before its views are made; `changes` are members of `Views`."""

    name: str
    range: str
    values: NDArray[np.float64]
    labels: list[str]
    changes: dict[str, NDArray[Any]]

    def views(self) -> Views:
        count = len(self.values)
        still = draw_views(AugmentationPolicy(), count, 1, 1, np.random.default_rng(0))
        return replace(still, **self.changes)


def _sweeps(policy: AugmentationPolicy, height: int, width: int) -> list[_Sweep]:
    """The parameters that do something, in the order of the policy."""
    found = {
        sweep.name: sweep
        for sweep in (
            *_sweep_reaches(policy),
            *_sweep_shifts("width_shift_range", "shift_x", policy.width_shift_range, width),
            *_sweep_shifts("height_shift_range", "shift_y", policy.height_shift_range, height),
            *_sweep_zooms(policy),
            *_sweep_flips(policy),
            *_sweep_factors(policy),
        )
    }
    return [found[item.name] for item in fields(policy) if item.name in found]


def _sweep_reaches(policy: AugmentationPolicy) -> Iterator[_Sweep]:
    for name, unit, words in (
        ("rotation_range", "°", ""),
        ("shear_range", "°", ""),
        ("channel_shift_range", "", ", of 255"),
    ):
        reach = getattr(policy, name)
        if reach:
            values = _steps(-reach, reach)
            labels = [f"{_number(value, '+')}{unit}" for value in values]
            member = name.removesuffix("_range")
            yield _Sweep(name, _span(values, unit) + words, values, labels, {member: values})


def _sweep_shifts(name: str, member: str, given: Shift, size: int) -> Iterator[_Sweep]:
    """Keras' three ways to say how far, as `handful.data.augmentation` draws them."""
    largest = max(given) if isinstance(given, tuple) else given
    if isinstance(given, tuple):
        both = sorted({sign * float(value) for value in given for sign in (-1, 1)})
        picked = np.rint(_steps(0, len(both) - 1)).astype(int)
        values = np.array(both)[np.unique(picked)]
    elif isinstance(given, int):
        values = np.unique(np.rint(_steps(1 - given, given - 1))) if given else np.zeros(1)
    else:
        values = _steps(-given, given)
    values = values + 0.0  # no minus zero
    if not values.any():
        return
    is_share = largest < 1
    unit, axis = (" %", "width" if member == "shift_x" else "height") if is_share else (" px", "")
    shown = values * 100 if is_share else values
    words = _span(shown, unit)
    if isinstance(given, tuple):
        listed = ", ".join(_number(abs(value * 100 if is_share else value)) for value in given)
        words = f"one of {listed}{unit}, with either sign"
    elif isinstance(given, int):
        words += ", whole pixels"
    yield _Sweep(
        name,
        f"{words}, of the {axis}" if axis else words,
        values,
        [f"{_number(value, '+')}{unit}" for value in shown],
        {member: values * size if is_share else values},
    )


def _sweep_zooms(policy: AugmentationPolicy) -> Iterator[_Sweep]:
    low, high = policy.zoom_interval
    if (low, high) != (1, 1):
        values = _steps(low, high)
        how = "each axis on its own" if policy.aspect_range is None else "both axes together"
        words = f"{_span(values)}, {how}; below 1 things get larger"
        changes = {"zoom_x": values, "zoom_y": values}
        yield _Sweep("zoom_range", words, values, _times(values), changes)
    if policy.aspect_range:
        ratios = np.exp(_steps(-policy.aspect_range, policy.aspect_range))
        words = f"{_span(ratios.round(2))}, the zoom across over the zoom down"
        changes = {"zoom_x": np.sqrt(ratios), "zoom_y": 1 / np.sqrt(ratios)}
        yield _Sweep("aspect_range", words, ratios, _times(ratios), changes)


def _sweep_flips(policy: AugmentationPolicy) -> Iterator[_Sweep]:
    for name, (member, label) in _FLIPS.items():
        if getattr(policy, name):
            changes = {member: np.array([False, True])}
            labels = ["as it is", label]
            yield _Sweep(name, "half of the views", np.array([0.0, 1.0]), labels, changes)


def _sweep_factors(policy: AugmentationPolicy) -> Iterator[_Sweep]:
    for member in _FACTORS:
        pair = getattr(policy, f"{member}_range")
        if pair is not None and tuple(pair) != (1, 1):
            values = _steps(*pair)
            name, words = f"{member}_range", f"{_span(values)} times"
            yield _Sweep(name, words, values, _times(values), {member: values})


def _notes(policy: AugmentationPolicy) -> Iterator[str]:
    what = {
        "nearest": "its edge, drawn out",
        "reflect": "its mirror image",
        "wrap": "its other side",
        "constant": f"the value {policy.cval:g}",
    }
    yield f"fill_mode {policy.fill_mode}: outside the photo lies {what[policy.fill_mode]}."
    if policy.rescale is not None:
        yield f"rescale: all values times {policy.rescale:.4g} in the end, which cannot be seen."


def _only(policy: AugmentationPolicy, name: str) -> AugmentationPolicy:
    """The policy less every parameter but one; what lies outside stays."""
    kept = {item: getattr(policy, item) for item in (name, "fill_mode", "cval")}
    return AugmentationPolicy(**kept)


def _apply(photo: NDArray[np.uint8], views: Views, policy: AugmentationPolicy) -> NDArray[np.uint8]:
    images = np.broadcast_to(np.ascontiguousarray(photo), (len(views), *photo.shape))
    return apply_views(images, views, policy)


def _steps(low: float, high: float) -> NDArray[np.float64]:
    """Evenly spread from end to end; one step where there is no room for more."""
    return np.linspace(low, high, NUM_STEPS) if low < high else np.array([float(low)])


def _times(values: Iterable[float]) -> list[str]:
    return [f"{value:.2f}" for value in values]


def _span(values: NDArray[np.float64], unit: str = "") -> str:
    low, high = (f"{_number(end)}{unit}" for end in (values[0], values[-1]))
    return low if low == high else f"{low} to {high}"


def _number(value: float, sign: str = "") -> str:
    return f"{value:{sign}.3g}".replace("-", "−")
