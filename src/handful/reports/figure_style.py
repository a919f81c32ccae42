"""How all figures look, and what they are drawn with: colours, fonts, empty sheets, axes, legends.

matplotlib is loaded when the first figure is drawn, see `handful.reports.figures`.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from handful.data.ignored import FIGURE_MARK
from handful.wording import format_rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RIGHT, WRONG = "#2563c9", "#d9541e"
INK, MUTED, FAINT = "#1d1f23", "#6b7078", "#c4c9d0"
DOTS_PER_INCH = 150
_NAME_LENGTH = 28
LEAST_SECONDS = 1e-3
_TIME_TICKS = {
    0.001: "1 ms",
    0.01: "10 ms",
    0.1: "0.1 s",
    0.3: "0.3 s",
    1: "1 s",
    3: "3 s",
    10: "10 s",
    30: "30 s",
    60: "1 min",
    180: "3 min",
    600: "10 min",
    1800: "30 min",
    3600: "1 h",
    10_800: "3 h",
    36_000: "10 h",
    86_400: "1 day",
    864_000: "10 days",
}
# Tried in this order for names in scripts that matplotlib's own font lacks.
_WIDE_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "PingFang SC",
    "Hiragino Sans",
    "Arial Unicode MS",
    "WenQuanYi Zen Hei",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
)


def new_figure(width: float, height: float) -> "tuple[Figure, Axes]":
    """Make an empty figure with one axes; the object API keeps no global list of figures.

    Args:
        width: In inches.
        height: In inches.

    Returns:
        A figure that belongs to no window, and its axes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def new_panels(width: float, height: float) -> "tuple[Figure, tuple[Axes, Axes]]":
    """Make an empty figure with two axes side by side.

    Args:
        width: In inches.
        height: In inches.

    Returns:
        A figure that belongs to no window, and its axes.
    """
    figure, _ = new_figure(width, height)
    figure.clear()
    left, right = figure.subplots(1, 2)
    return figure, (left, right)


def new_canvas(width: float, height: float) -> "tuple[Figure, Axes]":
    """Make an empty figure with axes all over it, in inches from its top left corner.

    Args:
        width: In inches.
        height: In inches.

    Returns:
        A figure that belongs to no window, and its axes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    axes.axis("off")
    return figure, axes


@contextmanager
def style(names: Sequence[str] = ()) -> Iterator[None]:
    """Set the look of all figures, with a font that has the names' letters where there is one.

    Args:
        names: Class names and the like that are written in the figure.

    Yields:
        Nothing; figures that are made inside look alike.
    """
    import matplotlib

    look: Any = {
        "font.family": ["DejaVu Sans", *_fonts_for(names)],
        "font.size": 9,
        # A user's LaTeX setting would read class names as commands.
        "text.usetex": False,
        "axes.titlesize": 10.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": MUTED,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "figure.facecolor": "white",
        "figure.constrained_layout.w_pad": 0.1,
        "figure.constrained_layout.h_pad": 0.1,
        "axes.facecolor": "white",
    }
    with matplotlib.rc_context(look):
        yield


def _fonts_for(names: Sequence[str]) -> list[str]:
    # DejaVu Sans covers the alphabets below; asking for an absent font is logged as an error.
    if all(letter < "\u0590" for name in names for letter in name):
        return []
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return [font for font in _WIDE_FONTS if font in installed]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep matplotlib's remarks from the user.

    It tells of letters its font lacks, of building its list of fonts and of a home folder it
    cannot write to; the figures come out all the same.

    Yields:
        Nothing.
    """
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def legend_of_curves(figure: "Figure", colours: Mapping[str, str], names: Sequence[str]) -> None:
    """Write below a figure which colour is whose, and which line is training.

    Args:
        figure: With curves in it.
        colours: Name -> colour.
        names: Whose curves are drawn, in order.
    """
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=colours[name], linewidth=4) for name in names]
    lines += [Line2D([], [], color=INK, linewidth=1.7)]
    lines += [Line2D([], [], color=INK, linewidth=1.1, dashes=(3, 2))]
    # matplotlib leaves labels that begin with an underscore away.
    words = [f"\u200b{short(name)}" for name in names] + ["validation", "training"]
    legend = figure.legend(lines, words, loc="outside lower center", ncols=6, frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)


