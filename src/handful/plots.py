"""Figures for slides and papers, drawn by matplotlib; nothing is computed here.

The report page draws its own small pictures (see `handful.report`); these are the same numbers
as PNG files. matplotlib is loaded when the first figure is drawn, for that alone takes longer
than drawing all of them; `handful.figure_process` does it beside other work.
"""

import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from handful.evaluation import ClassScore, Evaluation
from handful.metrics import ReliabilityCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FIGURES = ("confusion", "classes", "reliability", "confidence")

_RIGHT, _WRONG = "#2563c9", "#d9541e"
_INK, _MUTED, _FAINT = "#1d1f23", "#6b7078", "#c4c9d0"
# More names than this cannot be read beside a matrix; its cells are still drawn.
_NAMED, _NUMBERED, _LISTED = 40, 20, 40
_NAME_LENGTH = 28
_DOTS_PER_INCH = 150
_ROUND_COUNTS = [step * 10**power for power in range(9) for step in (1, 2, 5)]
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
    margin = 0.075 * max(len(_short(name)) for name in class_names) if size <= _NAMED else 0.3
    with _style(class_names):
        from matplotlib.colors import PowerNorm

        figure, axes = _new_figure(side + margin + 1.6, side + margin + 0.9)
        totals = confusion.sum(axis=1, keepdims=True)
        shares = np.divide(confusion, totals, out=np.zeros((size, size)), where=totals > 0)
        # The square root makes a mistake in a hundred visible.
        picture = axes.imshow(
            shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest"
        )
        scale = figure.colorbar(picture, ax=axes, shrink=0.8, format=_as_percent)
        scale.set_label("share of the true class")
        axes.set(title="What was taken for what", xlabel="predicted class", ylabel="true class")
        if size <= _NAMED:
            _name_ticks(axes, class_names)
        if size <= _NUMBERED:
            for (row, column), count in np.ndenumerate(confusion):
                colour = "white" if shares[row, column] > 0.3 else _INK if count else _FAINT
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
    with _style([row.name for row in found]):
        figure, axes = _new_figure(7.0, 1.7 + 0.26 * len(found))
        axes.hlines(places, *intervals.T, color=_RIGHT, linewidth=5, alpha=0.25)
        axes.plot(recalls, places, "o", color=_RIGHT, label="recall, with 95 % interval")
        precise = [(row.precision, at) for at, row in enumerate(found) if row.precision is not None]
        axes.plot(
            *np.array(precise).reshape(-1, 2).T, "D", color=_WRONG, mfc="none", label="precision"
        )
        axes.set_yticks(places, [_short(row.name) for row in found], parse_math=False)
        axes.set_ylim(len(found) - 0.4, -0.6)
        axes.margins(x=0.02)
        axes.set_xlim(right=1 + 0.02 * (1 - axes.get_xlim()[0]))
        axes.xaxis.set_major_formatter(_as_percent)
        axes.grid(axis="x", color=_FAINT, linewidth=0.6)
        axes.set_title(title)
        _legend_below(figure)
    return figure


