"""One self-contained HTML page about several ways of training; it computes nothing but layout.

It has the looks of `handful.reports.run_page`'s page, and like there the template draws the
pictures as SVG from plain numbers.
"""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from handful.evaluation.comparison import Comparison, History, StrategySummary
from handful.reports.figures import STRATEGY_COLOURS, history_curve, loss_limit, spread_apart
from handful.reports.run_page import format_percent, page_environment, write_page
from handful.runs.files import REPORT_FILE
from handful.wording import format_points

COMPARISON_FILE = "comparison.html"
# Where the picture of the intervals may begin, in percent.
_INTERVAL_STARTS = (99, 98, 95, 90, 80, 70, 60, 50, 40, 20, 0)
# A panel of curves and the height of its labels, in the units of its drawing.
_WIDTH, _HEIGHT, _LINE = 290.0, 190.0, 14.0
_ACCURACIES = ("accuracy", "val_accuracy")
_NARROW_SPACE = "\u202f"


def write_comparison_report(
    comparison: Comparison, folder: Path, command: str, notes: Sequence[str] = ()
) -> Path:
    """Write comparison.html: one file that works offline, in light and dark, and on a phone.

    Args:
        comparison: What to show; a run whose `path` is known is linked to its report.html there.
        folder: Existing folder to write to; a page in it is replaced. Links are relative to it,
            so that the folder can be moved together with the runs in it.
        command: Command line that repeats the comparison.
        notes: Paragraphs on what was chosen with the validation photos in view, and the like.

    Returns:
        The page's path.

    Raises:
        OSError: When it cannot be written.
    """
    page = render_comparison(comparison, folder, command, notes)
    return write_page(page, folder / COMPARISON_FILE)


def render_comparison(
    comparison: Comparison, folder: Path, command: str, notes: Sequence[str] = ()
) -> str:
    """Make the page's HTML.

    Args:
        comparison: What to show.
        folder: Folder that links are relative to.
        command: Command line that repeats the comparison.
        notes: Paragraphs on what was chosen with the validation photos in view, and the like.

    Returns:
        The whole document; it has no script and asks for nothing from outside.
    """
    environment = page_environment()
    environment.filters |= {
        "duration": format_duration,
        "size": format_size,
        "short_count": _short_count,
        "points": _signed_points,
        "tight": lambda text: text.replace(" %", f"{_NARROW_SPACE}%"),
        "exact_range": _exact_range,
        "p_value": lambda value: "p < 0.0001" if value < 1e-4 else f"p = {value:.2g}",
    }
    view = _view(comparison, folder) | {"command": command, "notes": list(notes)}
    return environment.get_template(COMPARISON_FILE).render(view)


def format_duration(seconds: float) -> str:
    """Write a duration so that it is read at a glance.

    Args:
        seconds: 0 or more.

    Returns:
        Such as "1.4 s", "52 s", "5 min 12 s", "1 h 23 min", with narrow spaces.
    """
    if seconds < 9.95:
        text = f"{seconds:.1f} s"
    elif round(seconds) < 60:
        text = f"{seconds:.0f} s"
    elif round(seconds) < 3600:
        text = "{} min {:02d} s".format(*divmod(round(seconds), 60))
    else:
        text = "{:,} h {:02d} min".format(*divmod(round(seconds / 60), 60))
    return text.replace(" ", _NARROW_SPACE)


def format_size(num_bytes: int) -> str:
    """Write a file's size in decimal units.

    Args:
        num_bytes: 0 or more.

    Returns:
        Such as "17.6 MB", "820 kB", with a narrow space.
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= size:
            value = num_bytes / size
            return f"{value:.{1 if value < 100 else 0}f}{_NARROW_SPACE}{unit}"
    return f"{num_bytes}{_NARROW_SPACE}bytes"


def _view(comparison: Comparison, folder: Path) -> dict[str, Any]:
    """Everything the template names."""
    places = {
        summary.name: place % len(STRATEGY_COLOURS)
        for place, summary in enumerate(comparison.summaries)
    }
    found = [(summary.name, summary.history) for summary in comparison.summaries]
    histories = {name: history for name, history in found if history is not None}
    start = _interval_start(comparison.summaries)
    return {
        "comparison": comparison,
        "rows": [
            _row(summary, places[summary.name], start, folder) for summary in comparison.ranked
        ],
        "ticks": [f"{start + (100 - start) * part / 2:g}{_NARROW_SPACE}%" for part in range(3)],
        "several_seeds": any(len(summary.runs) > 1 for summary in comparison.summaries),
        "curves": [(name, places[name]) for name in histories],
        "panels": [_panel(histories, places, column) for column in ("accuracy", "loss")]
        if histories
        else [],
        "singles": [
            (name, _panel({name: history}, places, "accuracy"))
            for name, history in histories.items()
        ]
        if len(histories) > 1
        else [],
    }


def _row(summary: StrategySummary, place: int, start: float, folder: Path) -> dict[str, Any]:
    """A strategy's line in the headline and in the table."""

    def along(fraction: float) -> float:
        return round((fraction * 100 - start) / (100 - start) * 100, 2)

    low, high = summary.accuracy_interval
    links = [(run.seed, _link(run.path, folder)) for run in summary.runs if run.path is not None]
    return {
        "summary": summary,
        "place": place,
        "dot": along(summary.accuracy),
        "low": along(low),
        "width": round(along(high) - along(low), 2),
        "links": [(seed, link) for seed, link in links if link],
    }


