"""What a chart is: two axes and the marks between them, as plain values, and its SVG for a page.

A chart is described once. Pages show it as SVG, which takes its colors from the page's style sheet
and follows its light or dark theme; `handful.reports.figures` makes PNG files of the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal

# Names of colors, see templates/charts.css and `handful.reports.figures`: "right", "wrong", "ink",
# "faint", and for each of several things "c0", "c1", ... after which the first comes again.
NUM_COLORS = 6
NARROW_SPACE = "\u202f"
# Around the frame, in the units of the drawing; at the left with and without numbers there.
_LEFT, _BARE, _TOP, _TICKS, _LABEL = 46, 30, 18, 24, 18


@dataclass(frozen=True)
class Axis:
    """One axis.

    Args:
        low: Value at the left or the bottom; larger than `high` for one that falls.
        high: Value at the other end.
        ticks: Values with their names.
        label: What is on it.
        scale: How values are spread; "log" takes positive ones, "root" such from 0.
        has_grid: Whether lines go through the frame at the ticks.
    """

    low: float
    high: float
    ticks: Sequence[tuple[float, str]] = ()
    label: str = ""
    scale: Literal["linear", "log", "root"] = "linear"
    has_grid: bool = False

    def place(self, value: float) -> float:
        """Where a value is on the axis.

        Args:
            value: Any; on another scale than a linear one it is positive.

        Returns:
            0 at the low and 1 at the high end.
        """
        change: Any = {"linear": float, "log": math.log, "root": math.sqrt}[self.scale]
        low, high = change(self.low), change(self.high)
        return float((change(value) - low) / ((high - low) or 1.0))


Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A line through points; a light and wide one shows an interval."""

    points: Sequence[Point]
    color: str
    width: float = 1.8
    is_dashed: bool = False
    is_light: bool = False
    title: str = ""


@dataclass(frozen=True)
class Area:
    """A light area inside points."""

    points: Sequence[Point]
    color: str


@dataclass(frozen=True)
class Box:
    """A bar from one corner to the opposite one."""

    corners: tuple[Point, Point]
    color: str
    is_light: bool = False
    title: str = ""


@dataclass(frozen=True)
class Dot:
    """A point; a ring when it is hollow."""

    point: Point
    color: str
    radius: float = 4
    is_hollow: bool = False
    title: str = ""


@dataclass(frozen=True)
class Words:
    """Text at a point, moved right and up by so many units of the drawing."""

    point: Point
    text: str
    color: str = "faint"
    anchor: Literal["start", "middle", "end"] = "middle"
    shift: Point = (0, 0)


Mark = Line | Area | Box | Dot | Words


