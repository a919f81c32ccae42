"""PNG files of the charts, for theses and slides, drawn by Matplotlib: the extra "figures".

Nothing is computed here: what a run's folder holds becomes charts, see `handful.reports.charts`.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from handful.data.ignored import FIGURE_MARK
from handful.errors import DataError
from handful.extras import require
from handful.files.atomic import MALFORMED, explain_damage, new_folder, read_json
from handful.reports.charts import (
    class_chart,
    confidence_chart,
    learning_curve_chart,
    reliability_chart,
    spread_chart,
)
from handful.reports.drawing import NARROW_SPACE, Area, Box, Chart, Dot, Line, Mark, Words
from handful.reports.training_charts import history_charts, strategy_colors, time_chart
from handful.run_store.files import RUN_FILE, read_history, read_predictions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOTS_PER_INCH = 150
_UNITS = 72  # of a chart, to an inch
_COLORS = {
    "right": "#2563c9",
    "wrong": "#d9541e",
    "ink": "#1d1f23",
    "faint": "#6b7078",
    # Told apart by people who see colors differently, too; charts.css has the same order.
    "c0": "#2563c9",
    "c1": "#d9541e",
    "c2": "#12805c",
    "c3": "#8a3fb8",
    "c4": "#a67c00",
    "c5": "#0b8bb0",
}
_GRID = "#d8dbe0"
_NAME_LENGTH = 28
# More names than this cannot be read beside a matrix; its cells are still drawn.
_NAMED, _NUMBERED = 40, 20
# Tried in this order for names in scripts that Matplotlib's own font lacks.
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


def write_figures(folder: Path, output: Path) -> list[Path]:
    """Draw what a folder holds as PNG files.

    Args:
        folder: What `train`, `compare` or `curve` made.
        output: Folder to make.

    Returns:
        The files' paths.

    Raises:
        DataError: When the folder holds nothing to draw, or a file in it is damaged.
        MissingExtraError: When Matplotlib is not installed.
        OutputError: When the output exists or cannot be written.
    """
    require("figures", "Drawing figures", "matplotlib")
    figures = _figures_of(folder)
    with new_folder(output) as draft, _quiet():
        for name, figure in figures:
            save_png(figure, draft / f"{name}.png")
    return sorted(output.iterdir())


def _figures_of(folder: Path) -> "Iterator[tuple[str, Figure]]":
    """Names and figures of what is in a folder, read at once and drawn one after another."""
    makers = {
        RUN_FILE: _run_figures,
        "comparison.json": _comparison_figures,
        "curve.json": _curve_figures,
    }
    found = next((name for name in makers if (folder / name).is_file()), None)
    if found is None:
        raise DataError(
            f"{folder} has no {', '.join(makers)}; give a folder that `handful train`, `compare` "
            "or `curve` made."
        )
    try:
        return makers[found](folder, read_json(folder / found))
    except MALFORMED as error:
        raise DataError(
            f"{folder / found} cannot be drawn ({explain_damage(error)}); make the folder again."
        ) from error


def _run_figures(folder: Path, data: Mapping[str, Any]) -> "Iterator[tuple[str, Figure]]":
    evaluation = read_predictions(folder)
    history, result = read_history(folder), data["result"]
    charts: dict[str, list[Chart]] = {
        "classes": [class_chart(evaluation.per_class)],
        "reliability": [reliability_chart(evaluation.reliability)],
        "confidence": [confidence_chart(evaluation.reliability)],
    }
    if history is not None:
        charts["history"] = [*history_charts({data["config"]["strategy"]: history})]
    if result.get("resampling") is not None:
        charts["spread"] = [spread_chart(result["resampling"])]
    if result.get("learning_curve") is not None:
        charts["learning_curve"] = [learning_curve_chart(result["learning_curve"])]

    def draw() -> "Iterator[tuple[str, Figure]]":
        yield "confusion", plot_confusion(evaluation.confusion, evaluation.class_names)
        yield from ((name, plot(row)) for name, row in charts.items())

    return draw()


def _comparison_figures(folder: Path, data: Mapping[str, Any]) -> "Iterator[tuple[str, Figure]]":
    strategies = data["result"]["strategies"]
    names = [one["name"] for one in strategies]
    # Of a strategy with several seeds the first one's curves are drawn.
    seeds = {one["name"]: one["runs"][0]["seed"] for one in strategies}
    read = {name: read_history(folder / f"{name}-{seeds[name]}") for name in names}
    histories = {name: history for name, history in read.items() if history is not None}
    charts = {"comparison": [time_chart(strategies)]}
    if histories:
        charts["histories"] = [*history_charts(histories, strategy_colors(names))]
    return ((name, plot(row)) for name, row in charts.items())


def _curve_figures(folder: Path, data: Mapping[str, Any]) -> "Iterator[tuple[str, Figure]]":
    chart = learning_curve_chart(data["curve"], data["target"])
    return ((name, plot(row)) for name, row in [("learning_curve", [chart])])


def plot(charts: Sequence[Chart]) -> "Figure":
    """Draw charts side by side.

    Args:
        charts: One or more, as high as each other; the last one's legend is written below.

    Returns:
        A figure that belongs to no window.
    """
    names = [*(words for words, _ in charts[-1].legend), *(chart.title for chart in charts)]
    with _style([*names, *(name for chart in charts for _, name in chart.y.ticks)]):
        width = sum(chart.width + chart.right + 60 for chart in charts) / _UNITS
        figure, panels = _new_figure(width, (charts[0].height + 110) / _UNITS, len(charts))
        for axes, chart in zip(panels, charts, strict=True):
            _draw_axes(axes, chart)
            for mark in chart.marks:
                _draw_mark(axes, chart, mark)
        handles = [_draw_mark(panels[-1], charts[-1], mark) for _, mark in charts[-1].legend]
        for handle in handles:
            handle.remove()
        texts = [_short(words, 44) for words, _ in charts[-1].legend]
        # A letter is about a thirteenth of an inch wide, and what stands before a name six.
        columns = int(width * 13 / (6 + max(map(len, texts), default=0)))
        legend = figure.legend(
            handles, texts, loc="outside lower center", ncols=max(columns, 1), frameon=False
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    return figure


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
    names = [_short(name) for name in class_names]
    margin = 0.075 * max(map(len, names)) if size <= _NAMED else 0.3
    with _style(class_names):
        from matplotlib.colors import PowerNorm

        figure, (axes,) = _new_figure(side + margin + 1.6, side + margin + 0.9)
        totals = confusion.sum(axis=1, keepdims=True)
        shares = np.divide(confusion, totals, out=np.zeros((size, size)), where=totals > 0)
        # The square root makes a mistake in a hundred visible.
        picture = axes.imshow(
            shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest"
        )
        scale = figure.colorbar(picture, ax=axes, shrink=0.8, format=lambda at, _: f"{at:.0%}")
        scale.set_label("share of the true class")
        axes.set(title="What was taken for what", xlabel="predicted class", ylabel="true class")
        if size <= _NAMED:
            turned = 0 if sum(map(len, names)) < 24 else 90
            axes.set_xticks(range(size), names, rotation=turned, parse_math=False)
            axes.set_yticks(range(size), names, parse_math=False)
        if size <= _NUMBERED:
            for (row, column), count in np.ndenumerate(confusion):
                color = (
                    "white" if shares[row, column] > 0.3 else _COLORS["ink" if count else "faint"]
                )
                axes.text(column, row, f"{count:,}", ha="center", va="center", color=color)
    return figure


def save_png(figure: "Figure", path: Path) -> None:
    """Write a figure as a PNG file that says that it is none of the user's photos.

    Args:
        figure: What to write.
        path: The file.

    Raises:
        OSError: When it cannot be written.
    """
    figure.savefig(path, format="png", dpi=DOTS_PER_INCH, metadata=FIGURE_MARK)


def _draw_axes(axes: "Axes", chart: Chart) -> None:
    """The frame; values are placed by the chart's axes, so that Matplotlib's are from 0 to 1."""
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_title(chart.title, pad=18)
    axes.set_xlabel(chart.x.label)
    for axis, (put, lines) in (
        (chart.x, (axes.set_xticks, axes.xaxis)),
        (chart.y, (axes.set_yticks, axes.yaxis)),
    ):
        names = [_short(name) for _, name in axis.ticks]
        put([axis.place(value) for value, _ in axis.ticks], names, parse_math=False)
        if axis.has_grid:
            lines.grid(color=_GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(bool(chart.y.ticks))


def _draw_mark(axes: "Axes", chart: Chart, mark: Mark) -> Any:
    """Draw a mark, and give what a legend shows of it."""
    color = _COLORS[mark.color]

    def at(point: tuple[float, float]) -> tuple[float, float]:
        return chart.x.place(point[0]), chart.y.place(point[1])

    match mark:
        case Words():
            return axes.annotate(
                mark.text,
                at(mark.point),
                mark.shift,
                textcoords="offset points",
                color=color,
                ha={"start": "left", "middle": "center", "end": "right"}[mark.anchor],
                va="center",
                parse_math=False,
                annotation_clip=False,
            )
        case Line():
            xs, ys = zip(*map(at, mark.points), strict=True) if mark.points else ((), ())
            look: Any = {"alpha": 0.25, "solid_capstyle": "butt"} if mark.is_light else {}
            look |= {"dashes": (3, 2)} if mark.is_dashed else {}
            (line,) = axes.plot(xs, ys, color=color, linewidth=mark.width, **look)
            return line
        case Area():
            corners = np.array([*map(at, mark.points)]).reshape(-1, 2)
            return axes.fill(*corners.T, color=color, alpha=0.15, linewidth=0)[0]
        case Box():
            (left, bottom), (right, top) = map(at, mark.corners)
            faint = 0.3 if mark.is_light else 1
            return axes.bar(
                left, top - bottom, right - left, bottom, align="edge", color=color, alpha=faint
            )
        case Dot():
            inside = "none" if mark.is_hollow else color
            (x, y), size = at(mark.point), 1.6 * mark.radius
            (dot,) = axes.plot(
                x, y, "o", color=color, mfc=inside, markersize=size, clip_on=False, linestyle=""
            )
            return dot


def _new_figure(width: float, height: float, num: int = 1) -> "tuple[Figure, list[Axes]]":
    """An empty figure in inches; the object API keeps no global list of figures."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, [*figure.subplots(1, num, squeeze=False)[0]]


