"""What a job is asked to do: plain values, checked once, when they are put together."""

import os
from dataclasses import dataclass
from pathlib import Path

PRECISIONS = ("auto", "bf16", "f32", "int8")
RESIZES = ("squash", "crop", "halfway")
CLASS_WEIGHTS = ("auto", "balanced", "none")


def cache_folder() -> Path:
    """Folder for everything that can be made again: embeddings and converted networks.

    Returns:
        The environment variable `HANDFUL_CACHE` where it is set, else the user's cache folder
        of the platform. Nothing is created.
    """
    given = os.environ.get("HANDFUL_CACHE")
    if given:
        return Path(given).expanduser()
    # platformdirs costs a few milliseconds that a set variable saves.
    from platformdirs import user_cache_path

    return user_cache_path("handful")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what `train` makes from a set of photos.

    Args:
        backbone: Name of the pretrained network, see `handful.backbones`.
        weights: Weights file to use instead of the backbone's own, or None.
        image_size: Side in pixels that photos are decoded to; None takes the backbone's own.
        resize: "squash" keeps the whole photo and not its proportions, "crop" the reverse,
            "halfway" does half of each.
        precision: "int8", "bf16" or "f32" arithmetic in the network; "auto" takes int8 for the
            EfficientNet-Lites, which alone have it, and for others bf16 where the processor
            computes it natively, else f32.
        views: Augmented views of each training photo to fit the head on; 1 is the photo alone.
        test_time_mirror: Average a photo's and its mirror image's embedding when predicting.
        class_weight: "balanced" weighs classes by inverse frequency, "none" does not, "auto"
            does when the largest class has over 3 times the photos of the smallest.
        validation_fraction: Share of each class held out when the photos bring no split, in (0, 1).
        drop_leaks: Leave out training photos that near-duplicate a held-out one.
        seed: Seed of everything drawn at random, 0 or more.
        max_megapixels: Larger pictures are rejected before they are decoded.

    Raises:
        ValueError: When a value is outside its range.
    """

    backbone: str = "efficientnet-lite0"
    weights: str | None = None
    image_size: int | None = None
    resize: str = "halfway"
    precision: str = "auto"
    views: int = 1
    test_time_mirror: bool = False
    class_weight: str = "auto"
    validation_fraction: float = 0.2
    drop_leaks: bool = False
    seed: int = 0
    max_megapixels: float = 100.0

    def __post_init__(self) -> None:
        _check_choice("resize", self.resize, RESIZES)
        _check_choice("precision", self.precision, PRECISIONS)
        _check_choice("class_weight", self.class_weight, CLASS_WEIGHTS)
        _check_range("image_size", self.image_size or 224, 32, 1024)
        _check_range("views", self.views, 1, 64)
        _check_range("seed", self.seed, 0, 2**32 - 1)
        _check_range("max_megapixels", self.max_megapixels, 0.001, 4_000)
        if not 0.0 < self.validation_fraction < 1.0:
            raise ValueError(
                f"validation_fraction is {self.validation_fraction}; expected a share between "
                "0 and 1, such as 0.2."
            )


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(choices)}.")


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; expected {low} to {high}.")
