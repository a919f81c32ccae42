"""One self-contained HTML page about a classifier; nothing is computed here but its layout."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handful.evaluation.evaluation import Evaluation
from handful.evaluation.guarantees import Guarantees
from handful.evaluation.resampling import Resampling
from handful.evaluation.verdict import verdict
from handful.models.novelty import FALSE_ALARM_RATE
from handful.reports.charts import confidence_chart, reliability_chart, spread_chart
from handful.reports.drawing import NARROW_SPACE, Chart
from handful.run_store.files import REPORT_FILE
from handful.statistics.metrics import ReliabilityCurve
from handful.wording import format_rate, format_share, printable

if TYPE_CHECKING:
    from jinja2 import Environment

    from handful.training.rungs import Attempt

_TEMPLATES = Path(__file__).parent / "templates"
# Up to so many classes everything is laid open; beyond, the weakest come first and the rest fold.
_MATRIX_CLASSES = 20
_OPEN_CLASSES = 30
_WEAKEST = 12
_PAIRS_BESIDE, _PAIRS_ALONE = 8, 15
_OPEN_LINES = 6
_LINES_KEPT = 200
_OPEN_EXAMPLES = 12
# Where the picture of the accuracy's interval may begin, in percent.
_INTERVAL_STARTS = (99.0, 98.0, 95.0, 90.0, 80.0, 50.0, 0.0)
_PHASES = {
    "index": "finding and fingerprinting the files",
    "convert": "preparing the network, at its first use",
    "decode": "reading the photos while embedding; added up over threads",
    "embed": "running the network",
    "fit": "fitting the classifier to the training photos",
    "train": "training the network",
    "resample": "training and testing on other splits",
    "curve": "training and testing with ever more photos",
    "evaluate": "scoring",
    "report": "writing the results",
    "total": "until this page was written",
}
# Added up over threads, and inside another phase: no part of the total.
_OVERLAPPING = ("decode", "total")


@dataclass(frozen=True)
class ReportImage:
    """A photo on the page.

    Args:
        path: Its path, as shown to people.
        thumbnail: A small JPEG file's bytes; empty where there is none to show.
        label: Name of its true class.
        predicted: Name it was given, or None where it was not asked.
        probability: Probability of that name, in [0, 1], or None.
        overlay: A small JPEG file's bytes: the photo with what spoke for the name marked; empty
            where there is none.
    """

    path: str
    thumbnail: bytes
    label: str
    predicted: str | None
    probability: float | None
    overlay: bytes = b""


@dataclass(frozen=True)
class TrustData:
    """What the page says on how far its figures can be relied on.

    Args:
        limitations: What else the scored photos are too few to show; texts.
        guarantees: Error rates and coverages, promised and found; None where nothing was held out.
        resampling: Scores on other splits; None where they were not asked for.
        num_unlike: Scored photos that are unlike the training photos; None where that cannot be
            told.
        unlike: Some of those, the farthest first.
        false_alarm_rate: Share of photos like those of training that is said to be unlike them.
        num_suspects: Training photos whose label is doubtful.
        suspects: Some of those, the most doubtful first, `predicted` being the class that they
            look more like; None where labels were not reviewed.
        curve: Accuracy by number of photos; None where it was not measured.
        curve_lines: What it says, in sentences.
    """

    limitations: Sequence[str] = ()
    guarantees: Guarantees | None = None
    resampling: Resampling | None = None
    num_unlike: int | None = None
    false_alarm_rate: float = FALSE_ALARM_RATE
    unlike: Sequence[ReportImage] = ()
    num_suspects: int = 0
    suspects: Sequence[ReportImage] | None = None
    curve: Chart | None = None
    curve_lines: Sequence[str] = ()


@dataclass(frozen=True)
class ReportData:
    """All that the page shows. Names and paths may hold any text: they are escaped.

    Args:
        title: Name of the data.
        evaluation: The scores.
        evaluated_on: What was scored, in the plural, and after a comma what to know about it:
            "validation photos, not used for fitting".
        counts: Split -> class name -> number of photos.
        examples: Class name -> some of its photos.
        mistakes: The most confident mistakes.
        least_certain: The photos with the lowest highest probability.
        problems: Heading -> lines about rejected files, duplicates, leaks, warnings; empty when
            nothing was found.
        settings: What was chosen -> its value.
        seconds: Phase -> its duration; "total" is the whole, and "decode" is taken to overlap
            with other phases.
        curves: Accuracy and loss by epoch; empty where there were no epochs.
        trust: How far the figures can be relied on.
        attempts: What was tried to find the best network; empty where nothing was.
        advice: What may make the classifier better; "" where there is nothing to say.
    """

    title: str
    evaluation: Evaluation
    evaluated_on: str
    counts: Mapping[str, Mapping[str, int]]
    examples: Mapping[str, Sequence[ReportImage]]
    mistakes: Sequence[ReportImage]
    least_certain: Sequence[ReportImage]
    problems: Mapping[str, Sequence[str]]
    settings: Mapping[str, str]
    seconds: Mapping[str, float]
    curves: Sequence[Chart] = ()
    trust: TrustData = TrustData()
    attempts: "Sequence[Attempt]" = ()
    advice: str = ""


def write_report(data: ReportData, folder: Path) -> Path:
    """Write report.html: one file that works offline, in light and dark, and on a phone.

    Args:
        data: What to show.
        folder: Existing folder to write to; a report in it is replaced.

    Returns:
        The page's path.

    Raises:
        OSError: When it cannot be written.
    """
    return write_page(render_report(data), folder / REPORT_FILE)


def write_page(html: str, path: Path) -> Path:
    """Write a page.

    Args:
        html: The whole document.
        path: File to write; one that is there is replaced.

    Returns:
        The path.

    Raises:
        OSError: When it cannot be written.
    """
    # Names may hold marks that turn writing round, or bytes that are no text; templates have none.
    path.write_text("\n".join(map(printable, html.split("\n"))), encoding="utf-8")
    return path


def render_report(data: ReportData) -> str:
    """Make the page's HTML.

    Args:
        data: What to show.

    Returns:
        The whole document; it has no script and asks for nothing from outside.
    """
    return page_environment().get_template("report.html").render(_view(data))


def page_environment() -> "Environment":
    """Jinja2 as all of handful's pages use it: escaping, strict, with filters for numbers.

    Returns:
        An environment that finds the templates; "percent", "percent_range", "decimal", "count",
        "seconds", "breakable" and "jpeg_uri" are its filters.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from handful.reports.compiled_templates import CompiledTemplates

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        bytecode_cache=CompiledTemplates(),
    )
    environment.filters |= {
        # Long names may break after an underscore; the parts are escaped by the join.
        "breakable": lambda name: Markup("_<wbr>").join(name.split("_")),
        "percent": format_percent,
        "percent_range": _percent_range,
        "rate": lambda rate: format_rate(rate).replace(" ", NARROW_SPACE),
        "decimal": _decimal,
        "count": _count,
        "seconds": _seconds,
        "jpeg_uri": _jpeg_uri,
    }
    return environment


