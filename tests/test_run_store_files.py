import csv
import json
import math
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import REPOSITORY
from handful.config import TrainConfig
from handful.errors import DataError
from handful.evaluation.evaluation import score
from handful.run_store.files import (
    HISTORY_FILE,
    PREDICTIONS_FILE,
    read_history,
    read_metadata,
    read_predictions,
    write_predictions,
)
from handful.run_store.run import Run
from handful.run_store.store import RunStore
from handful.training.loop import COLUMNS
from handful.workflows import train as train_workflow
from test_strategies import tiny

# Validation is looked at after the last epoch alone.
CONFIG = TrainConfig(strategy="scratch", image_size=64, epochs=3, patience=None, seed=2)


@pytest.fixture(scope="module")
def run(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A network's training, written."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    return train_workflow.train(photo_folder, CONFIG, output=folder, network=tiny, use_cache=False)


def folder_of(run: Run) -> Path:
    assert run.path is not None
    return run.path


@pytest.mark.slow
def test_everything_is_there(run: Run) -> None:
    names = {path.name for path in folder_of(run).iterdir()}
    files = {"history.csv", "predictions.csv", "report.html", "run.json", "split.csv"}
    assert files | {"classifier"} <= names


@pytest.mark.slow
def test_history_is_read_back_to_the_bit(run: Run) -> None:
    found = read_history(folder_of(run))
    assert run.trained is not None and found is not None
    written = run.trained.fitted.history
    assert tuple(found) == COLUMNS
    for name in COLUMNS:
        np.testing.assert_array_equal(found[name], written[name])
    assert [math.isnan(loss) for loss in found["val_loss"]] == [True, True, False]
    text = (folder_of(run) / HISTORY_FILE).read_text()
    assert "nan" not in text and len(text.splitlines()) == 4


@pytest.mark.slow
def test_predictions_are_read_back_to_the_bit(run: Run) -> None:
    found, made = read_predictions(folder_of(run)), run.evaluation
    assert np.array_equal(found.probabilities, made.probabilities)
    assert found.paths == made.paths and np.array_equal(found.labels, made.labels)
    assert found.to_dict() == made.to_dict()
    with (folder_of(run) / PREDICTIONS_FILE).open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "label", "predicted", "group", "round", "square"]
    for row in rows:
        assert row["path"].startswith(row["label"] + "/")
        assert row["predicted"] == max(("round", "square"), key=lambda name: float(row[name]))


def test_what_an_older_version_called_cautions_are_limitations(tmp_path: Path) -> None:
    facts = {"format": "handful run", "photos": "photos", "config": {}}
    facts["result"] = {"class_names": ["a", "b"], "cautions": ["few photos"]}
    (tmp_path / "run.json").write_text(json.dumps(facts))
    assert read_metadata(tmp_path)["result"]["limitations"] == ["few photos"]


@pytest.mark.slow
def test_run_json_tells_what_was_trained_and_how(run: Run) -> None:
    facts = json.loads((folder_of(run) / "run.json").read_text())
    assert facts["format"] == "handful run" and facts["format_version"] == 1
    assert facts["config"] == json.loads(json.dumps(asdict(CONFIG)))
    assert facts["data_digest"] == run.split.index.digest()
    assert set(facts["versions"]) >= {"handful", "python", "numpy", "keras", "openvino"}
    result = facts["result"]
    assert {k: v for k, v in result.items() if k != "evaluation"} == run.to_dict()
    assert (result["strategy"], result["recipe"], result["backbone"]) == (
        "scratch",
        "handful",
        "tiny",
    )
    training = result["training"]
    assert (training["epochs"], training["planned_epochs"], training["best_epoch"]) == (3, 3, 3)
    assert training["stopped"] == "" and training["estimated_seconds"] is None
    assert training["num_parameters"] == training["num_trainable"] == 233
    assert 0 <= training["waited_share"] < 1 and training["seconds"] > 0
    assert result["evaluation"]["accuracy"] == run.evaluation.accuracy
    assert set(result["seconds"]) == {"index", "decode", "train", "evaluate", "report", "total"}
    stored = RunStore().read(folder_of(run))
    assert (stored.photos, stored.config) == (run.photos.resolve(), CONFIG)


@pytest.mark.slow
def test_every_fact_is_documented(run: Run) -> None:
    documented = (REPOSITORY / "docs" / "file-formats.md").read_text()
    facts = run.to_dict()
    assert run.trained is not None
    names = [*facts, *facts["training"], *facts["seconds"], HISTORY_FILE, PREDICTIONS_FILE]
    missing = [name for name in (*names, *COLUMNS) if f"`{name}`" not in documented]
    assert missing == []


def test_a_head_without_epochs_has_no_history(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_text("strength,log_loss,accuracy\n0.1,0.2,0.9\n")
    assert read_history(tmp_path) is None


@pytest.mark.parametrize("text", [None, "", "epoch,loss\n1,much\n", "epoch,loss\n1\n"])
def test_what_is_no_history_is_named(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "history.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=r"history\.csv is not the history\.csv of a run"):
        read_history(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "path,label\na.jpg,x\n",
        "path,label,predicted,x,y\na.jpg,z,x,0.5,0.5\n",
        "path,label,predicted,x,y\na.jpg,x,x,much,0.5\n",
        "path,label,predicted,x,y\na.jpg,x,x,0.5\nb.jpg,y,y,0.5,0.5\n",
    ],
)
def test_what_is_no_predictions_file_is_named(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "predictions.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=r"predictions\.csv is not the predictions\.csv of a run"):
        read_predictions(tmp_path)


def test_class_names_and_paths_may_hold_anything(tmp_path: Path) -> None:
    names: list[Any] = ['a "quoted", name', "ünïcode\nbreak"]
    probabilities = np.array([[1 / 3, 2 / 3], [0.1 + 0.2, 0.7]])
    made = score(probabilities, np.array([1, 0]), names, ["a,b.jpg", 'c"d.jpg'])
    write_predictions(made, tmp_path)
    found = read_predictions(tmp_path)
    assert found.class_names == tuple(names) and found.paths == made.paths
    assert np.array_equal(found.probabilities, made.probabilities)


def test_a_package_may_have_another_name_or_none(
    photo_folder: Path, tiny_backbone: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first Keras for a new Python is "keras-nightly"; OpenCV has four names.
    def version(name: str) -> str:
        if name in ("keras", "opencv-python-headless", "opencv-python"):
            raise PackageNotFoundError(name)
        return "1.2.dev3" if name == "keras-nightly" else "1.0"

    monkeypatch.setattr("handful.run_store.files.version", version)
    train_workflow.train(photo_folder, output=tmp_path / "run")
    versions = json.loads((tmp_path / "run" / "run.json").read_text())["versions"]
    assert versions["keras"] == "1.2.dev3" and versions["numpy"] == "1.0"
    assert "opencv-python-headless" not in versions