def plot_reliability(curve: ReliabilityCurve) -> "Figure":
    """How often the classifier was right, for how sure it was.

    Args:
        curve: Photos grouped by confidence.

    Returns:
        A figure that belongs to no window.
    """
    filled = curve.counts > 0
    with _style():
        figure, axes = _new_figure(5.4, 5.6)
        axes.plot([0, 1], [0, 1], "--", color=_MUTED, linewidth=1, label="as right as sure")
        axes.bar(
            curve.edges[:-1][filled],
            curve.accuracy[filled],
            np.diff(curve.edges)[filled],
            align="edge",
            color=_RIGHT,
            alpha=0.3,
            edgecolor="white",
            label="share named right",
        )
        axes.plot(
            curve.confidence[filled],
            curve.accuracy[filled],
            "o",
            color=_RIGHT,
            clip_on=False,
            label="at mean confidence",
        )
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="confidence of the answer")
        axes.set_title("How sure, and how often right", pad=10)
        axes.xaxis.set_major_formatter(_as_percent)
        axes.yaxis.set_major_formatter(_as_percent)
        _legend_below(figure)
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
    with _style():
        figure, axes = _new_figure(6.0, 4.0)
        axes.bar(middles - width / 2, curve.num_right, width, color=_RIGHT, label="named right")
        axes.bar(middles + width / 2, wrong, width, color=_WRONG, label="named wrong")
        top = max(int(curve.counts.max()), 1)
        axes.set(xlim=(0, 1), ylim=(0, top * 1.08), xlabel="confidence of the answer")
        # On an even scale three mistakes beside a thousand right answers would not be seen.
        axes.set_yscale("function", functions=(np.sqrt, np.square))
        axes.set_yticks(root_ticks(top))
        axes.yaxis.set_major_formatter(_as_count)
        axes.set(title="Confidence of the answers", ylabel="photos (square-root scale)")
        axes.xaxis.set_major_formatter(_as_percent)
        _legend_below(figure)
    return figure


def load_matplotlib() -> None:
    """Pay for matplotlib's first drawing now: loading it, and its list of fonts."""
    counts, rates = np.zeros(1, np.int64), np.zeros(1)
    curve = ReliabilityCurve(np.array([0.0, 1.0]), counts, counts, rates, rates)
    with _quiet():
        plot_probabilities(curve).savefig(io.BytesIO(), dpi=_DOTS_PER_INCH)


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
    with _quiet():
        figures = (
            plot_confusion(confusion, [row.name for row in per_class]),
            plot_class_scores(per_class),
            plot_reliability(curve),
            plot_probabilities(curve),
        )
        for path, figure in zip(paths, figures, strict=True):
            figure.savefig(path, dpi=_DOTS_PER_INCH)
    return paths


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


def _new_figure(width: float, height: float) -> "tuple[Figure, Axes]":
    """Empty figure of a size in inches; the object API keeps no global list of figures."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


@contextmanager
def _style(names: Sequence[str] = ()) -> Iterator[None]:
    """Look of all figures, with a font that has the names' letters where one is installed."""
    import matplotlib

    look: Any = {
        "font.family": ["DejaVu Sans", *_fonts_for(names)],
        "font.size": 9,
        # A user's LaTeX setting would read class names as commands.
        "text.usetex": False,
        "axes.titlesize": 10.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": _MUTED,
        "xtick.color": _MUTED,
        "ytick.color": _MUTED,
        "xtick.labelcolor": _INK,
        "ytick.labelcolor": _INK,
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
def _quiet() -> Iterator[None]:
    """Keep matplotlib's remarks from the user.

    It tells of letters its font lacks, of building its list of fonts and of a home folder it
    cannot write to; the figures come out all the same.
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


def _legend_below(figure: "Figure") -> None:
    # Inside, it would hide data: which corner is free depends on the classifier.
    figure.legend(loc="outside lower center", ncols=3, frameon=False)


def _name_ticks(axes: "Axes", class_names: Sequence[str]) -> None:
    places, names = range(len(class_names)), [_short(name) for name in class_names]
    turned = 0 if sum(map(len, names)) < 24 else 90
    # A dollar sign in a name is no formula.
    axes.set_xticks(places, names, rotation=turned, parse_math=False)
    axes.set_yticks(places, names, parse_math=False)


def _short(name: str) -> str:
    # A folder's name need not be valid text; matplotlib wants that.
    line = " ".join(name.encode("utf-8", "replace").decode().split())
    return line if len(line) <= _NAME_LENGTH else line[: _NAME_LENGTH - 1] + "…"


def _as_percent(value: float, position: float) -> str:
    return f"{value * 100:.4g} %"


def _as_count(value: float, position: float) -> str:
    return f"{value:,.0f}"
