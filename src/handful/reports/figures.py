"""Figures for slides and papers, drawn by matplotlib; nothing is computed here.

The report page draws its own small pictures (see `handful.reports.run_page`); these are the same
numbers as PNG files. matplotlib is loaded when the first figure is drawn, for that alone takes
longer than drawing all of them; `handful.reports.figure_process` does it beside other work.
"""

import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from handful.errors import UsageError
from handful.evaluation.comparison import Comparison, History
from handful.evaluation.evaluation import ClassScore, Evaluation
from handful.files.atomic import new_file
from handful.reports.figure_style import (
    FAINT,
    INK,
    LEAST_SECONDS,
    MUTED,
    RIGHT,
    WRONG,
    as_count,
    as_percent,
    as_time_axis,
    draw_tile,
    legend_below,
    legend_of_curves,
    name_ticks,
    new_canvas,
    new_figure,
    new_panels,
    quiet,
    save_png,
    short,
    style,
    write,
)
from handful.statistics.metrics import ReliabilityCurve
from handful.training.previews import Preview, Strip
from handful.wording import format_share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIGURES = ("confusion", "classes", "reliability", "confidence")
# Told apart by people who see colours differently, too; a comparison's page has the same order.
STRATEGY_COLOURS = ("#2563c9", "#d9541e", "#12805c", "#8a3fb8", "#a67c00", "#0b8bb0")

# More names than this cannot be read beside a matrix; its cells are still drawn.
_NAMED, _NUMBERED, _LISTED = 40, 20, 40
# Losses so many times higher than the others are cut off.
_CUT_OFF = 2.0
# Up to so many strategies have brackets for their overfitting gaps, more have labels.
_BRACKETED = 2
# Of sheets of pictures, in inches: the rim, between tiles, above and below a strip's tiles.
_MARGIN, _GAP, _STRIP_HEAD, _STRIP_FOOT = 0.35, 0.08, 0.3, 0.42
_ROUND_COUNTS = [step * 10**power for power in range(9) for step in (1, 2, 5)]


def plot_confusion(confusion: NDArray[np.integer[Any]], class_names: Sequence[str]) -> "Figure":
    """Matrix of what was taken for what, shaded by the share of each true class.

    Args:
        confusion: (C, C) counts, rows true, columns predicted.
        class_names: (C,) names; more than 40 are not written beside the matrix.

    Returns:
        A figure that belongs to no window.
    """
    size = len(class_names)
    side = float(np.clip(0.48 * size, 2.4, 8.0))
    margin = 0.075 * max(len(short(name)) for name in class_names) if size <= _NAMED else 0.3
    with style(class_names):
        from matplotlib.colors import PowerNorm

        figure, axes = new_figure(side + margin + 1.6, side + margin + 0.9)
        totals = confusion.sum(axis=1, keepdims=True)
        shares = np.divide(confusion, totals, out=np.zeros((size, size)), where=totals > 0)
        # The square root makes a mistake in a hundred visible.
        picture = axes.imshow(
            shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest"
        )
        scale = figure.colorbar(picture, ax=axes, shrink=0.8, format=as_percent)
        scale.set_label("share of the true class")
        axes.set(title="What was taken for what", xlabel="predicted class", ylabel="true class")
        if size <= _NAMED:
            name_ticks(axes, class_names)
        if size <= _NUMBERED:
            for (row, column), count in np.ndenumerate(confusion):
                colour = "white" if shares[row, column] > 0.3 else INK if count else FAINT
                axes.text(column, row, f"{count:,}", ha="center", va="center", color=colour)
    return figure