def format_percent(fraction: float | None, digits: int = 1) -> str:
    """Write a fraction as `format_share` does, with a narrow space.

    Args:
        fraction: In [0, 1]; None for undefined.
        digits: Digits after the point; more are taken where rounding would claim 0 or 100.

    Returns:
        Such as "98.6 %", "100 %", "99.97 %"; "–" for None.
    """
    if fraction is None:
        return "–"
    return format_share(fraction, digits).replace(" ", NARROW_SPACE)


def _view(data: ReportData) -> dict[str, Any]:
    """Everything the template names."""
    evaluation = data.evaluation
    subject, _, remark = data.evaluated_on.partition(",")
    low, high = evaluation.accuracy_interval
    rows = list(evaluation.per_class)
    num_classes = len(rows)
    folds = num_classes > _OPEN_CLASSES
    if folds:
        rows.sort(key=lambda row: (row.f1 is None, row.f1 or 0.0, row.name))
    return {
        "data": data,
        "evaluation": evaluation,
        "verdict": verdict(evaluation),
        "subject": subject.strip(),
        "remark": remark.strip(),
        "interval": _interval_scale(evaluation.accuracy, low, high),
        "num_mistakes": len(evaluation) - evaluation.num_correct,
        "class_rows": rows,
        "folds": folds,
        "shown_rows": _WEAKEST if folds else num_classes,
        "open_classes": _OPEN_CLASSES,
        "matrix": _matrix(evaluation) if num_classes <= _MATRIX_CLASSES else [],
        "pairs": evaluation.confused_pairs(
            _PAIRS_BESIDE if num_classes <= _MATRIX_CLASSES else _PAIRS_ALONE
        ),
        "reliability": reliability_chart(evaluation.reliability),
        "confidence": confidence_chart(evaluation.reliability),
        "bands": _bands(evaluation.confidence_bands),
        "open_examples": _OPEN_EXAMPLES,
        "class_counts": _class_counts(data.counts, evaluation.class_names),
        "split_totals": {name: sum(row.values()) for name, row in data.counts.items()},
        "problems": [
            {
                "heading": heading,
                "open": list(lines[:_OPEN_LINES]),
                "folded": list(lines[_OPEN_LINES:_LINES_KEPT]),
                "num_lines": len(lines),
                "num_left_out": max(len(lines) - _LINES_KEPT, 0),
            }
            for heading, lines in data.problems.items()
            if lines
        ],
        "phases": _phases(data.seconds),
        "trust": data.trust,
        "guarantees": data.trust.guarantees,
        # Guarantees made on the scored photos themselves are not held against them.
        "held_apart": data.trust.guarantees and data.trust.guarantees.source == "out-of-fold",
        "resampling": data.trust.resampling,
        "spread": data.trust.resampling and spread_chart(data.trust.resampling.to_dict()),
    }


