"""Files of photos -> what a classifier says of each, wherever an engine wants it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from handful.data.storage import FoundFile
from handful.features.files import FileEmbedder
from handful.models.classifier import Classifier
from handful.models.heads import LinearHead
from handful.models.novelty import NoveltyDetector


@dataclass(frozen=True, eq=False)
class FileAnswer:
    """What a classifier says of a file.

    Args:
        digest: Content hash of its bytes; "" where they could not be read.
        probabilities: (C,) float64; None for what is no photo.
        is_out_of_distribution: As in `Prediction`.
        reason: Why it is no photo, as a clause; "" for a photo.
    """

    digest: str
    probabilities: NDArray[np.float64] | None = None
    is_out_of_distribution: bool | None = None
    reason: str = ""


@dataclass(frozen=True, eq=False)
class FileClassifier:
    """The part of a classifier that workers need: it reads files and answers.

    Args:
        embedder: Reads and embeds.
        head: Names.
        reference: Tells what is unlike the training photos, if it can be told.
    """

    embedder: FileEmbedder
    head: LinearHead
    reference: NoveltyDetector | None

    @classmethod
    def of(cls, classifier: Classifier) -> "FileClassifier":
        """Take what workers need.

        Args:
            classifier: The classifier.

        Returns:
            It, less what is only asked for thresholds.
        """
        spec = replace(classifier.spec, scans=False)
        return cls(FileEmbedder(spec), classifier.head, classifier.reference)

    def __call__(self, group: Sequence[FoundFile]) -> list[FileAnswer]:
        """Answer.

        Args:
            group: Files.

        Returns:
            What it says of each.
        """
        embedded = self.embedder(group)
        rows = [row for row, one in enumerate(embedded) if one.vector is not None]
        answers = [FileAnswer(one.digest, reason=one.reason) for one in embedded]
        if not rows:
            return answers
        vectors = np.stack([vector for one in embedded if (vector := one.vector) is not None])
        probabilities = self.head.predict_proba(vectors)
        unlike = None
        if self.reference is not None:
            unlike = self.reference.unlike(self.reference.distances(vectors))
        for place, row in enumerate(rows):
            is_unlike = None if unlike is None else bool(unlike[place])
            answers[row] = FileAnswer(embedded[row].digest, probabilities[place], is_unlike)
        return answers

    def give_up(self, item: FoundFile, reason: str) -> FileAnswer:
        """What stands for a file that no worker outlived.

        Args:
            item: The file.
            reason: A clause.

        Returns:
            What is said of it.
        """
        return FileAnswer("", reason=reason)
