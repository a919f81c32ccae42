"""Charts of trainings: accuracy and loss by epoch, accuracy against time; see `drawing`."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from handful.evaluation.comparison import History
from handful.reports.drawing import (
    NUM_COLORS,
    Area,
    Axis,
    Chart,
    Dot,
    Line,
    Mark,
    Point,
    Words,
    round_step,
    tick_name,
)
from handful.wording import format_share

# Losses so many times higher than the others are cut off.
_CUT_OFF = 2.0
_LEAST_SECONDS = 1e-3
_LINE_HEIGHT = 14  # of text, in the units of a drawing
_UNITS = (("s", 1), ("min", 60), ("h", 3600), ("d", 86_400))


def history_charts(
    histories: Mapping[str, History], colors: Mapping[str, str] | None = None
) -> tuple[Chart, Chart]:
    """Accuracy and loss by epoch: training dashed, validation solid.

    Args:
        histories: Name -> columns by epoch; numbers of epochs may differ.
        colors: Name -> color; None takes them in order.

    Returns:
        Both charts. At the end of each accuracy curve stands the overfitting gap: training minus
        validation accuracy after the last epoch that has both, in points.
    """
    colors = colors or strategy_colors(list(histories))
    return accuracy_chart(histories, colors), _epoch_chart(histories, colors, "loss")


def accuracy_chart(
    histories: Mapping[str, History], colors: Mapping[str, str], has_band: bool = False
) -> Chart:
    """The first of `history_charts`.

    Args:
        histories: Name -> columns by epoch.
        colors: Name -> color.
        has_band: Whether the gap between training and validation is shaded.

    Returns:
        The chart.
    """
    return _epoch_chart(histories, colors, "accuracy", has_band)


def _epoch_chart(
    histories: Mapping[str, History],
    colors: Mapping[str, str],
    column: str,
    has_band: bool = False,
) -> Chart:
    curves = {
        name: (history_curve(history, column), history_curve(history, f"val_{column}"))
        for name, history in histories.items()
    }
    points = [point for both in curves.values() for curve in both for point in curve]
    values, last = [y for _, y in points], max((int(x) for x, _ in points), default=1)
    shares = column == "accuracy"
    low = min(values, default=0.0) if shares else 0.0
    high = max(values, default=1.0) if shares else loss_limit(histories.values())
    step = round_step(high - low)
    low = math.floor(low / step + 1e-9) * step
    high = math.ceil(high / step - 1e-9) * step if shares else high
    ticks = [low + step * number for number in range(int((high - low) / step + 1e-6) + 1)]
    vertical = Axis(low, high, [(at, tick_name(at, step, shares)) for at in ticks], has_grid=True)
    marks: list[Mark] = []
    if has_band:
        marks += [Area([*one, *reversed(two)], colors[name]) for name, (one, two) in curves.items()]
    for name, (training, validation) in curves.items():
        marks += _curve(training, colors[name], f"{name}, training", is_training=True)
        marks += _curve(validation, colors[name], f"{name}, validation")
    height = 190
    if shares:
        marks += _gaps(curves, colors, max(last, 2), _LINE_HEIGHT / height * (high - low))
    who = f" of {next(iter(histories))}" if has_band else ""
    kinds = [("validation", Line([], "ink")), ("training", Line([], "ink", 1.2, is_dashed=True))]
    return Chart(
        ("Accuracy" if shares else "Loss") + (" (peaks cut off)" * (max(values, default=0) > high)),
        f"Training and validation {column}{who} by epoch",
        Axis(1, max(last, 2), [(at, f"{at}") for at in _epoch_ticks(last)], "epoch"),
        vertical,
        marks,
        [*((name, Line([], colors[name])) for name in histories), *kinds],
        width=290,
        height=height,
        right=46,
    )


def _curve(
    points: Sequence[Point], color: str, title: str, is_training: bool = False
) -> list[Mark]:
    if len(points) == 1:
        return [Dot(points[0], color, 3.5, is_hollow=is_training, title=title)]
    width = 1.2 if is_training else 1.8
    return [Line(points, color, width, is_training, title=title)] if points else []


def _gaps(
    curves: Mapping[str, tuple[list[Point], list[Point]]],
    colors: Mapping[str, str],
    right: float,
    line: float,
) -> list[Mark]:
    """Overfitting gaps in points beside the curves' ends, apart from each other."""
    ends = {}
    for name, (training, validation) in curves.items():
        one, other = dict(training), dict(validation)
        if epoch := max(one.keys() & other.keys(), default=0):
            ends[name] = one[epoch], other[epoch]
    heights = spread_apart([sum(both) / 2 for both in ends.values()], line)
    return [
        Words((right, height), f"{round(100 * (one - two)):+d}", colors[name], "start", (7, 0))
        for (name, (one, two)), height in zip(ends.items(), heights, strict=True)
    ]