def plot_class_scores(per_class: Sequence[ClassScore]) -> "Figure":
    """Recall of each class with its 95 % interval, and its precision.

    Args:
        per_class: The classes' scores; of more than 40 the 40 with the lowest recall are drawn,
            and those without photos never.

    Returns:
        A figure that belongs to no window.
    """
    found = [row for row in per_class if row.recall is not None]
    title = "Scores of the classes"
    if len(found) > _LISTED:
        found = sorted(found, key=lambda row: row.recall or 0.0)[:_LISTED]
        title = f"The {_LISTED} of {len(per_class):,} classes with the lowest recall"
    recalls = np.array([row.recall or 0.0 for row in found])
    intervals = np.array([row.recall_interval or (0.0, 1.0) for row in found]).reshape(-1, 2)
    places = np.arange(len(found))
    with style([row.name for row in found]):
        figure, axes = new_figure(7.0, 1.7 + 0.26 * len(found))
        axes.hlines(places, *intervals.T, color=RIGHT, linewidth=5, alpha=0.25)
        axes.plot(recalls, places, "o", color=RIGHT, label="recall, with 95 % interval")
        precise = [(row.precision, at) for at, row in enumerate(found) if row.precision is not None]
        axes.plot(
            *np.array(precise).reshape(-1, 2).T, "D", color=WRONG, mfc="none", label="precision"
        )
        axes.set_yticks(places, [short(row.name) for row in found], parse_math=False)
        axes.set_ylim(len(found) - 0.4, -0.6)
        axes.margins(x=0.02)
        axes.set_xlim(right=1 + 0.02 * (1 - axes.get_xlim()[0]))
        axes.xaxis.set_major_formatter(as_percent)
        axes.grid(axis="x", color=FAINT, linewidth=0.6)
        axes.set_title(title)
        legend_below(figure)
    return figure


def plot_reliability(curve: ReliabilityCurve) -> "Figure":
    """How often the classifier was right, for how sure it was.

    Args:
        curve: Photos grouped by confidence.

    Returns:
        A figure that belongs to no window.
    """
    filled = curve.counts > 0
    with style():
        figure, axes = new_figure(5.4, 5.6)
        axes.plot([0, 1], [0, 1], "--", color=MUTED, linewidth=1, label="as right as sure")
        axes.bar(
            curve.edges[:-1][filled],
            curve.accuracy[filled],
            np.diff(curve.edges)[filled],
            align="edge",
            color=RIGHT,
            alpha=0.3,
            edgecolor="white",
            label="share of right answers",
        )
        axes.plot(
            curve.confidence[filled],
            curve.accuracy[filled],
            "o",
            color=RIGHT,
            clip_on=False,
            label="at mean confidence",
        )
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="confidence of the answer")
        axes.set_title("How sure, and how often right", pad=10)
        axes.xaxis.set_major_formatter(as_percent)
        axes.yaxis.set_major_formatter(as_percent)
        legend_below(figure)
    return figure


def plot_probabilities(curve: ReliabilityCurve) -> "Figure":
    """How many photos were named with how much confidence, right and wrong.

    Args:
        curve: Photos grouped by confidence.

    Returns:
        A figure that belongs to no window.
    """
    wrong = curve.counts - curve.num_right
    middles, width = (curve.edges[:-1] + curve.edges[1:]) / 2, np.diff(curve.edges) * 0.42
    with style():
        figure, axes = new_figure(6.0, 4.0)
        axes.bar(middles - width / 2, curve.num_right, width, color=RIGHT, label="right")
        axes.bar(middles + width / 2, wrong, width, color=WRONG, label="named wrong")
        top = max(int(curve.counts.max()), 1)
        axes.set(xlim=(0, 1), ylim=(0, top * 1.08), xlabel="confidence of the answer")
        # On an even scale three mistakes beside a thousand right answers would not be seen.
        axes.set_yscale("function", functions=(np.sqrt, np.square))
        axes.set_yticks(root_ticks(top))
        axes.yaxis.set_major_formatter(as_count)
        axes.set(title="Confidence of the answers", ylabel="photos (square-root scale)")
        axes.xaxis.set_major_formatter(as_percent)
        legend_below(figure)
    return figure


def load_matplotlib() -> None:
    """Pay for matplotlib's first drawing now: loading it, and its list of fonts."""
    counts, rates = np.zeros(1, np.int64), np.zeros(1)
    curve = ReliabilityCurve(np.array([0.0, 1.0]), counts, counts, rates, rates)
    with quiet():
        save_png(plot_probabilities(curve), io.BytesIO())


