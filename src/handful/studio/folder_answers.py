"""What a classifier says of a folder's photos, as a file between the job and the page."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from handful.data.index import RejectedFile, load_unlabeled
from handful.files.atomic import json_text, read_json
from handful.models.calibration import USUAL_ERROR_RATE
from handful.models.classifier import Classifier, Prediction
from handful.reporting import Reporter


@dataclass(frozen=True)
class FolderAnswers:
    """Answers about the photos of a folder, in order.

    Args:
        title: What people call the folder.
        run: Name of the run that gave them.
        source: Where the photos lie.
        predictions: (N,) one for each photo; `is_confident` is set.
        ids: (N,) hashes of the photos' bytes.
        rejected: Files that could not be read.
    """

    title: str
    run: str
    source: Path
    predictions: tuple[Prediction, ...]
    ids: tuple[str, ...]
    rejected: tuple[RejectedFile, ...] = ()

    def save(self, path: Path) -> None:
        """Write them.

        Args:
            path: The file; its folder is made at need.
        """
        plain = {
            "title": self.title,
            "run": self.run,
            "source": str(self.source),
            "predictions": [one.to_dict() for one in self.predictions],
            "ids": self.ids,
            "rejected": [{"path": one.path, "reason": one.reason} for one in self.rejected],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_text(json_text(plain), encoding="utf-8", errors="surrogatepass")
        part.replace(path)

    @classmethod
    def read(cls, path: Path) -> "FolderAnswers":
        """Read what `save` wrote.

        Args:
            path: The file.

        Returns:
            The answers.

        Raises:
            OSError: When there is no file, or it cannot be read.
            ValueError: When it is damaged; or another of `MALFORMED`.
        """
        plain: dict[str, Any] = read_json(path)
        return cls(
            plain["title"],
            plain["run"],
            Path(plain["source"]),
            tuple(Prediction(**one) for one in plain["predictions"]),
            tuple(plain["ids"]),
            tuple(RejectedFile(one["path"], one["reason"]) for one in plain["rejected"]),
        )

    def name_of(self, path: str) -> str:
        """A photo's path within the folder.

        Args:
            path: As a prediction has it.

        Returns:
            The path from the folder on.
        """
        return path.removeprefix(f"{self.source}/")

    def corrected(self, labels: Sequence[str | None]) -> tuple[Prediction, ...]:
        """The predictions, as people have corrected them.

        Args:
            labels: (N,) what people say that a photo is; None for nothing.

        Returns:
            (N,) predictions; one that has a label is that, and sure.
        """
        return tuple(
            one
            if label is None
            else replace(
                one,
                label=label,
                probability=one.probabilities.get(label, 0.0),
                is_confident=True,
                is_out_of_distribution=None if one.is_out_of_distribution is None else False,
            )
            for one, label in zip(self.predictions, labels, strict=True)
        )


def classify_folder(
    classifier: Classifier,
    run: str,
    source: Path,
    title: str,
    reporter: Reporter,
    error_rate: float | None = USUAL_ERROR_RATE,
) -> FolderAnswers:
    """Classify the photos of a folder, going on past those that cannot be read.

    Args:
        classifier: Says what they show.
        run: Its run's name.
        source: A folder, searched to any depth; a zip or a file.
        title: What people call it.
        reporter: Told how far it is.
        error_rate: How sure an answer must be, as `predict` has it.

    Returns:
        The answers.

    Raises:
        HandfulError: When the classifier's files cannot be read.
    """
    with reporter.phase("index"):
        index = load_unlabeled(source)
    with reporter.phase("embed"):
        found = classifier.predict_index(index, progress=reporter.progress)
    predictions = classifier.name_predictions(
        found.index.paths,
        found.probabilities,
        found.is_out_of_distribution,
        error_rate=error_rate,
    )
    return FolderAnswers(
        title,
        run,
        source,
        tuple(predictions),
        tuple(found.index.content_hashes),
        found.index.rejected,
    )
