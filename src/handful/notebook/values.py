"""What each value shows at the end of a cell: what its template names."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from handful.data.index import ImageIndex
from handful.data.part_names import SPLIT_NAMES
from handful.data.splits import Split
from handful.datasets.archives import ImageFolder
from handful.evaluation.comparison import Comparison
from handful.evaluation.evaluation import Evaluation
from handful.evaluation.learning_curve import REACH, LearningCurve
from handful.evaluation.verdict import verdict
from handful.exporting.export_card import CARD_FILE
from handful.exporting.export_jobs import Export
from handful.models.activation_maps import Explanation, overlay
from handful.models.classifier import Classifier, Prediction, Predictions
from handful.notebook.page import render
from handful.notebook.pictures import (
    LARGE_SIDE,
    Photo,
    fitted,
    photo_uri,
    picture_uri,
    read_named,
)
from handful.reports.charts import learning_curve_chart
from handful.reports.comparison_page import COMPARISON_FILE, link_to
from handful.reports.training_charts import history_charts, strategy_colors, time_chart
from handful.run_store.files import REPORT_FILE
from handful.run_store.run import Run
from handful.run_store.run_list import RunList
from handful.training.previews import Preview
from handful.training.summaries import NetworkSummary
from handful.wording import format_share
from handful.workflows.check import PhotoCheck
from handful.workflows.curve import CurveRun
from handful.workflows.figures import Figures

_PHOTOS, _MISTAKES, _PAIRS, _PREDICTIONS = 8, 6, 2, 6
_CLASSES, _LINES, _FINDINGS, _BARS = 10, 4, 6, 5
_RANDOM_VIEWS, _STEPS, _TILE = 8, 3, 64
_LAYERS, _RUNS, _FIGURES = 24, 20, 6
# Sheets and figures, in pixels and bytes.
_SHEET, _FIGURE = (460, 13_000), (320, 4_000)

View = dict[str, Any]


def html_of(value: object) -> str:
    """Make the HTML of a value.

    Args:
        value: Of one of the types that show themselves.

    Returns:
        One element, whole in itself.
    """
    for kind, (template, view) in _VIEWS.items():
        if isinstance(value, kind):
            return render(f"{template}.html", **view(value))
    raise TypeError(f"There is no HTML of a {type(value).__name__}.")


def _index(index: ImageIndex) -> View:
    rows = _of_all_classes(index, _PHOTOS)
    names = index.label_names()
    return {
        "index": index,
        "table": _table(index.counts()),
        "photos": [Photo(_uri(index, row), index.paths[row], names[row]) for row in rows],
        "warnings": _first(index.warnings),
        "rejected": _first([f"{file.path} {file.reason}" for file in index.rejected]),
    }


def _of_all_classes(index: ImageIndex, number: int) -> list[int]:
    """Rows of some photos, of as many classes as there are, in order."""
    members = index.members()
    if not members.size:
        return list(range(min(number, len(index))))
    # A photo's turn is its place in its class.
    turns = np.where(members, members.cumsum(axis=0), len(index)).min(axis=1)
    chosen = np.argsort(turns, kind="stable")[:number]
    return sorted(int(row) for row in chosen)


def _split(split: Split) -> View:
    index = split.index
    counts = {
        part: dict(zip(index.class_names, index.members()[rows].sum(axis=0).tolist(), strict=True))
        for part in SPLIT_NAMES
        if len(rows := getattr(split, part))
    }
    parts = split.part_names()
    pairs = (split.leaks or split.duplicates)[:_PAIRS]
    return {
        "split": split,
        "table": _table(counts),
        "photos": [
            Photo(_uri(index, row), index.paths[row], parts[row] or "left out")
            for pair in pairs
            for row in pair
        ],
        "warnings": _first(index.warnings),
    }


def _run(run: Run) -> View:
    index, evaluation = run.split.index, run.evaluation
    photos = []
    for number in evaluation.mistakes(_MISTAKES).tolist():
        row = int(run.split.validation[number])
        photos.append(_answer(evaluation, number, _uri(index, row)))
    history = None if run.trained is None else run.trained.fitted.history
    page = None if run.path is None else run.path / REPORT_FILE
    return {
        **_evaluation(evaluation),
        "run": run,
        "photos": photos,
        "num_mistakes": len(evaluation) - evaluation.num_correct,
        "charts": () if history is None else history_charts({run.config.strategy: history}),
        "page": _page(page),
    }


def _answer(evaluation: Evaluation, number: int, uri: str) -> Photo:
    """A photo that was classified wrong."""
    names, predicted = evaluation.class_names, int(evaluation.predicted[number])
    chance = float(evaluation.confidence[number])
    note = f"actual {names[evaluation.labels[number]]}"
    title = f"predicted {names[predicted]}, {format_share(chance, 0)}"
    return Photo(uri, evaluation.paths[number], title, True, note)


def _evaluation(evaluation: Evaluation) -> View:
    rows = sorted(evaluation.per_class, key=lambda row: (row.f1 is None, row.f1 or 0.0))
    shown = evaluation.per_class if len(rows) <= _CLASSES else rows[:_CLASSES]
    return {
        "evaluation": evaluation,
        "verdict": verdict(evaluation),
        "rows": shown,
        "num_hidden": len(rows) - len(shown),
        "pairs": evaluation.confused_pairs(_LINES),
    }


def _prediction(prediction: Prediction) -> View:
    chances = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    return {
        "prediction": prediction,
        "photo": Photo(
            photo_uri(partial(read_named, prediction.path), large=True), prediction.path
        ),
        "bars": chances[:_BARS],
        "num_hidden": max(len(chances) - _BARS, 0),
    }


def _predictions(predictions: Predictions) -> View:
    return {
        "predictions": predictions,
        "photos": [
            Photo(
                photo_uri(partial(read_named, one.path)),
                one.path,
                f"{one.label}, {format_share(one.probability, 0)}",
                note=" · ".join(_doubts(one)),
                share=one.probability,
            )
            for one in predictions[:_PREDICTIONS]
        ],
    }


def _doubts(prediction: Prediction) -> list[str]:
    return ["not sure"] * (prediction.is_confident is False) + ["unusual photo"] * bool(
        prediction.is_out_of_distribution
    )


def _check(check: PhotoCheck) -> View:
    index = check.index
    striking = [finding.groups[0] for finding in check.findings if finding.groups]
    rows = list(dict.fromkeys(row for group in striking for row in group[:2]))[: 2 * _PAIRS]
    names = index.label_names()
    return {
        "check": check,
        "table": _table(index.counts()),
        "findings": check.findings[:_FINDINGS],
        "photos": [Photo(_uri(index, row), index.paths[row], names[row]) for row in rows],
        "page": _page(check.page),
    }


def _comparison(comparison: Comparison) -> View:
    return {
        "comparison": comparison,
        "colors": strategy_colors(summary.name for summary in comparison.summaries),
        "charts": (time_chart([summary.to_dict() for summary in comparison.summaries]),),
        "differences": _first([row.sentence for row in comparison.differences]),
        "page": _page(None if comparison.path is None else comparison.path / COMPARISON_FILE),
        "limitations": comparison.limitations,
    }


def _curve(curve: LearningCurve, target: Mapping[str, Any] | None = None) -> View:
    sizes = [curve.photos_a_class * factor for factor in (1, 2, 4, REACH)]
    return {
        "sentences": [str(curve.describe(size)["sentence"]) for size in sizes],
        "charts": (learning_curve_chart(curve.to_dict(), target),),
        "page": None,
    }


def _curve_run(run: CurveRun) -> View:
    target = None if run.needed is None else vars(run.needed)
    return {
        **_curve(run.curve, target),
        "sentences": run.sentences,
        "page": _page(None if run.path is None else run.path / "curve.html"),
    }


def _preview(preview: Preview) -> View:
    return {
        "preview": preview,
        "photo": picture_uri(_tile(preview.photo)),
        "views": [picture_uri(_tile(view)) for view in preview.views[:_RANDOM_VIEWS]],
        "strips": [
            (strip, picture_uri(np.hstack([_tile(strip.views[place]) for place in places])))
            for strip in preview.strips
            for places in [_ends(len(strip.views))]
        ],
    }


def _tile(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return fitted(image, _TILE)


def _ends(count: int) -> list[int]:
    """Places of the first, the middle and the last of several."""
    return sorted({int(place) for place in np.linspace(0, count - 1, _STEPS)})


def _explanation(explanation: Explanation) -> View:
    tinted = overlay(explanation, LARGE_SIDE)
    return {"explanation": explanation, "picture": picture_uri(tinted, large=True)}


def _summary(summary: NetworkSummary) -> View:
    """Of a deep network the first and the last layers."""
    layers = summary.layers
    ends = _LAYERS // 2
    is_short = len(layers) <= _LAYERS
    return {
        "summary": summary,
        "first": layers if is_short else layers[:ends],
        "last": () if is_short else layers[-ends:],
        "num_hidden": 0 if is_short else len(layers) - 2 * ends,
        "shape": _shape,
    }


def _shape(shape: tuple[int | None, ...] | None) -> str:
    return "?" if shape is None else " x ".join("any" if n is None else f"{n}" for n in shape)


def _image_folder(folder: ImageFolder) -> View:
    return {
        "folder": folder,
        "table": _table(folder.counts),
        "sheet": _file_uri(folder.examples, *_SHEET),
    }


def _figures(figures: Figures) -> View:
    shown = figures.files[:_FIGURES]
    return {
        "figures": figures,
        "pictures": [(file.name, _file_uri(file, *_FIGURE)) for file in shown],
        "num_hidden": len(figures.files) - len(shown),
    }


def _file_uri(file: Path, side: int, most: int) -> str:
    """A picture that handful drew, in small; "" where it is gone."""
    image = cv2.imread(str(file))
    if image is None:
        return ""
    pixels = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
    return picture_uri(fitted(pixels, side), most=most)


def _export(export: Export) -> View:
    card = export.path / CARD_FILE
    return {"export": export, "parity": export.parity, "page": _page(card)}


def _runs(runs: RunList) -> View:
    return {"runs": runs[:_RUNS], "num_hidden": max(len(runs) - _RUNS, 0)}


def _classifier(classifier: Classifier) -> View:
    return {
        "classifier": classifier,
        "names": classifier.class_names[: 4 * _CLASSES],
        "num_hidden": max(len(classifier.class_names) - 4 * _CLASSES, 0),
    }


def _uri(index: ImageIndex, row: int) -> str:
    return photo_uri(partial(index.read, row))


def _table(counts: Mapping[str, Mapping[str, int]]) -> View:
    """Photos by class and part, the largest classes first where they are many."""
    totals = {part: sum(row.values()) for part, row in counts.items()}
    names = list(dict.fromkeys(name for row in counts.values() for name in row))
    if len(names) > _CLASSES:
        names.sort(key=lambda name: -sum(row[name] for row in counts.values()))
    return {
        "parts": list(totals),
        "totals": list(totals.values()),
        "rows": [(name, [row[name] for row in counts.values()]) for name in names[:_CLASSES]],
        "num_hidden": max(len(names) - _CLASSES, 0),
    }


def _first(lines: Sequence[str]) -> View:
    """Some lines, and how many more there are."""
    return {"lines": lines[:_LINES], "num_hidden": max(len(lines) - _LINES, 0)}


def _page(file: Path | None) -> View | None:
    """A page that was written, if it is still there."""
    if file is None or not file.exists():
        return None
    return {"path": str(file), "link": link_to(file, Path.cwd())}


_VIEWS: dict[type, tuple[str, Callable[[Any], View]]] = {
    ImageIndex: ("index", _index),
    Split: ("split", _split),
    Run: ("run", _run),
    Evaluation: ("evaluation", _evaluation),
    Prediction: ("prediction", _prediction),
    Predictions: ("predictions", _predictions),
    PhotoCheck: ("check", _check),
    Comparison: ("comparison", _comparison),
    LearningCurve: ("curve", _curve),
    CurveRun: ("curve", _curve_run),
    Preview: ("preview", _preview),
    Explanation: ("explanation", _explanation),
    NetworkSummary: ("summary", _summary),
    ImageFolder: ("image_folder", _image_folder),
    Figures: ("figures", _figures),
    Export: ("export", _export),
    RunList: ("runs", _runs),
    Classifier: ("classifier", _classifier),
}
