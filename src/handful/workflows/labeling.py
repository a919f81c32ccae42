"""Labeling a project's photos with help: what is alike, what it probably is, what to label next.

Everything here is cheap to ask again after each label but `embed` and `outlook`, which a page runs
beside itself.
"""

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handful.config import TrainConfig
from handful.data.near_duplicates import near_duplicate_pairs
from handful.data.splits import joined_groups
from handful.display import job_reporter
from handful.errors import DataError
from handful.evaluation.curve_fitting import LEAST_A_CLASS, LEAST_MEAN_A_CLASS, measure_curve
from handful.evaluation.learning_curve import LearningCurve
from handful.features.store import EmbeddingStore, open_store
from handful.features.table import embed_index
from handful.models import active_learning
from handful.models.likeness import group_alike
from handful.projects.project import Project
from handful.reporting import Progress, Reporter
from handful.training.steps import open_backbone
from handful.wording import list_names, number_of

# From here on a photo is shown among those that are probably of a class.
LIKELY = 0.8
_MOST_IN_A_GROUP = 48
_GAINS = (2, 1)  # photos of 100 that are worth saying, the first one first
_MORE = (10, 20, 30, 40, 50, 60, 80, 100, 150, 200, 300, 400, 500, 800, 1000, 2000, 5000, 10_000)


@dataclass(frozen=True)
class Suggestion:
    """What a photo without a label probably is.

    Args:
        class_name: The likeliest class.
        probability: Its probability, calibrated on the labeled photos.
    """

    class_name: str
    probability: float


@dataclass(frozen=True)
class PhotoGroup:
    """Unsorted photos that look alike.

    Args:
        ids: The photos, the likeliest or most typical first.
        suggestion: What they probably are, by the mean of their probabilities; None where that
            is not known yet, or they are mixed.
    """

    ids: tuple[str, ...]
    suggestion: Suggestion | None = None


@dataclass(frozen=True)
class NextPhoto:
    """A photo that is worth a label.

    Args:
        id: The photo.
        reason: Why, for people: "the classifier is torn between A and B".
    """

    id: str
    reason: str


@dataclass(frozen=True)
class Outlook:
    """Whether enough is labeled.

    Args:
        sentence: The answer, for people.
        accuracy: To expect of photos like the project's, those without a label among them; None,
            as all that follows, where the labels are too few.
        interval: Its 95 % interval, fractions.
        curve: The learning curve of the labeled photos alone.
    """

    sentence: str
    accuracy: float | None = None
    interval: tuple[float, float] | None = None
    curve: LearningCurve | None = None


@dataclass(frozen=True, eq=False)
class _Embedded:
    """Photos with their (N, D) embeddings and (N, 1024) fingerprints."""

    ids: tuple[str, ...]
    embeddings: NDArray[np.float32]
    fingerprints: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class _Now:
    """The photos that count at one moment, and their labels as numbers: -1 for unsorted ones."""

    ids: tuple[str, ...]
    embeddings: NDArray[np.float32]
    fingerprints: NDArray[np.uint8]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]

    @property
    def unsorted(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.labels < 0)


