"""What the page of results shows, as plain values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from handful.evaluation.evaluation import Evaluation
from handful.evaluation.verdict import verdict
from handful.projects.project import Project
from handful.wording import format_share, number_of

# Up to so many classes the whole table is shown; of more, the worst pairs.
TABLE_CLASSES = 12
_PAIRS = 15

# A class and what it was taken for; None for all photos classified wrong.
Pair = tuple[str, str] | None


@dataclass(frozen=True)
class Figure:
    """What a training came to.

    Args:
        verdict: In plain words.
        share: Share of test photos classified correctly, as a text.
        low: Lower end of its 95 % interval, 0 to 1.
        high: Upper end.
        accuracy: The share, 0 to 1.
        summary: The count and the interval in words.
        made: When, and how.
    """

    verdict: str
    share: str
    low: float
    high: float
    accuracy: float
    summary: str
    made: str = ""


@dataclass(frozen=True)
class Cell:
    """Photos of one class that were taken for one class.

    Args:
        actual: The class that they are of.
        predicted: What they were taken for.
        count: How many.
        shade: How dark the cell is, 0 to 1.
        label: What a screen reader says.
    """

    actual: str
    predicted: str
    count: int
    shade: float
    label: str

    @property
    def is_correct(self) -> bool:
        """Whether they were classified correctly."""
        return self.actual == self.predicted


@dataclass(frozen=True)
class Confusions:
    """What gets mixed up with what.

    Args:
        class_names: The classes, in the table's order.
        rows: A row of cells for each class; empty where there are too many classes for a table.
        pairs: The classes most often mixed up, as a text each, where there is no table.
    """

    class_names: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...] = ()
    pairs: tuple[tuple[Cell, str], ...] = ()


@dataclass(frozen=True)
class TestPhoto:
    """A test photo, and what the classifier said of it.

    Args:
        id: The photo.
        name: Its file's name.
        actual: Its label when it was tested.
        predicted: What the classifier said.
        confidence: How sure it was, in words.
        done: What was decided since, or "".
    """

    __test__ = False  # no test, whatever pytest thinks of its name

    id: str
    name: str
    actual: str
    predicted: str
    confidence: str
    done: str = ""

    @property
    def is_wrong(self) -> bool:
        """Whether it was classified wrong."""
        return self.actual != self.predicted


@dataclass(frozen=True)
class PhotoList:
    """Some of the test photos.

    Args:
        title: What they have in common, with their number.
        photos: The first of them.
        num_more: How many there are beside these.
    """

    title: str
    photos: tuple[TestPhoto, ...]
    num_more: int = 0


@dataclass(frozen=True)
class Details:
    """Measures for those who know them.

    Args:
        measures: Name and value.
        classes: A row for each class: name, photos, precision, recall with interval, F1.
    """

    measures: tuple[tuple[str, str], ...]
    classes: tuple[tuple[str, ...], ...]


def figure_of(evaluation: Evaluation, made: str = "") -> Figure:
    """Say what a training came to.

    Args:
        evaluation: Answers on the test photos.
        made: When and how it was made.

    Returns:
        The figure and what to expect.
    """
    low, high = evaluation.accuracy_interval
    share = format_share(evaluation.accuracy)
    summary = evaluation.summary("test photos")
    return Figure(verdict(evaluation), share, low, high, evaluation.accuracy, summary, made)


def confusions_of(evaluation: Evaluation) -> Confusions:
    """Say what gets mixed up with what.

    Args:
        evaluation: Answers on the test photos.

    Returns:
        A table, or the worst pairs where there are too many classes for one.
    """
    names = evaluation.class_names
    if len(names) > TABLE_CLASSES:
        pairs = []
        for pair in evaluation.confused_pairs(_PAIRS):
            cell = _cell(pair.true_name, pair.predicted_name, pair.count, pair.share)
            share = format_share(pair.share, 0)
            text = f"{pair.true_name} taken for {pair.predicted_name}: {pair.count:,} ({share})"
            pairs.append((cell, text))
        return Confusions(names, pairs=tuple(pairs))
    totals = evaluation.confusion.sum(axis=1)
    rows = [
        tuple(
            _cell(actual, predicted, int(count), count / max(total, 1))
            for predicted, count in zip(names, counts, strict=True)
        )
        for actual, counts, total in zip(names, evaluation.confusion, totals, strict=True)
    ]
    return Confusions(names, tuple(rows))


def _cell(actual: str, predicted: str, count: int, share: float) -> Cell:
    right = "classified correctly" if actual == predicted else f"taken for {predicted}"
    # The square root makes a mistake in a hundred visible.
    return Cell(actual, predicted, count, round(math.sqrt(share), 3), f"{count:,} {actual} {right}")


def photos_of(
    project: Project, evaluation: Evaluation, pair: Pair = None, limit: int | None = None
) -> PhotoList:
    """Some of the test photos, the surest answers first.

    Args:
        project: Where the photos are; those that are gone from it are left out.
        evaluation: Answers on the test photos.
        pair: A class and what it was taken for; None for all that were classified wrong.
        limit: At most so many.

    Returns:
        The photos.
    """
    rows = evaluation.mistakes()
    title = f"Classified wrong ({len(rows):,})"
    if pair is not None and set(pair) <= set(evaluation.class_names):
        actual, predicted = map(evaluation.class_names.index, pair)
        rows = np.flatnonzero((evaluation.labels == actual) & (evaluation.predicted == predicted))
        rows = rows[np.argsort(-evaluation.confidence[rows], kind="stable")]
        what = "classified correctly" if actual == predicted else f"taken for {pair[1]}"
        title = f"{pair[0]} {what} ({len(rows):,})"
    return _listed(project, evaluation, [int(row) for row in rows], title, limit)


def unusual_photos(
    project: Project, evaluation: Evaluation, paths: Sequence[str], limit: int | None = None
) -> PhotoList:
    """The test photos that are unlike the training photos.

    Args:
        project: Where the photos are.
        evaluation: Answers on the test photos.
        paths: The photos' paths, the farthest first.
        limit: At most so many.

    Returns:
        The photos.
    """
    places = {path: row for row, path in enumerate(evaluation.paths)}
    rows = [places[path] for path in paths if path in places]
    return _listed(project, evaluation, rows, f"Unusual photos ({len(rows):,})", limit)


def _listed(
    project: Project, evaluation: Evaluation, rows: Sequence[int], title: str, limit: int | None
) -> PhotoList:
    photos = {photo.path: photo for photo in project.photos}
    names, there = evaluation.class_names, [row for row in rows if evaluation.paths[row] in photos]
    found = []
    for row in there[:limit]:
        photo = photos[evaluation.paths[row]]
        actual, predicted = names[evaluation.labels[row]], names[evaluation.predicted[row]]
        confidence = format_share(float(evaluation.confidence[row]))
        done = decision_on(project, photo.id, actual)
        found.append(TestPhoto(photo.id, photo.name, actual, predicted, confidence, done))
    return PhotoList(title, tuple(found), len(there) - len(found))


def changed_since(project: Project, evaluation: Evaluation) -> str:
    """Say how many labels of test photos have changed since they were tested.

    Args:
        project: Its labels.
        evaluation: Answers on the test photos.

    Returns:
        A sentence; "" where none has.
    """
    ids = {photo.path: photo.id for photo in project.photos}
    tested = zip(evaluation.paths, evaluation.labels, strict=True)
    fixed = sum(
        bool(decision_on(project, ids[path], evaluation.class_names[label]))
        for path, label in tested
        if path in ids
    )
    text = f"{number_of(fixed, 'label')} changed since. Train again to see what that brings."
    return text if fixed else ""


def details_of(evaluation: Evaluation) -> Details:
    """The measures that stand folded.

    Args:
        evaluation: Answers on the test photos.

    Returns:
        Their names and values.
    """
    error = evaluation.calibration_error
    low, high = (format_share(end) for end in error.interval)
    measures = (
        ("Balanced accuracy (mean of the classes)", format_share(evaluation.balanced_accuracy)),
        ("ROC-AUC (1 is perfect, 0.5 is guessing)", _decimal(evaluation.roc_auc)),
        (
            "Log loss (0 is perfect)",
            f"{evaluation.log_loss:.3f}; guessing {evaluation.uniform_log_loss:.3f}",
        ),
        (
            "Calibration: how far probabilities are off",
            f"{format_share(error.error)} (95 % interval {low} to {high})"
            if error.is_told
            else f"so few photos cannot tell; {high} at most",
        ),
    )
    classes = []
    for row in evaluation.per_class:
        recall = _share(row.recall)
        if row.recall_interval is not None:
            least, most = (format_share(end, 0) for end in row.recall_interval)
            recall += f" ({least} to {most})"
        precision, f1 = _share(row.precision), _decimal(row.f1)
        classes.append((row.name, f"{row.support:,}", precision, recall, f1))
    return Details(measures, tuple(classes))


def _share(value: float | None) -> str:
    return "–" if value is None else format_share(value)


def _decimal(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def decision_on(project: Project, id: str, label: str) -> str:
    """Say what was decided on a photo since it had a label.

    Args:
        project: The project.
        id: The photo.
        label: What it was then.

    Returns:
        "left out", "is now Blight", "unsorted"; "" where nothing has changed.
    """
    if project.labels.is_left_out(id):
        return "left out"
    now = project.labels.of(id)
    if now == label:
        return ""
    return "unsorted" if now is None else f"is now {now}"
