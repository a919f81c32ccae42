"""What a network of the user's own takes, and what its embedding is: said in a few plain fields.

They stand in a JSON beside the network's file, in the preprocessor_config.json of a hub, or in an
option; what is left out is found out from the graph where that is possible.
"""

import difflib
import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from handful.errors import UsageError, WeightsError
from handful.files.atomic import MALFORMED, explain_damage, read_json

# How an output becomes an embedding: "none" takes it as it is, "cls" takes the first token, "mean"
# the mean over patches of an image or places of a feature map, "penultimate" what goes into the
# last linear layer.
POOLINGS = ("none", "cls", "mean", "cls+mean", "penultimate")
LAYOUTS = ("NCHW", "NHWC")
CHANNEL_ORDERS = ("RGB", "BGR")
HUB_FILE = "preprocessor_config.json"
MAX_IMAGE_SIZE = 4096

_WORDS = {name: name for name in ("pooling", "output", "layout", "channel_order")}
_CHOICES = {"pooling": POOLINGS, "layout": LAYOUTS, "channel_order": CHANNEL_ORDERS}
# Keys that only the file of a hub has.
_HUB_KEYS = ("image_mean", "image_processor_type", "feature_extractor_type", "crop_size", "size")


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How pixels go in, and what comes out as an embedding; None is to be found out.

    Args:
        image_size: Side in pixels of the square image that the network takes.
        value_range: What 0 and 255 become before the mean is taken off; None is [0, 1] where a
            mean is given.
        mean: Taken off each channel then, one number or three.
        std: Each channel is divided by it then, one number or three.
        channel_order: "RGB" or "BGR".
        crop_fraction: Share of the photo's side that the network sees, in its middle.
        layout: "NCHW" or "NHWC".
        output: Name of the output or the node that the embedding is made of.
        pooling: One of `POOLINGS`.

    Raises:
        UsageError: When a value is none that can be.
    """

    image_size: int | None = None
    value_range: tuple[float, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channel_order: str | None = None
    crop_fraction: float | None = None
    layout: str | None = None
    output: str | None = None
    pooling: str | None = None

    def __post_init__(self) -> None:
        for name in (found.name for found in fields(self)):
            value = getattr(self, name)
            if value is not None and (expected := _wrong(name, value)):
                raise UsageError(f"`preprocessing`: {name} is {value!r}; expected {expected}.")

    @property
    def is_normalization_known(self) -> bool:
        """Whether it is said what becomes of a pixel's value."""
        return self.mean is not None or self.std is not None or self.value_range is not None

    def affine(self) -> tuple[list[float], list[float]]:
        """Normalization as one factor and one summand for each of the network's channels.

        Returns:
            Three factors and three summands for values of 0 to 255.
        """
        low, high = self.value_range or (0.0, 1.0)
        means, deviations = (_three(self.mean, 0.0), _three(self.std, 1.0))
        pairs = list(zip(means, deviations, strict=True))
        return (
            [(high - low) / 255 / std for _, std in pairs],
            [(low - mean) / std for mean, std in pairs],
        )

    def updated(self, other: "Preprocessing") -> "Preprocessing":
        """The same with what another one says put over it.

        Args:
            other: Its fields that are not None count.

        Returns:
            Both together.
        """
        return replace(self, **other.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """The fields that are known, as they stand in a JSON."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def to_text(self) -> str:
        """One line of JSON, the same for the same values: a part of a network's digest."""
        return json.dumps(self.to_dict(), sort_keys=True)


def find_preprocessing(network: Path, asked: str | None) -> Preprocessing:
    """Read what is said of a network, in a file beside it and by the user.

    Args:
        network: The network's file. Beside it may lie NAME.json, NAME.onnx.json or a hub's
            preprocessor_config.json.
        asked: The user's own, see `parse_preprocessing`: goes before what the file says, or takes
            its place where it is a file itself.

    Returns:
        All that is said.

    Raises:
        UsageError: When what is asked for cannot be.
        WeightsError: When a file cannot be read or says what cannot be.
    """
    names = (f"{network.stem}.json", f"{network.name}.json", HUB_FILE)
    beside = [network.with_name(name) for name in names]
    found = next((path for path in beside if path.is_file()), None)
    if found is None or (asked is not None and _is_file(asked)):
        return with_asked(Preprocessing(), asked)
    return with_asked(read_preprocessing(found), asked)


def with_asked(said: Preprocessing, asked: str | None) -> Preprocessing:
    """Put what the user says over what is said beside a network.

    Args:
        said: What is said there.
        asked: The user's own: fields, which are put over it, or the path of a JSON, which takes
            its place; None takes what is said.

    Returns:
        What holds.

    Raises:
        UsageError: When what is asked for cannot be.
        WeightsError: When the JSON cannot be read or says what cannot be.
    """
    if asked is None:
        return said
    if _is_file(asked):
        return read_preprocessing(Path(asked.strip()).expanduser())
    return said.updated(parse_preprocessing(asked))


def _is_file(asked: str) -> bool:
    return asked.strip().lower().endswith(".json")


def parse_preprocessing(text: str) -> Preprocessing:
    """Read fields from one line.

    Args:
        text: Such as "image_size=224 mean=0.485,0.456,0.406 std=0.229,0.224,0.225 pooling=cls", or
            a JSON object.

    Returns:
        What it says.

    Raises:
        UsageError: When it says what cannot be.
    """
    example = "image_size=224 mean=0.485,0.456,0.406 std=0.229,0.224,0.225 pooling=cls"
    try:
        if text.lstrip().startswith("{"):
            values = json.loads(text)
        else:
            pairs = [word.partition("=") for word in shlex.split(text)]
            values = {name: _value(name, value) for name, _, value in pairs}
    except ValueError as error:
        raise UsageError(
            f"`preprocessing` is {text!r}, which cannot be read ({error}); expected fields such as "
            f"{example!r}, a JSON object, or a .json file."
        ) from error
    return _from_values(values, f"fields such as {example!r}")


def read_preprocessing(path: Path) -> Preprocessing:
    """Read a JSON that says what a network takes.

    Args:
        path: A file with the fields of `Preprocessing`, or a preprocessor_config.json of a hub.

    Returns:
        What it says.

    Raises:
        WeightsError: When it cannot be read or says what cannot be.
    """
    try:
        values = read_json(path, 1_000_000)
        if any(key in values for key in _HUB_KEYS):
            return from_hub(values)
        return _from_values(values, "the fields of docs/backbones.md")
    except UsageError as error:
        raise WeightsError(f"{path}: {str(error).removeprefix('`preprocessing`: ')}") from error
    except MALFORMED as error:
        raise WeightsError(
            f"{path} cannot be read as the preprocessing of a network: {explain_damage(error)}. "
            "Expected a JSON object such as docs/backbones.md shows."
        ) from error


def from_hub(values: Mapping[str, Any]) -> Preprocessing:
    """Take over what the preprocessor_config.json of a hub says.

    How photos become squares there (the shortest edge, the central crop) is left out: handful has
    its own way for every network, and shows it the whole photo.

    Args:
        values: The file's values.

    Returns:
        Size and normalization.
    """
    factor = values.get("rescale_factor", 1 / 255) if values.get("do_rescale", True) else 1.0
    normalizes = values.get("do_normalize", True) and "image_mean" in values
    crops = values.get("do_center_crop", False) and "crop_size" in values
    return Preprocessing(
        image_size=_side(values["crop_size"] if crops else values.get("size")),
        value_range=(0.0, 255 * float(factor)),
        mean=_numbers(values["image_mean"]) if normalizes else None,
        std=_numbers(values["image_std"]) if normalizes else None,
    )


def _side(size: Any) -> int | None:
    """The side that a hub's file means: a number, height and width, or the shortest edge."""
    if isinstance(size, Mapping):
        sides = {int(size[key]) for key in ("height", "width", "shortest_edge") if size.get(key)}
        return sides.pop() if len(sides) == 1 else None
    return None if size is None else int(size)


def _from_values(values: Mapping[str, Any], expected: str) -> Preprocessing:
    if not isinstance(values, Mapping):
        raise UsageError(f"`preprocessing` is {values!r}; expected {expected}.")
    known = [found.name for found in fields(Preprocessing)]
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1) or known
            raise UsageError(f"`preprocessing`: {name!r} is no field; expected {', '.join(near)}.")
    taken = {name: value for name, value in values.items() if value is not None}
    for name in {"mean", "std", "value_range"} & taken.keys():
        taken[name] = _numbers(taken[name])
    return Preprocessing(**taken)