def time_chart(strategies: Sequence[Mapping[str, Any]]) -> Chart:
    """Accuracy with its 95 % interval against the time of a training.

    Args:
        strategies: As `Comparison.to_dict` and comparison.json have them; where one was trained
            several times, a ring is one training and the dot their mean.

    Returns:
        The chart.
    """
    colors = strategy_colors([one["name"] for one in strategies])
    marks: list[Mark] = []
    legend: list[tuple[str, Mark]] = []
    for one in strategies:
        x, y, color = max(one["seconds"], _LEAST_SECONDS), one["accuracy"], colors[one["name"]]
        name = f"{one['name']}  {format_share(y)}"
        legend.append((name, Dot((x, y), color, 5, title=name)))
        marks.append(Line([(x, end) for end in one["accuracy_interval"]], color, 6, is_light=True))
        marks.append(legend[-1][1])
        if len(one["runs"]) > 1:
            marks += [
                Dot((max(run["seconds"], _LEAST_SECONDS), run["accuracy"]), color, 3, True)
                for run in one["runs"]
            ]
    ends = [end for one in strategies for end in one["accuracy_interval"]]
    step = round_step(max(ends) - min(ends))
    first, last = math.floor(min(ends) / step + 1e-9), math.ceil(max(ends) / step - 1e-9)
    ticks = [(at * step, tick_name(at * step, step, True)) for at in range(first, last + 1)]
    return Chart(
        "Accuracy against the time of training, with 95 % intervals",
        "Accuracy with its 95 % interval against the time of training",
        _time_axis([one["seconds"] for one in strategies]),
        Axis(ticks[0][0], ticks[-1][0], ticks, has_grid=True),
        marks,
        legend,
        width=320,
        height=190,
    )


def _time_axis(seconds: Sequence[float]) -> Axis:
    least, most = max(min(seconds), _LEAST_SECONDS), max(*seconds, _LEAST_SECONDS)
    room = max(most / least, 10.0) ** 0.1
    low, high = least / room, most * room
    found = [
        (number * size, f"{number:g} {unit}")
        for unit, size in _UNITS
        for number in (0.001, 0.01, 0.1, 0.3, 1, 3, 10, 30)
        if low <= number * size <= high and (number >= 1 or unit == "s")
    ]
    ticks = found if len(found) <= 8 else found[::2]
    return Axis(low, high, ticks, "from photo files to a classifier", "log")


def strategy_colors(names: Iterable[str]) -> dict[str, str]:
    """Give each strategy its color, the same in all charts of a comparison.

    Args:
        names: The strategies, in order.

    Returns:
        Name -> name of a color; after the last the first comes again.
    """
    return {name: f"c{place % NUM_COLORS}" for place, name in enumerate(names)}


def history_curve(history: History, column: str) -> list[Point]:
    """Take the points of a curve out of a history.

    Args:
        history: Columns by epoch.
        column: One of them; it may be absent.

    Returns:
        Epochs, counted from 1, with values; epochs whose value is NaN or infinite are left out.
    """
    return [
        (epoch, float(value))
        for epoch, value in enumerate(history.get(column, ()), start=1)
        if math.isfinite(value)
    ]


def loss_limit(histories: Iterable[History]) -> float:
    """Choose where a loss axis ends, so that one wild epoch does not flatten all others.

    Args:
        histories: What is drawn.

    Returns:
        A little above the highest value; or, if that is much higher than nearly all values and
        every curve's last, above these. Larger than 0.
    """
    values, last = [], [0.0]
    for history in histories:
        for column in ("loss", "val_loss"):
            curve = [value for _, value in history_curve(history, column)]
            values += curve
            last += curve[-1:]
    most, usual = max(values, default=0.0), float(np.quantile(values or [0.0], 0.97))
    limit = max(usual, *last)
    return 1.08 * (most if most < _CUT_OFF * limit else limit) or 1.0


def spread_apart(places: Sequence[float], gap: float) -> list[float]:
    """Move labels that would overlap apart, as little as needed and keeping their order.

    Args:
        places: Where each label would best be.
        gap: Least distance between two.

    Returns:
        Where each label goes, in the order given.
    """
    order = sorted(range(len(places)), key=lambda label: places[label])
    # Groups of touching labels, each around the mean of where its labels would best be.
    groups: list[list[int]] = []
    middles: list[float] = []
    for label in order:
        groups.append([label])
        middles.append(places[label])
        while len(groups) > 1:
            reach = gap * (len(groups[-1]) + len(groups[-2])) / 2
            if middles[-1] - middles[-2] >= reach:
                break
            groups[-2:] = [groups[-2] + groups[-1]]
            middles[-2:] = [sum(places[at] for at in groups[-1]) / len(groups[-1])]
    spread = [0.0] * len(places)
    for group, middle in zip(groups, middles, strict=True):
        for number, label in enumerate(group):
            spread[label] = middle + gap * (number - (len(group) - 1) / 2)
    return spread


def _epoch_ticks(last: int) -> list[int]:
    step = max(1, round(round_step(last)))
    return [1, *(epoch for epoch in range(step, last + 1, step) if epoch > max(1, step / 2))]