def _interval_scale(accuracy: float, low: float, high: float) -> dict[str, Any]:
    """Places, in percent of its width, on an axis that begins close below the interval."""
    start = next(start for start in _INTERVAL_STARTS if start <= low * 100)
    span = 100 - start

    def place(fraction: float) -> float:
        return round((fraction * 100 - start) / span * 100, 2)

    return {
        "accuracy": place(accuracy),
        "low": place(low),
        "width": round(place(high) - place(low), 2),
        "ticks": [f"{start + span * part / 2:g}{NARROW_SPACE}%" for part in range(3)],
    }


def _matrix(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Rows of the confusion matrix with each cell's shade, in [0, 1]."""
    return [
        {
            "name": score.name,
            "support": score.support,
            "cells": [
                {
                    "count": int(count),
                    "name": name,
                    "right": score.name == name,
                    # The square root makes a mistake in a hundred visible.
                    "shade": round(math.sqrt(count / score.support), 3) if score.support else 0.0,
                }
                for name, count in zip(evaluation.class_names, counts, strict=True)
            ],
        }
        for score, counts in zip(evaluation.per_class, evaluation.confusion, strict=True)
    ]


def _bands(curve: ReliabilityCurve) -> list[dict[str, Any]]:
    """Groups of confidence that have photos, the surest first."""
    return [
        {
            "low": float(curve.edges[group]),
            "high": float(curve.edges[group + 1]),
            "count": int(curve.counts[group]),
            "right": int(curve.num_correct[group]),
            "wrong": int(curve.counts[group] - curve.num_correct[group]),
            "accuracy": float(curve.accuracy[group]),
        }
        for group in reversed(range(len(curve.counts)))
        if curve.counts[group]
    ]


def _class_counts(
    counts: Mapping[str, Mapping[str, int]], class_names: Sequence[str]
) -> list[tuple[str, list[int]]]:
    # A class may be in the photos and not in the classifier, or the reverse.
    names = dict.fromkeys([*class_names, *(name for row in counts.values() for name in row)])
    return [(name, [row.get(name, 0) for row in counts.values()]) for name in names]


def _phases(seconds: Mapping[str, float]) -> list[dict[str, Any]]:
    """Durations with what each phase does, the total last."""
    longest = max(seconds.values(), default=0.0) or 1.0
    order = sorted(seconds, key=lambda name: name == "total")
    return [
        {
            "name": name,
            "meaning": _PHASES.get(name, ""),
            "seconds": seconds[name],
            "width": round(min(seconds[name] / longest, 1.0) * 100, 1),
            "overlaps": name in _OVERLAPPING,
            "total": name == "total",
        }
        for name in order
    ]


def _percent_range(interval: tuple[float, float]) -> str:
    low, high = (format_percent(end, 0) for end in interval)
    return f"{low.split(NARROW_SPACE)[0]}–{high}"


def _decimal(value: float | None, digits: int = 3) -> str:
    """A number with so many digits after the point; 0 and 1 are said only of exactly these."""
    if value is None:
        return "–"
    text = f"{value:.{digits}f}"
    if value < 1.0 <= float(text):
        return f"> {1 - 10.0**-digits:.{digits}f}"
    if value > 0.0 >= float(text):
        return f"< {10.0**-digits:.{digits}f}"
    return text


def _count(value: int) -> str:
    return f"{value:,}"


def _seconds(value: float) -> str:
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f}{NARROW_SPACE}s"


def _jpeg_uri(data: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")