@dataclass(frozen=True)
class Chart:
    """A chart.

    Args:
        title: Its heading; a page writes that itself.
        description: What it shows, for those who do not see it.
        x: The axis below.
        y: The axis at the left; one without ticks is not drawn.
        marks: What is in it, the lowest first. Words may lie outside the frame, and what else
            does is cut off.
        legend: Names of marks like these, for figures; a page writes them below.
        width: Of the frame, about 80 to an inch.
        height: Of the frame.
        right: Room for words at the right of the frame.
    """

    title: str
    description: str
    x: Axis
    y: Axis
    marks: Sequence[Mark]
    legend: Sequence[tuple[str, Mark]] = ()
    width: int = 280
    height: int = 240
    right: int = 16

    def __html__(self) -> str:
        """The chart as SVG, for Jinja."""
        left = _LEFT if self.y.ticks else _BARE
        below = _TICKS + (_LABEL if self.x.label else 0)
        size = f"{left + self.width + self.right} {_TOP + self.height + below}"
        words = [mark for mark in self.marks if isinstance(mark, Words)]
        drawn = "\n".join(self._mark(mark) for mark in self.marks if not isinstance(mark, Words))
        if self._overflows():
            name = "frame-" + "".join(c for c in self.title.lower() if c.isalnum())
            drawn = (
                f'<clipPath id="{name}"><rect x="-4" y="-4" width="{self.width + 8}" '
                f'height="{self.height + 8}"/></clipPath><g clip-path="url(#{name})">{drawn}</g>'
            )
        parts = [*self._axes(), drawn, *map(self._mark, words)]
        return (
            f'<svg viewBox="0 0 {size}" role="img" aria-label="{escape(self.description)}">'
            f'<g transform="translate({left} {_TOP})">\n' + "\n".join(parts) + "\n</g></svg>"
        )

    def _overflows(self) -> bool:
        lines = (mark.points for mark in self.marks if isinstance(mark, Line | Area))
        places = [self.y.place(y) for points in lines for _, y in points]
        return bool(places) and not -0.01 <= min(places) <= max(places) <= 1.01

    def _axes(self) -> list[str]:
        """Lines of the grid, names of the ticks and what is on the axis below."""
        width, height, parts = self.width, self.height, []
        for value, name in self.y.ticks:
            y = _short(height * (1 - self.y.place(value)))
            if self.y.has_grid:
                parts.append(f'<line class="grid" x1="0" x2="{width}" y1="{y}" y2="{y}"/>')
            parts.append(f'<text x="-7" y="{y}" dy="4" text-anchor="end">{escape(name)}</text>')
        for value, name in self.x.ticks:
            x = _short(width * self.x.place(value))
            if self.x.has_grid:
                parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="0" y2="{height}"/>')
            at = f'x="{x}" y="{height + 17}"'
            parts.append(f'<text {at} text-anchor="middle">{escape(name)}</text>')
        if self.x.label:
            at = f'class="axis" x="{width / 2:g}" y="{height + 36}"'
            parts.append(f'<text {at} text-anchor="middle">{escape(self.x.label)}</text>')
        return parts

    def _mark(self, mark: Mark) -> str:
        kind = mark.color + " words" * isinstance(mark, Words)
        kind += " dashed" * getattr(mark, "is_dashed", False)
        kind += " light" * getattr(mark, "is_light", False)
        kind += " hollow" * getattr(mark, "is_hollow", False)
        match mark:
            case Words():
                x, y = self._at(mark.point)
                place = f'x="{_short(x + mark.shift[0])}" y="{_short(y - mark.shift[1])}" dy="4"'
                text = escape(mark.text)
                return f'<text class="{kind}" {place} text-anchor="{mark.anchor}">{text}</text>'
            case Line():
                shape = f'polyline style="stroke-width:{mark.width:g}" points="{self._path(mark)}"'
            case Area():
                shape = f'polygon points="{self._path(mark)}"'
            case Box():
                (left, bottom), (right, top) = map(self._at, mark.corners)
                shape = f'rect x="{_short(left)}" y="{_short(top)}" '
                shape += f'width="{_short(right - left)}" height="{_short(bottom - top)}"'
            case Dot():
                x, y = self._at(mark.point)
                shape = f'circle cx="{_short(x)}" cy="{_short(y)}" r="{mark.radius:g}"'
        tag, _, rest = shape.partition(" ")
        words = getattr(mark, "title", "")
        title = f"<title>{escape(words)}</title>" if words else ""
        return f'<{tag} class="{kind}" {rest}>{title}</{tag}>'

    def _at(self, point: Point) -> Point:
        return self.width * self.x.place(point[0]), self.height * (1 - self.y.place(point[1]))

    def _path(self, mark: Line | Area) -> str:
        return " ".join(f"{_short(x)},{_short(y)}" for x, y in map(self._at, mark.points))


def _short(value: float) -> str:
    return f"{round(value, 1) + 0.0:g}"


def percent_name(share: float) -> str:
    """Name a tick that is a share.

    Args:
        share: A fraction.

    Returns:
        Such as "97.5 %".
    """
    return f"{round(100 * share, 3):g}{NARROW_SPACE}%"


def tick_name(value: float, step: float, is_share: bool) -> str:
    """Name a tick, with as many digits as the step between ticks asks for.

    Args:
        value: Of the tick.
        step: From tick to tick.
        is_share: Whether it is written in percent.

    Returns:
        Such as "95 %" or "0.25".
    """
    if is_share:
        return f"{value * 100:.{0 if step > 0.0099 else 1}f}{NARROW_SPACE}%"
    return f"{value:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


def round_step(span: float) -> float:
    """Choose a round step between ticks.

    Args:
        span: From the axis' low to its high end.

    Returns:
        A step that cuts it into some three to seven.
    """
    rough = (span or 1.0) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    return float(next(power * size for size in (1, 2, 5, 10) if power * size >= rough * 0.999))
