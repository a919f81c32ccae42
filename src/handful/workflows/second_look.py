"""What a run's classifier says of its test photos beside their probabilities."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from handful.data.index import ImageIndex
from handful.evaluation.evaluation import Evaluation
from handful.evaluation.guarantees import AbstainingCheck, answering_steps
from handful.features.store import EmbeddingStore, open_store
from handful.features.table import embed_index
from handful.models.classifier import Classifier


@dataclass(frozen=True)
class SecondLook:
    """What a second look at a run's test photos shows.

    Args:
        unusual: Paths of those unlike the training photos, the farthest first; None where the
            classifier cannot tell.
        false_alarm_rate: Share of photos like those of training that is said to be unlike them.
        steps: What answering only when sure brings, see `answering_steps`.
        is_held_apart: Whether these rules were chosen on other photos than those tested.
    """

    unusual: tuple[str, ...] | None
    false_alarm_rate: float
    steps: tuple[AbstainingCheck, ...]
    is_held_apart: bool


def look_again(
    classifier: Classifier,
    evaluation: Evaluation,
    index: ImageIndex,
    *,
    use_cache: EmbeddingStore | bool = True,
) -> SecondLook:
    """Look at a run's test photos again.

    Args:
        classifier: The run's.
        evaluation: Its answers on N test photos.
        index: Photos, with the test photos among them; those that are gone are taken for usual.
        use_cache: As for `train`; a head's embeddings are there from its training.

    Returns:
        What is unusual, and what answering only when sure brings.
    """
    unlike, order = None, np.zeros(0, np.int64)
    if classifier.reference is not None:
        distances = _distances(classifier, evaluation, index, use_cache)
        unlike = classifier.reference.unlike(distances)
        order = np.argsort(-distances, kind="stable")
        order = order[unlike[order]]
    calibration = classifier.calibration
    return SecondLook(
        None if unlike is None else tuple(evaluation.paths[row] for row in order),
        0.0 if classifier.reference is None else classifier.reference.false_alarm_rate,
        () if calibration is None else answering_steps(calibration, evaluation, unlike),
        calibration is not None and calibration.source == "out-of-fold",
    )


def _distances(
    classifier: Classifier,
    evaluation: Evaluation,
    index: ImageIndex,
    use_cache: EmbeddingStore | bool,
) -> NDArray[np.float64]:
    """(N,) distance from the training photos; 0 for photos that cannot be looked at."""
    assert classifier.reference is not None
    places = {path: place for place, path in enumerate(evaluation.paths)}
    rows = [row for row, path in enumerate(index.paths) if path in places]
    spec = replace(classifier.spec, scans=False)
    with open_store(use_cache) as store:
        table = embed_index(index.select(rows), spec, store=store)
    found = np.zeros(len(evaluation))
    kept = table.readable
    if len(kept):
        where = [places[index.paths[rows[row]]] for row in kept]
        found[where] = classifier.reference.distances(table.mean[kept])
    return found