@contextmanager
def _style(names: Sequence[str]) -> Iterator[None]:
    """The look of all figures, with a font that has the names' letters where there is one."""
    import matplotlib

    look: Any = {
        "font.family": ["DejaVu Sans", *_fonts_for(names)],
        "font.size": 9,
        # A user's LaTeX setting would read class names as commands.
        "text.usetex": False,
        "axes.titlesize": 10.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": _COLORS["faint"],
        "xtick.color": _COLORS["faint"],
        "ytick.color": _COLORS["faint"],
        "xtick.labelcolor": _COLORS["ink"],
        "ytick.labelcolor": _COLORS["ink"],
        "figure.facecolor": "white",
        "figure.constrained_layout.w_pad": 0.1,
        "figure.constrained_layout.h_pad": 0.1,
        "axes.facecolor": "white",
    }
    with matplotlib.rc_context(look):
        yield


def _fonts_for(names: Sequence[str]) -> list[str]:
    # DejaVu Sans covers the alphabets below; asking for an absent font is logged as an error.
    if all(letter < "\u0590" for name in names for letter in name.replace(NARROW_SPACE, " ")):
        return []
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return [font for font in _WIDE_FONTS if font in installed]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Matplotlib's remarks from the user.

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


def _short(name: str, length: int = _NAME_LENGTH) -> str:
    """One line, with an ellipsis at its end where it was cut."""
    # A folder's name need not be valid text; Matplotlib wants that.
    line = " ".join(name.encode("utf-8", "replace").decode().split())
    return line if len(line) <= length else line[: length - 1] + "…"
