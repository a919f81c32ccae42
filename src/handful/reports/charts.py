"""The charts of handful's pages and figures, made of what was measured; see `drawing`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from handful.evaluation.evaluation import ClassScore
from handful.evaluation.learning_curve import REACH, about_count
from handful.reports.drawing import (
    Area,
    Axis,
    Box,
    Chart,
    Dot,
    Line,
    Mark,
    Words,
    percent_name,
    round_step,
    tick_name,
)
from handful.statistics.metrics import ReliabilityCurve
from handful.wording import format_share

_ROUND_COUNTS = [step * 10**power for power in range(9) for step in (1, 2, 5)]
_LISTED = 40  # classes
# Between ticks of a logarithmic axis, as a factor: closer ones would touch.
_LEAST_STEP = 1.7
_SPREAD_STEPS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
_MOST_SPREAD_STEPS = 6
_DOT_HEIGHTS = (0.0, -0.5, 0.5, -1.0, 1.0)


def reliability_chart(curve: ReliabilityCurve) -> Chart:
    """How often the classifier was right, for how confident it was; empty groups are left out.

    Args:
        curve: Photos grouped by confidence.

    Returns:
        The chart.
    """
    bars, dots = [], []
    for group in np.flatnonzero(curve.counts):
        accuracy, confidence = float(curve.accuracy[group]), float(curve.confidence[group])
        left, right = curve.edges[group] + 0.004, curve.edges[group + 1] - 0.004
        words = (
            f"{curve.counts[group]:,} photos, {100 * accuracy:.1f} % right at a mean confidence "
            f"of {100 * confidence:.1f} %"
        )
        bars.append(Box(((left, 0), (right, accuracy)), "right", is_light=True, title=words))
        dots.append(Dot((confidence, accuracy), "right"))
    ideal = Line([(0, 0), (1, 1)], "faint", width=1.3, is_dashed=True)
    return Chart(
        "How confident, and how often right",
        "Reliability diagram: share of right answers against confidence; on the dashed line they "
        "agree",
        _confidence_axis(),
        Axis(0, 1, _quarters(), has_grid=True),
        [*bars, ideal, *dots],
        [
            ("share of right answers", Box(((0, 0), (1, 1)), "right", is_light=True)),
            ("at mean confidence", Dot((0, 0), "right")),
            ("as right as it claims", ideal),
        ],
    )


def confidence_chart(curve: ReliabilityCurve) -> Chart:
    """How many photos were answered with how much confidence, right and wrong.

    Args:
        curve: Photos grouped by confidence.

    Returns:
        The chart; on an even scale three mistakes beside a thousand right answers would not be
        seen.
    """
    marks: list[Mark] = []
    for group in np.flatnonzero(curve.counts):
        left, right = float(curve.edges[group]), float(curve.edges[group + 1])
        middle, num_correct = (left + right) / 2, int(curve.num_correct[group])
        num_wrong = int(curve.counts[group]) - num_correct
        if num_correct:
            corners = (left + 0.004, 0), (middle - 0.002, num_correct)
            marks.append(Box(corners, "right", title=f"{num_correct:,} right"))
        if num_wrong:
            corners = (middle + 0.002, 0), (right - 0.004, num_wrong)
            marks.append(Box(corners, "wrong", title=f"{num_wrong:,} wrong"))
        if 0 < num_wrong < 100:
            place = (middle + right) / 2, num_wrong
            marks.append(Words(place, f"{num_wrong}", "wrong", shift=(0, 9)))
    top = max(int(curve.counts.max()), 1)
    ticks = [(count, f"{count:,}") for count in root_ticks(top)]
    return Chart(
        "Confidence of the answers (photos, square-root scale)",
        "Number of right and wrong answers, by confidence",
        _confidence_axis(),
        Axis(0, top, ticks, scale="root", has_grid=True),
        marks,
        [(f"answered {name}", Box(((0, 0), (1, 1)), name)) for name in ("right", "wrong")],
    )


def spread_chart(data: Mapping[str, Any]) -> Chart:
    """Accuracies on other splits, their mean and its interval.

    Args:
        data: `Resampling.to_dict`, as run.json keeps it.

    Returns:
        A strip of dots.
    """
    values = sorted(one["accuracy"] for one in data["resamples"])
    average, (low, high) = data["accuracy"]["mean"], data["accuracy"]["interval"]
    start, end = min(low, values[0]), max(high, values[-1])
    step = next(step for step in _SPREAD_STEPS if (end - start) / step <= _MOST_SPREAD_STEPS)
    first = math.floor(start / step + 1e-9)
    last = max(math.ceil(end / step - 1e-9), first + 1)
    ticks = [(number * step, percent_name(number * step)) for number in range(first, last + 1)]
    axis, width = Axis(first * step, last * step, ticks, has_grid=True), 320
    interval = Line([(low, 0), (high, 0)], "right", width=20, is_light=True)
    mean = Line([(average, -1.3), (average, 1.3)], "right", width=2)
    heights = _stacked([axis.place(value) * width for value in values])
    dots = [Dot(point, "right") for point in zip(values, heights, strict=True)]
    return Chart(
        "Accuracy on other splits",
        f"{len(values)} accuracies from {format_share(values[0])} to {format_share(values[-1])}, "
        f"on average {format_share(average)}",
        axis,
        Axis(-2, 2),
        [interval, mean, *dots],
        [("one split", dots[0]), ("mean", mean), ("95 % interval", interval)],
        width=width,
        height=56,
        right=30,
    )


def learning_curve_chart(data: Mapping[str, Any], target: Mapping[str, Any] | None = None) -> Chart:
    """Accuracy against the number of photos: what was measured and what to expect of more.

    Args:
        data: `LearningCurve.to_dict`, as run.json and curve.json keep it; older ones have no
            "band", and what is expected is then drawn by its four sizes.
        target: An accuracy aimed at, as curve.json keeps it: "accuracy", "photos_a_class",
            "more_a_class"; None draws none.

    Returns:
        The chart.
    """
    points, largest = data["points"], data["largest_photos_a_class"]
    sizes, expected, lows, highs = _band(data)
    reached = points[-1]["photos_a_class"]
    fitted = [(x, y) for x, y in zip(sizes, expected, strict=True) if x <= reached]
    ahead = [*fitted[-1:], *((x, y) for x, y in zip(sizes, expected, strict=True) if x > reached)]
    ends = [point["accuracy"] + sign * point["std"] for point in points for sign in (-1, 1)]
    values = [*ends, *lows, *highs, *([] if target is None else [target["accuracy"]])]
    low, high = min(values), max(values)
    room = 0.08 * (high - low) or 0.01
    low, high = max(low - room, 0.0), min(high + room, 1 + 0.03 * (high - low))
    step = round_step(high - low)
    first = math.ceil(low / step - 1e-9)
    ticks = [at * step for at in range(first, math.floor(high / step + 1e-9) + 1)]
    ticks = [at for at in ticks if at <= 1 + 1e-9]
    area = Area(
        [*zip(sizes, lows, strict=True), *zip(sizes[::-1], highs[::-1], strict=True)], "right"
    )
    curve, more = Line(fitted, "right", 2), Line(ahead, "right", 2, is_dashed=True)
    measured = [mark for point in points for mark in _measured(point)]
    there = data["num_photos"] / data["num_classes"]
    return Chart(
        "Accuracy against the number of photos",
        "Accuracy by number of training photos, measured and expected",
        _photo_axis(points[0]["photos_a_class"] / 1.15, largest * 1.15),
        Axis(low, high, [(at, tick_name(at, step, True)) for at in ticks], has_grid=True),
        [
            *_rule(there, low, high, f"now: {there:,.0f}", "middle"),
            *_rule(largest, low, high, f"{REACH:.0f} times", "end"),
            *[area, curve, more, *measured],
            *([] if target is None else _target(target, points[0]["photos_a_class"], largest)),
        ],
        [
            ("measured, ± spread of single trainings", measured[-1]),
            ("fitted curve", curve),
            ("to expect, with 95 % interval", more),
        ],
        width=320,
    )


def _band(data: Mapping[str, Any]) -> list[list[float]]:
    """Sizes, accuracies to expect, lower and upper ends of their intervals."""
    if "band" in data:
        return [data["band"][name] for name in ("photos_a_class", "accuracy", "low", "high")]
    rows = [
        (one["photos_a_class"], one["accuracy"], *one["accuracy_interval"])
        for one in data["expected"]
    ]
    return [list(column) for column in zip(*rows, strict=True)]


def _measured(point: Mapping[str, float]) -> list[Mark]:
    x, y, spread = point["photos_a_class"], point["accuracy"], point["std"]
    return [Line([(x, y - spread), (x, y + spread)], "ink", 1), Dot((x, y), "ink", 3.5)]


def _rule(x: float, low: float, high: float, text: str, anchor: Any) -> list[Mark]:
    line = Line([(x, low), (x, high)], "faint", 1, is_dashed=True)
    return [line, Words((x, high), text, anchor=anchor, shift=(0, 9))]


def _target(target: Mapping[str, Any], left: float, right: float) -> list[Mark]:
    wanted, x, more = (target[key] for key in ("accuracy", "photos_a_class", "more_a_class"))
    marks: list[Mark] = [
        Line([(left, wanted), (right, wanted)], "wrong", 1.2),
        Words((left, wanted), f"target {format_share(wanted)}", "wrong", "start", (2, 9)),
    ]
    if x is None or not more:
        return marks
    words = Words((x, wanted), f"{about_count(more)} more", "wrong", shift=(0, -13))
    return [*marks, Dot((x, wanted), "wrong"), words]


def _photo_axis(low: float, high: float) -> Axis:
    """Logarithmic, with plain round numbers."""
    ticks: list[int] = []
    for count in _ROUND_COUNTS:
        if low <= count <= high and (not ticks or count >= _LEAST_STEP * ticks[-1]):
            ticks.append(count)
    named = [(count, f"{count:,}") for count in ticks]
    return Axis(low, high, named, "training photos per class", "log")


def class_chart(per_class: Sequence[ClassScore]) -> Chart:
    """Recall of each class with its 95 % interval, and its precision.

    Args:
        per_class: The classes' scores; of more than 40 the 40 with the lowest recall are drawn,
            and those without photos never.

    Returns:
        The chart.
    """
    found = [row for row in per_class if row.recall is not None]
    title = "Scores of the classes"
    if len(found) > _LISTED:
        found = sorted(found, key=lambda row: row.recall or 0.0)[:_LISTED]
        title = f"The {_LISTED} of {len(per_class):,} classes with the lowest recall"
    marks: list[Mark] = []
    for place, row in enumerate(found):
        low, high = row.recall_interval or (0.0, 1.0)
        marks.append(Line([(low, place), (high, place)], "right", 6, is_light=True))
        marks.append(Dot((row.recall or 0.0, place), "right"))
        if row.precision is not None:
            marks.append(Dot((row.precision, place), "wrong", is_hollow=True))
    ends = [mark.points[0][0] for mark in marks if isinstance(mark, Line)]
    precisions = [row.precision for row in found if row.precision is not None]
    low = math.floor(10 * min(ends + precisions, default=0.0)) / 10
    step = round_step(1 - low)
    ticks = [
        (1 - step * at, percent_name(1 - step * at)) for at in range(int((1 - low) / step + 1.01))
    ]
    legend = [
        ("recall, with 95 % interval", Dot((0, 0), "right")),
        ("precision", Dot((0, 0), "wrong", is_hollow=True)),
    ]
    rows = Axis(len(found) - 0.4, -0.6, [(at, row.name) for at, row in enumerate(found)])
    shares = Axis(low - 0.02 * (1 - low), 1 + 0.02 * (1 - low), ticks, has_grid=True)
    return Chart(title, title, shares, rows, marks, legend, 360, 60 + 21 * len(found))


def _stacked(places: Sequence[float]) -> list[float]:
    """Heights in [-1, 1] for places across, sorted, that keep dots from hiding one another."""
    result: list[float] = []
    for number, place in enumerate(places):
        near = [result[at] for at in range(number) if place - places[at] < 8]
        result.append(next((height for height in _DOT_HEIGHTS if height not in near), 0.0))
    return result


def _confidence_axis() -> Axis:
    return Axis(0, 1, _quarters(), "confidence of the answer")


def _quarters() -> list[tuple[float, str]]:
    return [(part / 4, percent_name(part / 4)) for part in range(5)]


def root_ticks(top: int) -> list[int]:
    """Choose round numbers that lie well apart on a square-root scale.

    Args:
        top: The largest count to show, 1 or more.

    Returns:
        Rising from 0, at most `top`.
    """
    ticks = [0]
    for count in _ROUND_COUNTS:
        if count <= top and count**0.5 - ticks[-1] ** 0.5 > 0.09 * top**0.5:
            ticks.append(count)
    return ticks
