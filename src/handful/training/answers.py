"""What a classifier of a trained network says of photos that the network was not fitted to."""

from dataclasses import replace

import numpy as np

from handful.features.table import embed_index
from handful.models.calibration import keep_answers
from handful.models.novelty import reference_of
from handful.training.jobs import Trained, TrainingJob


def with_answers(job: TrainingJob, trained: Trained) -> Trained:
    """Give a network's classifier its answers, and the photos that it knows.

    Where networks were trained without some training photos, their answers for those are there
    already. Other networks are not trained anew for every fold: answers on validation have to do.

    Args:
        job: What was trained on.
        trained: What came of it.

    Returns:
        The same, with the validation photos' embeddings.
    """
    split, classifier = job.split, trained.classifier
    rows, num_train = np.concatenate([split.train, split.validation]), len(split.train)
    if trained.tables:
        embeddings = trained.tables[0].mean[rows]
    else:
        index, progress = split.index.select(rows), job.reporter.progress
        embeddings = embed_index(index, classifier.spec, progress=progress).mean
    learned, held_out = embeddings[:num_train], embeddings[num_train:]
    groups, labels = split.groups[split.validation], split.index.labels[split.validation]
    # The network was fitted to the training photos: these are nearer to each other than others are.
    reference = reference_of(
        learned, split.groups[split.train], job.config.seed, held_out=(held_out, groups)
    )
    calibration = classifier.calibration
    if calibration is None:
        unlike = None if reference is None else reference.unlike(reference.distances(held_out))
        probabilities = classifier.head.predict_proba(held_out)
        calibration = keep_answers(
            probabilities, labels, "validation", groups=groups, unlike=unlike
        )
    return replace(
        trained, classifier=classifier.with_answers(calibration, reference), held_out=held_out
    )