class Labeler:
    """What a project's photos look like, kept in memory while they are being sorted.

    Safe to use from any number of threads; what was not embedded yet has no part in the answers.

    Args:
        project: The project.
        config: Its network and decoding are used; None takes the defaults of `train`, whose cache
            of embeddings is shared.
        seed: Seed of all that is drawn at random.
    """

    def __init__(
        self, project: Project, config: TrainConfig | None = None, *, seed: int = 0
    ) -> None:
        self.project, self.config, self.seed = project, config or TrainConfig(), seed
        self._embedded: _Embedded | None = None
        self._lock = threading.Lock()
        self._suggested: tuple[object, NDArray[np.float64] | None] | None = None

    @property
    def num_missing(self) -> int:
        """Photos of the project that were not embedded yet."""
        known = set(self._embedded.ids) if self._embedded else set()
        return sum(photo.id not in known for photo in self.project.photos)

    def embed(
        self, *, use_cache: EmbeddingStore | bool = True, reporter: Reporter | None = None
    ) -> None:
        """Embed the photos that were added since the last time.

        Photos that cannot be decoded are refused by the project.

        Args:
            use_cache: Look embeddings up and keep them, in the user's own store; or a store.
            reporter: Told of the phases "convert" and "embed"; cancelled, what was embedded is in
                the cache. None shows it, see `train`.

        Raises:
            WeightsError: When the backbone's weights are missing or wrong.
        """
        reporter = job_reporter(reporter)
        with self._lock:
            index = self.project.photo_index()
            known = set(self._embedded.ids) if self._embedded else set()
            new = [row for row, id in enumerate(index.content_hashes) if id not in known]
            if not new:
                return
            index = index.select(new)
            _, spec = open_backbone(self.config, reporter)
            with reporter.phase("embed"), open_store(use_cache) as store:
                table = embed_index(index, spec, store=store, progress=reporter.progress)
            for row, reason in table.rejected.items():
                self._refuse(index.content_hashes[row], reason)
            table, rows = table.select(table.readable), table.readable
            found = _Embedded(
                tuple(index.content_hashes[row] for row in rows),
                table.embeddings[:, 0],
                table.fingerprints,
            )
            self._embedded = found if self._embedded is None else _joined(self._embedded, found)

    def groups(self) -> tuple[PhotoGroup, ...]:
        """Unsorted photos in groups that look alike, to be sorted by a click each.

        Returns:
            Those that are probably of a class first, then the mixed ones; the largest first.
        """
        now = self._now()
        if now is None or not len(now.unsorted):
            return ()
        rows, probabilities = now.unsorted, self._probabilities(now)
        if probabilities is None:
            parts = group_alike(now.embeddings[rows], seed=self.seed)
            return tuple(PhotoGroup(_ids(now, rows[part])) for part in parts)
        best, likely = probabilities.argmax(axis=1), probabilities.max(axis=1) >= LIKELY
        found = []
        for number in range(len(now.class_names)):
            of_class = rows[(likely & (best == number))[rows]]
            for part in self._divided(now, of_class):
                chances = probabilities[part, number]
                part = part[np.argsort(-chances, kind="stable")]
                suggestion = Suggestion(now.class_names[number], float(chances.mean()))
                found.append(PhotoGroup(_ids(now, part), suggestion))
        found.sort(key=lambda group: -len(group.ids))
        mixed = self._divided(now, rows[~likely[rows]])
        return (*found, *(PhotoGroup(_ids(now, part)) for part in mixed))

    def probabilities_of(self, id: str) -> dict[str, float]:
        """What one photo probably is, by the labels of all.

        Args:
            id: The photo.

        Returns:
            Class to probability, the likeliest first; empty before each of two or more classes has
            five photos, and for a photo that was not embedded yet or was left out.
        """
        now = self._now()
        probabilities = None if now is None else self._probabilities(now)
        if now is None or probabilities is None or id not in now.ids:
            return {}
        row = probabilities[now.ids.index(id)]
        return {now.class_names[at]: float(row[at]) for at in np.argsort(-row, kind="stable")}

    def label_next(self, num_photos: int = 12) -> tuple[NextPhoto, ...]:
        """Photos whose labels would teach a classifier most.

        Args:
            num_photos: Photos wanted.

        Returns:
            So many, or as many as are unsorted; each with its reason.
        """
        now = self._now()
        if now is None:
            return ()
        found = active_learning.label_next(now.embeddings, now.labels, num_photos, seed=self.seed)
        return tuple(NextPhoto(now.ids[one.row], _reason(one, now.class_names)) for one in found)

    def outlook(self, progress: Progress | None = None) -> Outlook:
        """Tell whether enough is labeled: what to expect of new photos, and of more labels.

        Args:
            progress: Called with (heads fitted, heads in all).

        Returns:
            The answer; it takes seconds, for heads are fitted on parts of the photos.
        """
        now = self._now()
        counts = np.zeros(0, np.int64)
        if now is not None:
            counts = np.bincount(now.labels[now.labels >= 0], minlength=len(now.class_names))
        if now is None or (early := _too_early(counts, now.class_names)):
            return Outlook(early if now is not None else "Too early to tell: no photo is sorted.")
        rows = np.flatnonzero(now.labels >= 0)
        classes, dense = np.unique(now.labels[rows], return_inverse=True)
        groups = joined_groups(len(rows), near_duplicate_pairs(now.fingerprints[rows]))
        try:
            curve = measure_curve(
                now.embeddings[rows],
                dense,
                len(classes),
                groups,
                seed=self.seed,
                class_names=[now.class_names[number] for number in classes],
                progress=progress,
            )
        except DataError as error:  # near-duplicates count once
            return Outlook(f"Too early to tell. {error}")
        labels = now.labels.copy()
        labels[rows] = dense
        every = np.arange(len(labels)) + len(rows)
        every[rows] = groups
        expected = active_learning.expected_accuracy(
            now.embeddings, labels, len(classes), every, seed=self.seed
        )
        sentence = outlook_sentence(curve, expected)
        return Outlook(sentence, expected.accuracy, expected.interval, curve)

    def _refuse(self, id: str, reason: str) -> None:
        """Tell the project of a photo that cannot be decoded; one that is gone may come back."""
        try:
            self.project.read(id)
        except DataError:
            return
        self.project.refuse(id, reason)

    def _now(self) -> _Now | None:
        found = self._embedded
        if found is None:
            return None
        there = {photo.id for photo in self.project.photos} - self.project.labels.left_out
        rows = np.array([row for row, id in enumerate(found.ids) if id in there], np.int64)
        if not len(rows):
            return None
        ids, labels = tuple(found.ids[row] for row in rows), self.project.labels.all()
        # Classes without photos take no part.
        used = {labels[id] for id in ids if id in labels}
        names = tuple(name for name in self.project.labels.classes if name in used)
        numbers = {name: number for number, name in enumerate(names)}
        encoded = np.array([numbers.get(labels.get(id, ""), -1) for id in ids], np.int64)
        return _Now(ids, found.embeddings[rows], found.fingerprints[rows], encoded, names)

    def _probabilities(self, now: _Now) -> NDArray[np.float64] | None:
        """`suggest` of these photos and labels, kept until either changes."""
        key = (now.ids, now.labels.tobytes(), now.class_names)
        kept = self._suggested
        if kept is not None and kept[0] == key:
            return kept[1]
        num_classes = len(now.class_names)
        found = active_learning.suggest(now.embeddings, now.labels, num_classes, seed=self.seed)
        self._suggested = key, found
        return found

    def _divided(self, now: _Now, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        if len(rows) <= _MOST_IN_A_GROUP:
            return [rows] if len(rows) else []
        parts = group_alike(now.embeddings[rows], seed=self.seed)
        return [rows[part] for part in parts]


def outlook_sentence(curve: LearningCurve, expected: active_learning.ExpectedAccuracy) -> str:
    """Say what to expect of new photos now, and what more labels would bring.

    Args:
        curve: The labeled photos' learning curve; by what share errors fall is taken from it.
        expected: What to expect now.

    Returns:
        Such as "About 94 of 100 new photos right now (88 to 97). 40 more labels would bring
        about 96."; "At least" where the labeled photos are the hard ones.
    """
    accuracy, (low, high) = expected.accuracy, expected.interval
    errors = 1 - curve.predict(curve.photos_a_class)[0]
    least, most = math.floor(100 * low + 1e-9), math.ceil(100 * high - 1e-9)
    about = "At least about" if expected.is_low else "About"
    text = f"{about} {_of_100(accuracy)} of 100 new photos right now ({least} to {most})."
    for gain in _GAINS:
        for more in _MORE:
            size = (curve.num_photos + more) / curve.num_classes
            if size > curve.largest:
                break
            share = (1 - curve.predict(size)[0]) / max(errors, 1e-9)
            then = 1 - (1 - accuracy) * min(share, 1)
            # What is said is rounded; what is gained is no matter of rounding alone.
            is_said = _of_100(then) >= _of_100(accuracy) + gain
            if is_said and then >= accuracy + 0.75 * gain / 100:
                return f"{text} {more:,} more labels would bring about {_of_100(then)}."
    return f"{text} More labels of this kind would hardly change that."


def _of_100(accuracy: float) -> int:
    """Photos of 100; all 100 only where none is wrong."""
    return min(round(100 * accuracy), 100 if accuracy > 1 - 1e-9 else 99)


def _too_early(counts: NDArray[np.int64], class_names: Sequence[str]) -> str:
    """What is missing before anything can be said, in a sentence."""
    if len(counts) < 2:
        return "Too early to tell: a classifier needs photos of two classes."
    fewest = int(counts.argmin())
    if (missing := LEAST_A_CLASS - int(counts[fewest])) > 0:
        name = list_names([class_names[fewest]])
        return f"Too early to tell: sort {number_of(missing, 'more photo')} into {name}."
    if (missing := LEAST_MEAN_A_CLASS * len(counts) - int(counts.sum())) > 0:
        return f"Too early to tell: sort {number_of(missing, 'more photo')}."
    return ""


def _reason(image: active_learning.NextImage, class_names: Sequence[str]) -> str:
    if image.reason == "doubt":
        first, second = (class_names[number] for number in image.classes)
        return f"the classifier is torn between {first} and {second}"
    return {"new": "nothing like it has a label yet", "typical": "it stands for many photos"}[
        image.reason
    ]


def _ids(now: _Now, rows: NDArray[np.int64]) -> tuple[str, ...]:
    return tuple(now.ids[row] for row in rows)


def _joined(first: _Embedded, second: _Embedded) -> _Embedded:
    return _Embedded(
        (*first.ids, *second.ids),
        np.concatenate([first.embeddings, second.embeddings]),
        np.concatenate([first.fingerprints, second.fingerprints]),
    )
