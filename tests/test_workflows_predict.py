from pathlib import Path

import numpy as np
import pytest

import handful
from handful.errors import DataError, ModelFileError, UsageError

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
    rows = handful.runs()
    for run in (
        *(runs, runs.classifier, rows[0], handful.RunStore().read("runs/leaf-two")),
        *("runs/leaf-two", Path("runs/leaf-two"), "leaf-t", "latest"),
    ):
        found = handful.predict(run, photo)
        assert [answer.to_dict() for answer in found] == [answer.to_dict() for answer in expected]
    evaluations = [handful.evaluate(run, photo_folder)[0] for run in ("leaf-1", "runs/leaf-1")]
    assert np.array_equal(evaluations[0].probabilities, evaluations[1].probabilities)
    with pytest.raises(DataError, match="leaf-1, leaf-two"):
        handful.predict("leaf", photo)
    with pytest.raises(ModelFileError, match="nothing"):
        handful.predict("nothing", photo)


def test_a_run_at_hand_knows_what_it_has_seen(runs: handful.Run, photo_folder: Path) -> None:
    by_name = handful.evaluate("latest", photo_folder)[1].warnings
    assert any("learned from" in line for line in by_name)
    assert handful.evaluate(runs, photo_folder)[1].warnings == by_name
    unwritten = handful.train(photo_folder, seed=1, output=False, reporter=handful.Reporter())
    photo = next((photo_folder / "round").iterdir())
    assert handful.predict(unwritten, photo)[0].label == "round"
    assert handful.evaluate(unwritten, photo_folder)[1].warnings == ()
    with pytest.raises(UsageError, match="`run` was not written; expected one that was made"):
        handful.export(unwritten, "openvino")


def test_wrong_arguments_are_named(runs: handful.Run, photo_folder: Path) -> None:
    photo = next((photo_folder / "round").iterdir())
    for ask in (
        lambda: handful.predict(3, photo),  # type: ignore[arg-type]
        lambda: handful.evaluate(3, photo_folder),  # type: ignore[arg-type]
        lambda: handful.explain(3, photo),  # type: ignore[arg-type]
        lambda: handful.export(3, "openvino"),  # type: ignore[arg-type]
    ):
        with pytest.raises(UsageError, match=r"^`run` is 3; expected a run's folder, its name"):
            ask()
    with pytest.raises(UsageError, match=r"^`photos` is 3\.5; expected a folder, a zip or a CSV"):
        handful.evaluate("latest", 3.5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="images is of type int; expected a path"):
        handful.predict("latest", 3)  # type: ignore[arg-type]


def test_predict_takes_what_the_classifier_takes(runs: handful.Run, photo_folder: Path) -> None:
    photos = sorted((photo_folder / "round").iterdir())[:3]
    found = handful.predict("latest", photos, error_rate=0.2, coverage=0.9)
    expected = runs.classifier.predict(photos, error_rate=0.2, coverage=0.9)
    assert [answer.to_dict() for answer in found] == [answer.to_dict() for answer in expected]
    assert handful.predict("latest", photos)[0].is_confident is None
    sure = [answer.is_confident for answer in runs.classifier.predict(photos, error_rate=0.01)]
    found = handful.predict("latest", photos, abstain=True)
    assert [answer.is_confident for answer in found] == sure


def test_explain_asks_the_run_that_is_named(runs: handful.Run, photo_folder: Path) -> None:
    photo = next((photo_folder / "round").iterdir())
    # The tests' network ends in no feature map: whoever is asked says so.
    with pytest.raises(ModelFileError, match="does not end in the average of a feature map"):
        handful.explain("latest", photo)
