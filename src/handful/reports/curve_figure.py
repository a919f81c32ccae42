"""The figure of a learning curve, for slides and papers; nothing is computed here."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from handful.evaluation.learning_curve import REACH, LearningCurve, PhotosNeeded, about_count
from handful.files.atomic import new_file
from handful.reports.figure_style import (
    FAINT,
    INK,
    MUTED,
    RIGHT,
    WRONG,
    as_percent,
    legend_below,
    new_figure,
    quiet,
    save_png,
    style,
)
from handful.wording import format_share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NUM_PLACES = 200
_ROUND_COUNTS = [step * 10**power for power in range(7) for step in (1, 2, 5)]
# Between ticks, as a factor: closer ones would touch.
_LEAST_STEP = 1.7


def plot_curve(curve: LearningCurve, needed: PhotosNeeded | None = None) -> "Figure":
    """Accuracy against the number of photos, what was measured and what to expect of more.

    Args:
        curve: What to draw.
        needed: An accuracy aimed at, from `curve.photos_for`; None draws none.

    Returns:
        A figure that belongs to no window.
    """
    with style():
        figure, axes = new_figure(7.6, 4.8)
        _as_photo_axis(axes, curve)
        _draw_expected(axes, curve)
        sizes = [point.photos_a_class for point in curve.points]
        axes.errorbar(
            sizes,
            [point.accuracy for point in curve.points],
            [point.deviation for point in curve.points],
            fmt="o",
            color=INK,
            markersize=4.5,
            linewidth=1,
            zorder=4,
            label="measured, ± spread of single trainings",
        )
        axes.margins(y=0.08)
        axes.set_ylim(top=min(axes.get_ylim()[1], 1 + 0.03 * np.ptp(axes.get_ylim())))
        if needed is not None:
            _draw_target(axes, curve, needed)
        _mark_sizes(axes, curve)
        axes.yaxis.set_major_formatter(as_percent)
        axes.grid(axis="y", color=FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set_title("Accuracy against the number of photos", pad=20)
        axes.set_xlabel("training photos per class")
        axes.set_ylabel("accuracy on new photos")
        legend_below(figure)
    return figure


def save_curve(curve: LearningCurve, needed: PhotosNeeded | None, path: Path) -> None:
    """Draw a learning curve as a PNG file.

    Args:
        curve: What to draw.
        needed: An accuracy aimed at, or None.
        path: File to write.

    Raises:
        OutputError: When the file exists or cannot be written.
    """
    with new_file(path) as draft, quiet():
        save_png(plot_curve(curve, needed), draft)


def _draw_expected(axes: "Axes", curve: LearningCurve) -> None:
    places = np.geomspace(curve.smallest, curve.largest, _NUM_PLACES)
    expected, low, high = curve.band(places)
    ahead = places >= curve.points[-1].photos_a_class
    behind = ~ahead
    behind[np.argmax(ahead)] = True  # the two lines meet
    axes.fill_between(places, low, high, color=RIGHT, alpha=0.15, linewidth=0)
    axes.plot(places[behind], expected[behind], color=RIGHT, linewidth=2, label="fitted curve")
    label = "to expect, with 95 % interval"
    axes.plot(places[ahead], expected[ahead], "--", color=RIGHT, linewidth=2, label=label)


def _draw_target(axes: "Axes", curve: LearningCurve, needed: PhotosNeeded) -> None:
    wanted = needed.accuracy
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, wanted - 0.01), max(high, min(wanted + 0.01, 1.004)))
    axes.axhline(wanted, color=WRONG, linewidth=1.2)
    axes.annotate(
        f"target\n{format_share(wanted)}",
        (1.0, wanted),
        (5, 0),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        va="center",
        color=WRONG,
        annotation_clip=False,
    )
    more = needed.more_a_class
    if needed.photos_a_class is None or not more:
        return
    axes.plot(needed.photos_a_class, wanted, "D", color=WRONG, markersize=6, zorder=5)
    axes.annotate(
        f"{about_count(more)} more",
        (needed.photos_a_class, wanted),
        (0, -14),
        textcoords="offset points",
        ha="center",
        color=WRONG,
        bbox={"facecolor": "white", "alpha": 0.8, "pad": 0.5, "linewidth": 0},
    )


def _mark_sizes(axes: "Axes", curve: LearningCurve) -> None:
    """Say above the axes how many photos there are, and where nothing more is said."""
    for place, text, line in (
        (curve.photos_a_class, f"now: {curve.photos_a_class:,.0f}", "-"),
        (curve.largest, f"{REACH:.0f} times: no further", ":"),
    ):
        axes.axvline(place, linestyle=line, color=MUTED, linewidth=0.9, zorder=1)
        axes.annotate(
            text,
            (place, 1.0),
            (0, 4),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            color=MUTED,
            annotation_clip=False,
        )


def _as_photo_axis(axes: "Axes", curve: LearningCurve) -> None:
    """Logarithmic, with plain round numbers."""
    axes.set_xscale("log")
    axes.set_xlim(curve.smallest / 1.15, curve.largest * 1.15)
    low, high = axes.get_xlim()
    ticks: list[int] = []
    for count in _ROUND_COUNTS:
        if low <= count <= high and (not ticks or count >= _LEAST_STEP * ticks[-1]):
            ticks.append(count)
    axes.set_xticks(ticks, [f"{count:,}" for count in ticks])
    axes.set_xticks([], minor=True)
