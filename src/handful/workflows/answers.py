"""What a classifier says of any number of photos, written as Parquet."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from handful.data.storage import FoundFile
from handful.display import Shown, job_reporter
from handful.engines.engine import Engine
from handful.models.answers import FileAnswer, FileClassifier
from handful.models.classifier import Classifier, Predictions
from handful.reporting import Reporter
from handful.wording import name_counts, number_of
from handful.workflows.parts import PartWork, Sources, do_parts, photo_table, plain_text

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True, repr=False)
class PhotoAnswers(Shown):
    """What a classifier said of photos, as Parquet.

    Args:
        path: Folder of the files: each row has `path`, `digest`, `label`, `probability`,
            `probabilities`, `is_out_of_distribution` and `reason`.
        num_photos: Rows in all.
        num_refused: Those without an answer, each with a reason.
        num_parts: Files.
        labels: Class name to the number of photos named so.
    """

    path: Path
    num_photos: int
    num_refused: int
    num_parts: int
    labels: Mapping[str, int]

    def _in_words(self) -> str:
        refused = f"; {self.num_refused:,} cannot be used" if self.num_refused else ""
        counts = name_counts(dict(self.labels))
        return f"{number_of(self.num_photos)} ({counts}{refused}), in {str(self.path)[-60:]}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `handful predict --output DIR --json` prints them.

        Returns:
            Names and values are described in docs/file-formats.md.
        """
        return {**vars(self), "path": str(self.path)}


def write_answers(
    classifier: Classifier,
    photos: Sources,
    output: Path,
    *,
    error_rate: float | None = None,
    coverage: float | None = None,
    engine: Engine | str = "local",
    reporter: Reporter | None = None,
) -> PhotoAnswers:
    """Classify photos and write the answers as Parquet, a file for every thousand.

    Where the job was killed, the same call goes on: parts that are there are not made again.

    Args:
        classifier: The classifier.
        photos: Files, folders, zips or projects, or folders and files in a bucket.
        output: Folder to make, or to go on with.
        error_rate: As for `Classifier.predict`; adds the column `is_confident`.
        coverage: As for `Classifier.predict`; adds the column `prediction_set`.
        engine: Who computes.
        reporter: Told how far it is; None shows it, see `train`.

    Returns:
        What was written.

    Raises:
        DataError: When there are no photos.
        MissingExtraError: When an engine, or what writes Parquet, is not installed.
        OutputError: When the output holds something else, or cannot be written.
    """
    # What is no error rate or coverage is said before the work.
    classifier.check_guarantees(error_rate, coverage)
    job = {
        "kind": "answers",
        "classifier": _digest(classifier),
        "error_rate": error_rate,
        "coverage": coverage,
    }

    def table(
        files: list[FoundFile], rows: list[FileAnswer]
    ) -> "tuple[pyarrow.Table, dict[str, Any]]":
        return _table(classifier, files, rows, error_rate, coverage)

    asked = PartWork(FileClassifier.of(classifier), job, table)
    notes = do_parts(photos, output, asked, engine, job_reporter(reporter))
    labels: Counter[str] = Counter(dict.fromkeys(map(plain_text, classifier.class_names), 0))
    for note in notes:
        labels.update(note["labels"])
    num_photos, num_refused = (
        sum(note[name] for note in notes) for name in ("num_photos", "num_refused")
    )
    return PhotoAnswers(output, num_photos, num_refused, len(notes), dict(labels))


def _table(
    classifier: Classifier,
    files: list[FoundFile],
    rows: list[FileAnswer],
    error_rate: float | None,
    coverage: float | None,
) -> "tuple[pyarrow.Table, dict[str, Any]]":
    """A row for each photo; those that were refused have no answer."""
    import pyarrow

    named = iter(_predictions(classifier, files, rows, error_rate, coverage))
    answers = [None if row.probabilities is None else next(named) for row in rows]

    def column(kind: Any, name: str) -> Any:
        values = [None if found is None else getattr(found, name) for found in answers]
        return pyarrow.array(values, kind)

    text, number, truth = pyarrow.string(), pyarrow.float64(), pyarrow.bool_()
    classes = [plain_text(name) for name in classifier.class_names]
    chances = [
        None if found is None else dict(zip(classes, found.probabilities.values(), strict=True))
        for found in answers
    ]
    labels = [None if found is None else plain_text(found.label) for found in answers]
    columns = {
        "label": pyarrow.array(labels, text),
        "probability": column(number, "probability"),
        "probabilities": pyarrow.array(
            chances, pyarrow.struct([(name, number) for name in classes])
        ),
        "is_out_of_distribution": column(truth, "is_out_of_distribution"),
    }
    if error_rate is not None:
        columns["is_confident"] = column(truth, "is_confident")
    if coverage is not None:
        sets = [
            None if found is None else [*map(plain_text, found.prediction_set or ())]
            for found in answers
        ]
        columns["prediction_set"] = pyarrow.array(sets, pyarrow.list_(text))
    counts = Counter(label for label in labels if label is not None)
    note = {"num_photos": len(rows), "num_refused": labels.count(None), "labels": dict(counts)}
    return photo_table(files, rows, columns), note


def _predictions(
    classifier: Classifier,
    files: list[FoundFile],
    rows: list[FileAnswer],
    error_rate: float | None,
    coverage: float | None,
) -> Predictions:
    """The answers with names, of the photos that have one."""
    pairs = [(file, row) for file, row in zip(files, rows, strict=True) if not row.reason]
    if not pairs:
        return Predictions()
    unlike = None
    if classifier.reference is not None:
        unlike = np.array([bool(row.is_out_of_distribution) for _, row in pairs])
    return classifier.name_predictions(
        [file.path for file, _ in pairs],
        np.stack([row.probabilities for _, row in pairs if row.probabilities is not None]),
        unlike,
        error_rate=error_rate,
        coverage=coverage,
    )


def _digest(classifier: Classifier) -> str:
    """Identity of what decides a classifier's answers."""
    head, reference = classifier.head, classifier.reference
    found = hashlib.blake2b(digest_size=16)
    told = (classifier.class_names, classifier.extractor.key, classifier.settings, classifier.views)
    found.update(repr(told).encode("utf-8", "surrogatepass"))
    for array in (head.mean, head.scale, head.weights, head.bias):
        found.update(array.tobytes())
    if reference is not None:
        found.update(repr((reference.threshold, reference.num_neighbors)).encode())
        found.update(reference.directions.tobytes())
    return found.hexdigest()
