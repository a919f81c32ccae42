from dataclasses import replace
from pathlib import Path

import numpy as np

from handful.data.index import load_index
from handful.models.classifier import Classifier
from handful.run_store.stored_run import StoredRun
from handful.workflows.second_look import look_again


def test_a_second_look_finds_what_training_found(tiny_run: Path, photo_folder: Path) -> None:
    run, classifier = StoredRun(tiny_run), Classifier.load(tiny_run)
    index = load_index(photo_folder)
    found = look_again(classifier, run.predictions, index, use_cache=False)
    assert found.unusual is not None
    assert len(found.unusual) == run.result["num_unlike_training"]
    assert set(found.unusual) <= set(run.predictions.paths)
    assert found.is_held_apart
    guaranteed = {row["threshold"] for row in run.result["guarantees"]["abstaining"]}
    assert found.steps and guaranteed <= {step.threshold for step in found.steps}
    # What a step is called with is what predicting then does.
    asked = [classifier.abstain_at(step.error_rate).threshold for step in found.steps]
    assert asked == [step.threshold for step in found.steps]
    thresholds = [step.threshold or 0 for step in found.steps]
    assert thresholds == sorted(set(thresholds))


def test_far_photos_are_unusual_and_those_that_are_gone_are_not(
    tiny_run: Path, photo_folder: Path
) -> None:
    run, classifier = StoredRun(tiny_run), Classifier.load(tiny_run)
    assert classifier.reference is not None
    strict = classifier.with_answers(None, replace(classifier.reference, threshold=-1.0))
    index = load_index(photo_folder)
    found = look_again(strict, run.predictions, index, use_cache=False)
    assert set(found.unusual or ()) == set(run.predictions.paths) and found.steps == ()
    tested = [row for row, path in enumerate(index.paths) if path in run.predictions.paths]
    usual = classifier.with_answers(None, replace(classifier.reference, threshold=1e-9))
    fewer = look_again(usual, run.predictions, index.select(np.array(tested[:3])), use_cache=False)
    assert set(fewer.unusual or ()) == {index.paths[row] for row in tested[:3]}
    alone = look_again(classifier.with_answers(None, None), run.predictions, index)
    assert alone.unusual is None and not alone.is_held_apart