def _value(name: str, text: str) -> Any:
    """A value of one line: a word, or numbers between commas; others stay for `_wrong` to name."""
    if not text:
        raise ValueError(f"{name!r} has no value")
    if name in _WORDS:
        return text
    parts = text.split(",")
    try:
        numbers = [float(part) if "." in part or "e" in part else int(part) for part in parts]
    except ValueError:
        return text
    return numbers[0] if len(numbers) == 1 else numbers


def _numbers(value: Any) -> Any:
    """Numbers as a tuple; what is none stays for `_wrong` to name."""
    listed = value if isinstance(value, list | tuple) else [value]
    if any(isinstance(one, bool) or not isinstance(one, int | float) for one in listed):
        return value
    return tuple(float(one) for one in listed)


def _three(values: tuple[float, ...] | None, default: float) -> tuple[float, ...]:
    found = values or (default,)
    return found * 3 if len(found) == 1 else found


def _wrong(name: str, value: Any) -> str:
    """What a field should be, where it is not; else nothing."""
    if name in _CHOICES:
        return "" if value in _CHOICES[name] else f"one of {', '.join(_CHOICES[name])}"
    if name == "output":
        return "" if isinstance(value, str) and value else "a name"
    if name == "image_size":
        whole = isinstance(value, int) and not isinstance(value, bool)
        return "" if whole and 0 < value <= MAX_IMAGE_SIZE else f"1 to {MAX_IMAGE_SIZE} pixels"
    if name == "crop_fraction":
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return "" if number and 0 < value <= 1 else "a number above 0, at most 1"
    numbers = isinstance(value, tuple) and all(map(_is_finite, value))
    if name == "value_range":
        rises = numbers and len(value) == 2 and value[0] < value[1]
        return "" if rises else "two numbers, the smaller one first"
    lowest = 0.0 if name == "std" else -math.inf
    fits = numbers and len(value) in (1, 3) and all(one > lowest for one in value)
    return "" if fits else f"one number or three{', above 0' if name == 'std' else ''}"


def _is_finite(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)