def legend_below(figure: "Figure") -> None:
    """Write a figure's legend below it.

    Args:
        figure: What is drawn in it has labels.
    """
    # Inside, it would hide data: which corner is free depends on the classifier.
    figure.legend(loc="outside lower center", ncols=3, frameon=False)


def as_time_axis(axes: "Axes", seconds: Sequence[float]) -> None:
    """Make the x axis logarithmic, in seconds to days, with room for labels at the right.

    Args:
        axes: Whose x axis it is.
        seconds: What is drawn on it, 1 or more; shorter than a millisecond counts as that.
    """
    least, most = max(min(seconds), LEAST_SECONDS), max(*seconds, LEAST_SECONDS)
    span = max(most / least, 10.0)
    axes.set_xscale("log")
    axes.set_xlim(least / span**0.12, most * span**0.3)
    low, high = axes.get_xlim()
    ticks = {at: word for at, word in _TIME_TICKS.items() if low <= at <= high}
    if len(ticks) > 8:
        ticks = dict(list(ticks.items())[::2])
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.set_xticks([], minor=True)


def name_ticks(axes: "Axes", class_names: Sequence[str]) -> None:
    """Write class names beside a matrix, upright below it where there is no room.

    Args:
        axes: With the matrix in it.
        class_names: (C,) of rows and columns.
    """
    places, names = range(len(class_names)), [short(name) for name in class_names]
    turned = 0 if sum(map(len, names)) < 24 else 90
    # A dollar sign in a name is no formula.
    axes.set_xticks(places, names, rotation=turned, parse_math=False)
    axes.set_yticks(places, names, parse_math=False)


def draw_tile(
    axes: "Axes", picture: NDArray[np.uint8], left: float, top: float, width: float, height: float
) -> None:
    """Draw a picture at a place; `imshow` would take the axes' limits for its own.

    Args:
        axes: From `new_canvas`.
        picture: (H, W, 3) uint8.
        left: Of the picture, in inches.
        top: In inches.
        width: In inches.
        height: In inches.
    """
    from matplotlib.image import AxesImage

    image = AxesImage(axes, extent=(left, left + width, top + height, top), origin="upper")
    image.set_data(picture)
    image.set_clip_path(axes.patch)
    axes.add_image(image)


def write(
    axes: "Axes",
    x: float,
    y: float,
    text: str,
    *,
    size: float = 9,
    weight: str = "normal",
    colour: str = INK,
    align: str = "left",
) -> Any:
    """Write words at a place; a dollar sign in them is no formula.

    Args:
        axes: From `new_canvas`.
        x: In inches.
        y: Middle of the line, in inches.
        text: The words.
        size: In points.
        weight: "normal" or "bold".
        colour: Of the letters.
        align: What `x` is of the line: "left", "center" or "right".

    Returns:
        matplotlib's text.
    """
    return axes.text(
        x, y, text, size=size, weight=weight, color=colour, ha=align, va="center", parse_math=False
    )


def short(name: str, length: int = _NAME_LENGTH) -> str:
    """Cut a name so that it fits beside what it names.

    Args:
        name: Any text.
        length: Letters at most.

    Returns:
        One line, with an ellipsis at its end where it was cut.
    """
    # A folder's name need not be valid text; matplotlib wants that.
    line = " ".join(name.encode("utf-8", "replace").decode().split())
    return line if len(line) <= length else line[: length - 1] + "…"


def save_png(figure: "Figure", path: Path | BytesIO) -> None:
    """Write a figure as a PNG file that says that it is none of the user's photos.

    Args:
        figure: What to write.
        path: The file.

    Raises:
        OSError: When it cannot be written.
    """
    figure.savefig(path, format="png", dpi=DOTS_PER_INCH, metadata=FIGURE_MARK)


def as_percent(value: float, position: float) -> str:
    """Write a tick of an axis of shares, for matplotlib.

    Args:
        value: A fraction.
        position: Of the tick; not used.

    Returns:
        Such as "95 %" or "97.5 %".
    """
    return format_rate(value)


def as_count(value: float, position: float) -> str:
    """Write a tick of an axis of numbers, for matplotlib.

    Args:
        value: A number.
        position: Of the tick; not used.

    Returns:
        Such as "1,200".
    """
    return f"{value:,.0f}"