def save_figures(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Draw the evaluation as PNG files: confusion, classes, reliability, confidence.

    Args:
        evaluation: What to draw.
        folder: Existing folder to write to; files of the same names are replaced.

    Returns:
        The files' paths.

    Raises:
        OSError: When a file cannot be written.
    """
    return draw_figures(evaluation.confusion, evaluation.per_class, evaluation.reliability, folder)


def draw_figures(
    confusion: NDArray[np.integer[Any]],
    per_class: Sequence[ClassScore],
    curve: ReliabilityCurve,
    folder: Path,
) -> list[Path]:
    """Draw the figures of `save_figures` from its parts.

    Args:
        confusion: (C, C) counts, rows true, columns predicted.
        per_class: (C,) scores of each class.
        curve: Photos grouped by confidence.
        folder: Existing folder to write to.

    Returns:
        The files' paths, in the order of `FIGURES`.

    Raises:
        OSError: When a file cannot be written.
    """
    paths = [folder / f"{name}.png" for name in FIGURES]
    with quiet():
        figures = (
            plot_confusion(confusion, [row.name for row in per_class]),
            plot_class_scores(per_class),
            plot_reliability(curve),
            plot_probabilities(curve),
        )
        for path, figure in zip(paths, figures, strict=True):
            save_png(figure, path)
    return paths


def plot_preview(preview: Preview) -> "Figure":
    """A photo as the network sees it, random views of it, and a strip for each parameter.

    Args:
        preview: From `handful.training.previews`.

    Returns:
        A figure that belongs to no window.
    """
    height, width = preview.photo.shape[:2]
    tall = height / width  # of a tile whose width is 1 inch
    sheet = 4 * tall + 3 * _GAP
    strips = [_STRIP_HEAD + tall + _STRIP_FOOT for _ in preview.strips]
    right = 2 * _MARGIN + 8 + 7 * _GAP
    with style([preview.name]):
        bottom = 1.0 + sheet + 0.42 + sum(strips) + 0.24 * len(preview.notes) + _MARGIN
        figure, axes = new_canvas(right, bottom)
        write(axes, _MARGIN, 0.42, short(preview.name, 70) or "Photo", size=13, weight="bold")
        left = _MARGIN + 4 + 4 * _GAP
        write(axes, _MARGIN, 0.85, f"as the network sees it, {width} x {height} pixels")
        write(axes, left, 0.85, f"{len(preview.views)} random views")
        draw_tile(axes, preview.photo, _MARGIN, 1.0, 4 + 3 * _GAP, sheet)
        for number, view in enumerate(preview.views):
            row, column = divmod(number, 4)
            x, y = left + column * (1 + _GAP), 1.0 + row * (tall + _GAP)
            draw_tile(axes, view, x, y, 1, tall)
        top = 1.0 + sheet + 0.32
        for strip, room in zip(preview.strips, strips, strict=True):
            _draw_strip(axes, strip, top, tall)
            top += room
        for number, note in enumerate(preview.notes):
            write(axes, _MARGIN, top + 0.1 + 0.24 * number, note, colour=MUTED)
    return figure


def _draw_strip(axes: "Axes", strip: Strip, top: float, tall: float) -> None:
    """The parameter's name and range, its views, and below each view its value."""
    name = write(axes, _MARGIN, top + 0.14, strip.name, weight="bold")
    axes.annotate(
        strip.range,
        (1, 0),
        xycoords=name,
        xytext=(8, 0),
        textcoords="offset points",
        color=MUTED,
        va="bottom",
        annotation_clip=False,
    )
    for number, (view, label) in enumerate(zip(strip.views, strip.labels, strict=True)):
        left = _MARGIN + number * (1 + _GAP)
        draw_tile(axes, view, left, top + _STRIP_HEAD, 1, tall)
        write(axes, left + 0.5, top + _STRIP_HEAD + tall + 0.15, label, align="center")


def plot_examples(
    pictures: Sequence[NDArray[np.uint8]], labels: Sequence[str], title: str
) -> "Figure":
    """Square pictures in rows of four, each with its class.

    Args:
        pictures: N of (S, S, 3) uint8; their sizes may differ.
        labels: (N,) class names.
        title: What they are.

    Returns:
        A figure that belongs to no window.
    """
    side, pitch = 1.4, 1.4 + 2 * _GAP
    rows = -(-len(pictures) // 4)
    with style([*labels, title]):
        room = pitch + 0.22
        figure, axes = new_canvas(2 * _MARGIN + 4 * side + 6 * _GAP, 0.7 + rows * room + 0.1)
        write(axes, _MARGIN, 0.4, title, size=11, weight="bold")
        for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
            row, column = divmod(number, 4)
            left, top = _MARGIN + column * pitch, 0.7 + row * room
            draw_tile(axes, picture, left, top, side, side)
            write(axes, left + side / 2, top + side + 0.16, short(label), align="center")
    return figure


def save_preview(preview: Preview, path: Path) -> None:
    """Draw a preview as a PNG file.

    Args:
        preview: From `handful.training.previews`.
        path: File to make; its name ends in `.png`.

    Raises:
        ValueError: When the name has another ending.
        OutputError: When the file exists, or cannot be written.
    """
    if path.suffix.lower() != ".png":
        raise UsageError(f"output is {path}; expected a name that ends in .png.")
    with new_file(path) as temporary, quiet():
        save_png(plot_preview(preview), temporary)


def save_examples(
    pictures: Sequence[NDArray[np.uint8]], labels: Sequence[str], title: str, path: Path
) -> None:
    """Draw examples of a data set as a PNG file.

    Args:
        pictures: N of (S, S, 3) uint8.
        labels: (N,) class names.
        title: What they are.
        path: File to write; one of that name is replaced.

    Raises:
        OutputError: When it cannot be written.
    """
    with new_file(path, replace=True) as temporary, quiet():
        figure = plot_examples(pictures, labels, title)
        save_png(figure, temporary)


def plot_histories(
    histories: Mapping[str, History], colours: Mapping[str, str] | None = None
) -> "Figure":
    """Accuracy and loss by epoch, side by side: training dashed, validation solid.

    At the end of each accuracy curve stands the overfitting gap: training minus validation
    accuracy after the last epoch that has both, in points.

    Args:
        histories: Name -> columns by epoch; numbers of epochs may differ.
        colours: Name -> colour; None takes `STRATEGY_COLOURS` in order.

    Returns:
        A figure that belongs to no window.

    Raises:
        ValueError: When there is no history.
    """
    if not histories:
        raise ValueError("There are 0 histories to draw; expected 1 or more.")
    colours = colours or strategy_colours(list(histories))
    few = len(histories) <= _BRACKETED
    with style(list(histories)):
        from matplotlib.ticker import MaxNLocator

        figure, (left, right) = new_panels(9.6 if few else 10.4, 4.4)
        for name, history in histories.items():
            for axes, column in ((left, "accuracy"), (right, "loss")):
                _draw_curve(axes, *history_curve(history, column), colours[name], solid=False)
                _draw_curve(axes, *history_curve(history, f"val_{column}"), colours[name])
        for axes, title in ((left, "Accuracy"), (right, "Loss")):
            axes.set(title=title, xlabel="epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
            axes.grid(axis="y", color=FAINT, linewidth=0.6)
        left.yaxis.set_major_formatter(as_percent)
        limit = loss_limit(histories.values())
        if right.dataLim.ymax > limit:
            right.set_ylabel("peaks above are cut off", color=MUTED)
            right.set_ylim(top=limit)
        right.set_ylim(bottom=0)
        _mark_gaps(left, histories, colours, few)
        legend_of_curves(figure, colours, list(histories))
    return figure


def plot_history(history: History, name: str, colour: str | None = None) -> "Figure":
    """Accuracy and loss of one training by epoch, the panels of `plot_histories`.

    Args:
        history: Columns by epoch.
        name: What was trained, for the legend.
        colour: Of its curves; None takes the first of `STRATEGY_COLOURS`.

    Returns:
        A figure that belongs to no window.
    """
    return plot_histories({name: history}, None if colour is None else {name: colour})


def plot_comparison(comparison: Comparison) -> "Figure":
    """Accuracy with its 95 % interval against the time of a training, on a logarithmic axis.

    Args:
        comparison: The ways of training; where one was trained several times, a ring is one
            training and the dot their mean.

    Returns:
        A figure that belongs to no window.
    """
    summaries = comparison.summaries
    names = [summary.name for summary in summaries]
    colours = strategy_colours(names)
    with style(names):
        figure, axes = new_figure(7.4, 4.6)
        for summary in summaries:
            colour, seconds = colours[summary.name], max(summary.seconds, LEAST_SECONDS)
            axes.vlines(seconds, *summary.accuracy_interval, color=colour, linewidth=5, alpha=0.25)
            axes.plot(seconds, summary.accuracy, "o", color=colour, markersize=7)
            if len(summary.runs) > 1:
                each = np.array([(run.seconds, run.evaluation.accuracy) for run in summary.runs])
                times = np.maximum(each[:, 0], LEAST_SECONDS)
                axes.plot(times, each[:, 1], "o", color=colour, mfc="none", markersize=4, mew=0.9)
        as_time_axis(axes, [summary.seconds for summary in summaries])
        axes.yaxis.set_major_formatter(as_percent)
        axes.margins(y=0.12)
        axes.set_ylim(top=min(axes.get_ylim()[1], 1 + 0.04 * np.ptp(axes.get_ylim())))
        axes.grid(axis="y", color=FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set_title("Accuracy against the time of training, with 95 % intervals")
        axes.set_xlabel("from photo files to a classifier")
        _name_points(figure, axes, comparison, colours)
    return figure


def save_history(history: History, name: str, path: Path) -> None:
    """Draw one training's curves as a PNG file.

    Args:
        history: Columns by epoch.
        name: What was trained, for the legend.
        path: File to write; one that is there is replaced.

    Raises:
        OSError: When it cannot be written.
    """
    with quiet():
        save_png(plot_history(history, name), path)


def save_comparison_figures(comparison: Comparison, folder: Path) -> list[Path]:
    """Draw a comparison as PNG files.

    Args:
        comparison: What to draw.
        folder: Existing folder to write to; files of the same names are replaced.

    Returns:
        The files' paths: comparison.png; and where networks were trained in epochs,
        histories.png and curves-STRATEGY.png for each. Of a strategy with several seeds the
        first one's curves are drawn.

    Raises:
        OSError: When a file cannot be written.
    """
    colours = strategy_colours([summary.name for summary in comparison.summaries])
    found = [(summary.name, summary.history) for summary in comparison.summaries]
    histories = {name: history for name, history in found if history is not None}
    with quiet():
        figures = {"comparison": plot_comparison(comparison)}
        if histories:
            figures["histories"] = plot_histories(histories, colours)
        for name, history in histories.items():
            # Names of files hold letters, digits, dots and dashes only.
            stem = "curves-" + re.sub(r"[^\w.-]+", "-", name)
            while stem in figures:
                stem += "-again"
            figures[stem] = plot_history(history, name, colours[name])
        paths = [folder / f"{stem}.png" for stem in figures]
        for path, figure in zip(paths, figures.values(), strict=True):
            save_png(figure, path)
    return paths


def strategy_colours(names: Sequence[str]) -> dict[str, str]:
    """Give each strategy its colour, the same in all figures of a comparison.

    Args:
        names: The strategies, in order.

    Returns:
        Name -> colour; after the last of `STRATEGY_COLOURS` the first comes again.
    """
    return {
        name: STRATEGY_COLOURS[place % len(STRATEGY_COLOURS)] for place, name in enumerate(names)
    }


def history_curve(history: History, column: str) -> tuple[list[int], list[float]]:
    """Take the points of a curve out of a history.

    Args:
        history: Columns by epoch.
        column: One of them; it may be absent.

    Returns:
        Epochs, counted from 1, and values; epochs whose value is NaN or infinite are left out.
    """
    points = [
        (epoch, float(value))
        for epoch, value in enumerate(history.get(column, ()), start=1)
        if math.isfinite(value)
    ]
    return [epoch for epoch, _ in points], [value for _, value in points]


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
            curve = history_curve(history, column)[1]
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


def _draw_curve(
    axes: "Axes", epochs: list[int], values: list[float], colour: str, solid: bool = True
) -> None:
    alone = "o" if len(epochs) == 1 else ""
    look: Any = {"linewidth": 1.7} if solid else {"linewidth": 1.1, "dashes": (3, 2), "alpha": 0.85}
    axes.plot(epochs, values, color=colour, marker=alone, mfc=colour if solid else "none", **look)


def _mark_gaps(
    axes: "Axes", histories: Mapping[str, History], colours: Mapping[str, str], few: bool
) -> None:
    """Write the overfitting gaps at the curves' ends; `few` have brackets beside them."""
    ends = {name: _gap_ends(history) for name, history in histories.items()}
    found = [(name, *end) for name, end in ends.items() if end is not None]
    low, high = axes.get_ylim()
    high = min(high, 1 + 0.02 * (high - low))
    axes.set_ylim(low, high)
    last = max((len(history.get("accuracy", ())) for history in histories.values()), default=1)
    middles = [(trained + validated) / 2 for _, _, trained, validated in found]
    # Eleven points of height to a line, on an axis of some three inches.
    heights = spread_apart(middles, 0.055 * (high - low))
    if few:
        ticks = [tick for tick in axes.get_xticks() if 0 <= tick <= last]
        axes.set_xlim(right=last + max(0.24 * last, 0.6))
        axes.set_xticks(ticks)
    for place, (name, epoch, trained, validated) in enumerate(found):
        gap, colour = round((trained - validated) * 100), colours[name]
        if few:
            _draw_bracket(axes, epoch + (0.02 + 0.025 * place) * last, trained, validated, colour)
            at, words = epoch + 0.075 * last, f"{gap:+d} points"
            label = axes.text(at, heights[place], words, color=colour, va="center")
            label.set_bbox({"facecolor": "white", "alpha": 0.8, "pad": 1, "linewidth": 0})
        else:
            axes.annotate(
                f"{gap:+d}  {short(name, 16)}",
                (1.02, heights[place]),
                xycoords=axes.get_yaxis_transform(),
                color=colour,
                va="center",
                parse_math=False,
                annotation_clip=False,
            )
    if found:
        what = "training minus validation"
        axes.set_xlabel(f"epoch  (bracket: {what})" if few else f"epoch  (at the right: {what})")


def _gap_ends(history: History) -> tuple[int, float, float] | None:
    """Last epoch that has both accuracies, and these."""
    trained = dict(zip(*history_curve(history, "accuracy"), strict=True))
    validated = dict(zip(*history_curve(history, "val_accuracy"), strict=True))
    epoch = max(trained.keys() & validated.keys(), default=None)
    return None if epoch is None else (epoch, trained[epoch], validated[epoch])


def _draw_bracket(axes: "Axes", at: float, trained: float, validated: float, colour: str) -> None:
    reach = 0.012 * (axes.get_xlim()[1] - axes.get_xlim()[0])
    axes.plot(
        [at - reach, at, at, at - reach],
        [trained, trained, validated, validated],
        color=colour,
        linewidth=1,
    )


def _name_points(
    figure: "Figure", axes: "Axes", comparison: Comparison, colours: Mapping[str, str]
) -> None:
    """Write a label beside each point, where it lies on no other."""
    figure.draw_without_rendering()
    points = [(max(one.seconds, LEAST_SECONDS), one.accuracy) for one in comparison.ranked]
    # Points of the printed page: a letter is less than six wide and a line thirteen high.
    spots = axes.transData.transform(points) * 72 / figure.dpi
    margin = axes.get_window_extent().x0 * 72 / figure.dpi
    taken = [(x - 5, x + 5, y) for x, y in spots]

    def is_free(left: float, right: float, height: float) -> bool:
        clear = all(a > right or left > b or abs(at - height) >= 13 for a, b, at in taken)
        return clear and left > margin

    for summary, point, (x, y) in zip(comparison.ranked, points, spots, strict=True):
        label = f"{short(summary.name, 20)}  {format_share(summary.accuracy)}"
        width = 3 + 5.6 * len(label)
        choices = [
            (x + 8 if after else x - 8 - width, y + rise, after)
            for rise in sorted(range(-90, 91), key=abs)
            for after in (True, False)
        ]
        left, height, after = next(
            (choice for choice in choices if is_free(choice[0], choice[0] + width, choice[1])),
            choices[0],
        )
        taken.append((left, left + width, height))
        axes.annotate(
            label,
            point,
            xytext=(9 if after else -9, height - y),
            textcoords="offset points",
            color=colours[summary.name],
            ha="left" if after else "right",
            va="center",
            weight="bold",
            parse_math=False,
            annotation_clip=False,
            zorder=1.5,
            bbox={"facecolor": "white", "alpha": 0.8, "pad": 0.5, "linewidth": 0},
        )
