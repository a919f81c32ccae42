"""What views of photos are drawn from: a group of options, as `config` has others."""

from dataclasses import dataclass, fields

from handful.errors import UsageError
from handful.options import Options, option

FILL_MODES = ("nearest", "reflect", "wrap", "constant")
_SHIFTS = ("width_shift_range", "height_shift_range")
_FACTORS = ("brightness_range", "contrast_range", "saturation_range")

Shift = float | int | tuple[float, ...]
Pair = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class AugmentationPolicy(Options):
    """Ranges to draw views from. Nothing is changed by default.

    Args:
        rotation_range: Rotation in degrees, uniform in [-r, r].
        width_shift_range: Shift to the sides. A float below 1 is a share of the width, from 1 on
            pixels, both uniform in [-r, r]; an int n is a whole number of pixels below n; of a
            tuple one value is taken, with either sign.
        height_shift_range: Shift up and down, likewise.
        shear_range: Shear angle in DEGREES, uniform in [-s, s]: 0.2 is hardly any.
        zoom_range: Factor on the coordinates of each axis on its own, uniform in [low, high];
            a number z means [1 - z, 1 + z]. Below 1 things get larger.
        horizontal_flip: Mirror half of the views left to right.
        vertical_flip: Turn half of the views upside down.
        brightness_range: Factor on all values, uniform in [low, high], or None.
        channel_shift_range: Added to all values, uniform in [-c, c], of 255.
        fill_mode: What lies outside the picture: "nearest" its edge, "reflect" its mirror image,
            "wrap" its other side, "constant" `cval`.
        cval: Value outside for "constant", 0 to 255.
        rescale: Factor on the values in the end, such as 1 / 255, or None; `batches` applies it.
        aspect_range: Not in Keras. None draws both axes' zooms on their own; a number a draws
            one zoom and a ratio of the axes, log-uniform in [exp(-a), exp(a)].
        contrast_range: Not in Keras. Factor on the distance to the picture's mean, or None.
        saturation_range: Not in Keras. Factor on the distance to gray, or None.

    Lists are taken for tuples.

    Raises:
        UsageError: When a range is impossible.

    Source:
        Names, meanings and distributions are those of Keras'
        `keras.preprocessing.image.ImageDataGenerator`, with two deviations: its
        `height_shift_range` really shifts to the sides and its `width_shift_range` up and down,
        here they do what they say; and pictures that are not square turn about their center.
    """

    heading = "Augmentation"

    rotation_range: float = option(0.0, "Rotation, up to so many degrees.", least=0)
    width_shift_range: Shift = option(
        0.0,
        "Shift to the sides: a fraction of the width, from 1 on pixels, or some of them to choose "
        "from.",
        metavar="NUMBER[,NUMBER...]",
    )
    height_shift_range: Shift = option(
        0.0, "Shift up and down, likewise.", metavar="NUMBER[,NUMBER...]"
    )
    shear_range: float = option(0.0, "Shear, up to so many degrees.", least=0)
    zoom_range: float | Pair = option(
        0.0,
        "Zoom of each axis: 0.2 for 0.8 to 1.2; below 1 things get larger.",
        metavar="NUMBER|LOW,HIGH",
    )
    horizontal_flip: bool = option(False, "Mirror half of the views left to right.")
    vertical_flip: bool = option(False, "Turn half of the views upside down.")
    brightness_range: Pair | None = option(
        None, "Factor on all values, such as 0.7,1.3.", metavar="LOW,HIGH"
    )
    channel_shift_range: float = option(
        0.0, "What is added to all values, up to this, of 255.", least=0
    )
    fill_mode: str = option(
        "nearest",
        "What lies outside the photo: nearest (its edge), reflect (its mirror image), wrap (its "
        "other side) or constant.",
        choices=FILL_MODES,
    )
    cval: float = option(0.0, "Value outside for constant.", least=0, most=255)
    rescale: float | None = None
    aspect_range: float | None = option(
        None, "One zoom for both axes, and a ratio of them up to exp(this).", least=0
    )
    contrast_range: Pair | None = option(
        None, "Factor on the distance to the photo's mean.", metavar="LOW,HIGH"
    )
    saturation_range: Pair | None = option(
        None, "Factor on the distance to gray.", metavar="LOW,HIGH"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in _SHIFTS:
            value = getattr(self, name)
            if value == () or (not isinstance(value, tuple) and value < 0):
                raise UsageError(
                    f"`{name}` is {value!r}; expected a number, 0 or more, or one or more shifts."
                )
        is_pair = not isinstance(self.zoom_range, tuple) or len(self.zoom_range) == 2
        if not (is_pair and 0 < self.zoom_interval[0] <= self.zoom_interval[1]):
            raise UsageError(
                f"`zoom_range` is {self.zoom_range!r}; expected a number, 0 or more and less than "
                "1, or (low, high) above 0."
            )
        for name in _FACTORS:
            pair = getattr(self, name)
            if pair is not None and not (len(pair) == 2 and 0 <= pair[0] <= pair[1]):
                raise UsageError(f"`{name}` is {pair!r}; expected (low, high), 0 or more.")

    @property
    def zoom_interval(self) -> Pair:
        """Smallest and largest factor of `zoom_range`."""
        if isinstance(self.zoom_range, tuple):
            return self.zoom_range
        return 1 - self.zoom_range, 1 + self.zoom_range

    @property
    def changes_nothing(self) -> bool:
        """Whether every view is the picture itself; `rescale` is no matter of views."""
        plain = AugmentationPolicy(fill_mode=self.fill_mode, cval=self.cval, rescale=self.rescale)
        return self == plain

    def in_words(self) -> str:
        """What is not as it is by default.

        Returns:
            Such as "rotation_range 20, horizontal_flip".
        """
        found = {one.name: getattr(self, one.name) for one in fields(self)}
        changed = {one.name for one in fields(self) if found[one.name] != one.default}
        return ", ".join(
            name if value is True else f"{name} {value}"
            for name, value in found.items()
            if name in changed
        )

    def key(self) -> str:
        """Stable text of all values, for cache keys.

        Returns:
            Such as "views2:40:0.2:...:nearest:..."; the number is this code's version.
        """
        values = (getattr(self, field.name) for field in fields(self))
        return "views2:" + ":".join(
            f"{value:g}" if isinstance(value, float) else str(value) for value in values
        )
