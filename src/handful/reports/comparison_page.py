"""One self-contained HTML page about several ways of training; it computes nothing but layout.

It has the looks of `handful.reports.run_page`'s page.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from handful.evaluation.comparison import Comparison, StrategySummary
from handful.reports.drawing import NARROW_SPACE
from handful.reports.run_page import format_percent, page_environment, write_page
from handful.reports.training_charts import (
    accuracy_chart,
    history_charts,
    strategy_colors,
    time_chart,
)
from handful.run_store.files import REPORT_FILE
from handful.wording import format_duration, format_points

COMPARISON_FILE = "comparison.html"
# Where the picture of the intervals may begin, in percent.
_INTERVAL_STARTS = (99, 98, 95, 90, 80, 70, 60, 50, 40, 20, 0)


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
        "duration": lambda seconds: format_duration(seconds).replace(" ", NARROW_SPACE),
        "size": format_size,
        "short_count": _short_count,
        "points": _signed_points,
        "tight": lambda text: text.replace(" %", f"{NARROW_SPACE}%"),
        "exact_range": _exact_range,
        "p_value": lambda value: "p < 0.0001" if value < 1e-4 else f"p = {value:.2g}",
    }
    view = _view(comparison, folder) | {"command": command, "notes": list(notes)}
    return environment.get_template(COMPARISON_FILE).render(view)


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
            return f"{value:.{1 if value < 100 else 0}f}{NARROW_SPACE}{unit}"
    return f"{num_bytes}{NARROW_SPACE}bytes"


def _view(comparison: Comparison, folder: Path) -> dict[str, Any]:
    """Everything the template names."""
    colors = strategy_colors(summary.name for summary in comparison.summaries)
    found = [(summary.name, summary.history) for summary in comparison.summaries]
    histories = {name: history for name, history in found if history is not None}
    start = _interval_start(comparison.summaries)
    return {
        "comparison": comparison,
        "rows": [
            _row(summary, colors[summary.name], start, folder) for summary in comparison.ranked
        ],
        "ticks": [f"{start + (100 - start) * part / 2:g}{NARROW_SPACE}%" for part in range(3)],
        "several_seeds": any(len(summary.runs) > 1 for summary in comparison.summaries),
        "time": time_chart([summary.to_dict() for summary in comparison.summaries]),
        "curves": [(name, colors[name]) for name in histories],
        "panels": history_charts(histories, colors) if histories else (),
        "singles": [
            (name, accuracy_chart({name: history}, colors, has_band=True))
            for name, history in histories.items()
        ]
        if len(histories) > 1
        else [],
    }


def _row(summary: StrategySummary, color: str, start: float, folder: Path) -> dict[str, Any]:
    """A strategy's line in the headline and in the table."""

    def along(fraction: float) -> float:
        return round((fraction * 100 - start) / (100 - start) * 100, 2)

    low, high = summary.accuracy_interval
    links = [
        (run.seed, link_to(run.path / REPORT_FILE, folder))
        for run in summary.runs
        if run.path is not None
    ]
    return {
        "summary": summary,
        "color": color,
        "dot": along(summary.accuracy),
        "low": along(low),
        "width": round(along(high) - along(low), 2),
        "links": [(seed, link) for seed, link in links if link],
    }


def _interval_start(summaries: Sequence[StrategySummary]) -> int:
    least = min(summary.accuracy_interval[0] for summary in summaries)
    return next(start for start in _INTERVAL_STARTS if start <= least * 100)


def link_to(file: Path, folder: Path) -> str:
    """Where a file lies as seen from a page.

    Args:
        file: The file.
        folder: Of the page.

    Returns:
        A relative address; "" when no way leads there.
    """
    try:
        way = os.path.relpath(file, folder)
    except ValueError:  # another drive
        return ""
    # The dot keeps a colon in a folder's name from being read as a scheme.
    return "./" + quote(Path(way).as_posix().encode("utf-8", "surrogateescape"))


def _exact_range(interval: tuple[float, float]) -> str:
    low, high = map(format_percent, interval)
    return f"{low.removesuffix(NARROW_SPACE + '%')} to {high}"


def _signed_points(fraction: float) -> str:
    text = format_points(fraction)
    return text if text.startswith("-") or float(text) == 0 else f"+{text}"


def _short_count(value: int) -> str:
    if value < 10_000:
        return f"{value:,}"
    unit, size = ("M", 1e6) if value >= 999_500 else ("k", 1e3)
    number = value / size
    return f"{number:,.{1 if number < 100 else 0}f}{NARROW_SPACE}{unit}"