def _interval_start(summaries: Sequence[StrategySummary]) -> int:
    least = min(summary.accuracy_interval[0] for summary in summaries)
    return next(start for start in _INTERVAL_STARTS if start <= least * 100)


def _link(path: Path, folder: Path) -> str:
    """Where a run's report lies as seen from the page; "" when no way leads there."""
    try:
        way = os.path.relpath(path / REPORT_FILE, folder)
    except ValueError:  # another drive
        return ""
    # The dot keeps a colon in a folder's name from being read as a scheme.
    return "./" + quote(Path(way).as_posix().encode("utf-8", "surrogateescape"))


def _panel(
    histories: Mapping[str, History], places: Mapping[str, int], column: str
) -> dict[str, Any]:
    """Curves of a column by epoch as points in a drawing of `_WIDTH` by `_HEIGHT`."""
    curves = {
        (name, kind): history_curve(history, key)
        for name, history in histories.items()
        for kind, key in (("training", column), ("validation", f"val_{column}"))
    }
    values = [value for _, found in curves.values() for value in found]
    shares = column == "accuracy"
    low = min(values, default=0.0) if shares else 0.0
    high = max(values, default=1.0) if shares else loss_limit(histories.values())
    step = _round_step(high - low)
    low = math.floor(low / step + 1e-9) * step
    high = math.ceil(high / step - 1e-9) * step if shares else high
    last = max((epoch for epochs, _ in curves.values() for epoch in epochs), default=1)
    ticks = [low + step * number for number in range(int((high - low) / step + 1e-6) + 1)]

    def x(epoch: float) -> float:
        return round((epoch - 1) / max(last - 1, 1) * _WIDTH, 1)

    def y(value: float) -> float:
        return round((high - value) / ((high - low) or 1.0) * _HEIGHT, 1)

    drawn = {
        key: [(x(epoch), y(value)) for epoch, value in zip(*curve, strict=True)]
        for key, curve in curves.items()
    }
    return {
        "cut_off": not shares and max(values, default=0.0) > high,
        "lines": [
            {
                "place": places[name],
                "kind": kind,
                "name": name,
                "points": points,
                "text": _points_text(points),
            }
            for (name, kind), points in drawn.items()
        ],
        "bands": [
            _points_text([*drawn[name, "training"], *reversed(drawn[name, "validation"])])
            for name in histories
        ],
        "rows": [{"y": y(tick), "text": _tick_text(tick, step, shares)} for tick in ticks],
        "columns": [{"x": x(tick), "text": tick} for tick in _epoch_ticks(last)],
        "gaps": _gap_labels(histories, places, y) if shares else [],
    }


def _gap_labels(
    histories: Mapping[str, History], places: Mapping[str, int], y: Any
) -> list[dict[str, Any]]:
    """Overfitting gaps in points beside the curves' ends, apart from each other."""
    found = []
    for name, history in histories.items():
        both = [dict(zip(*history_curve(history, key), strict=True)) for key in _ACCURACIES]
        epoch = max(both[0].keys() & both[1].keys(), default=None)
        if epoch is not None:
            found.append((places[name], both[0][epoch], both[1][epoch]))
    heights = spread_apart([y((one + other) / 2) for _, one, other in found], _LINE)
    return [
        {"place": place, "y": round(height, 1), "text": f"{round((one - other) * 100):+d}"}
        for (place, one, other), height in zip(found, heights, strict=True)
    ]


def _points_text(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{left:g},{top:g}" for left, top in points)


def _round_step(span: float) -> float:
    """A round step that cuts a span into some three to seven."""
    rough = (span or 1.0) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    return float(next(power * size for size in (1, 2, 5, 10) if power * size >= rough * 0.999))


def _epoch_ticks(last: int) -> list[int]:
    step = max(1, round(_round_step(last)))
    return [1, *(epoch for epoch in range(step, last + 1, step) if epoch > max(1, step / 2))]


def _tick_text(value: float, step: float, share: bool) -> str:
    if share:
        return f"{value * 100:.{0 if step > 0.0099 else 1}f}{_NARROW_SPACE}%"
    return f"{value:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


def _exact_range(interval: tuple[float, float]) -> str:
    low, high = map(format_percent, interval)
    return f"{low.removesuffix(_NARROW_SPACE + '%')} to {high}"


def _signed_points(fraction: float) -> str:
    text = format_points(fraction)
    return text if text.startswith("-") or float(text) == 0 else f"+{text}"


def _short_count(value: int) -> str:
    if value < 10_000:
        return f"{value:,}"
    unit, size = ("M", 1e6) if value >= 999_500 else ("k", 1e3)
    number = value / size
    return f"{number:,.{1 if number < 100 else 0}f}{_NARROW_SPACE}{unit}"
