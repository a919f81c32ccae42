from pathlib import Path

import numpy as np
import pytest

import handful
from handful.errors import DataError, ModelFileError

pytestmark = pytest.mark.usefixtures("tiny_backbone")


@pytest.fixture
def runs(photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> handful.Run:
    """A run in `runs/` of the current folder, with another whose name begins in the same way."""
    monkeypatch.chdir(tmp_path)
    handful.train(photo_folder, output="runs/leaf-1", reporter=handful.Reporter())
    return handful.train(photo_folder, seed=1, output="runs/leaf-two", reporter=handful.Reporter())


def test_a_run_is_named_as_in_every_command(runs: handful.Run, photo_folder: Path) -> None:
    photo = next((photo_folder / "round").iterdir())
    expected = runs.classifier.predict(photo)
    for run in (runs.classifier, "runs/leaf-two", Path("runs/leaf-two"), "leaf-t", "latest"):
        found = handful.predict(run, photo)
        assert [answer.to_dict() for answer in found] == [answer.to_dict() for answer in expected]
    evaluations = [handful.evaluate(run, photo_folder)[0] for run in ("leaf-1", "runs/leaf-1")]
    assert np.array_equal(evaluations[0].probabilities, evaluations[1].probabilities)
    with pytest.raises(DataError, match="leaf-1, leaf-two"):
        handful.predict("leaf", photo)
    with pytest.raises(ModelFileError, match="nothing"):
        handful.predict("nothing", photo)


def test_predict_takes_what_the_classifier_takes(runs: handful.Run, photo_folder: Path) -> None:
    photos = sorted((photo_folder / "round").iterdir())[:3]
    found = handful.predict("latest", photos, error_rate=0.2, coverage=0.9)
    expected = runs.classifier.predict(photos, error_rate=0.2, coverage=0.9)
    assert [answer.to_dict() for answer in found] == [answer.to_dict() for answer in expected]


def test_explain_asks_the_run_that_is_named(runs: handful.Run, photo_folder: Path) -> None:
    photo = next((photo_folder / "round").iterdir())
    # The tests' network ends in no feature map: whoever is asked says so.
    with pytest.raises(ModelFileError, match="does not end in the average of a feature map"):
        handful.explain("latest", photo)
