import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handful.config import TrainConfig
from handful.errors import DataError
from handful.models.classifier import CLASSIFIER_FOLDER, Classifier
from handful.run_store.files import HISTORY_FILE, MANIFEST_FILE, PREDICTIONS_FILE, RUN_FILE
from handful.run_store.store import RunStore
from handful.run_store.stored_run import StoredRun

STORE = RunStore()


def changed(run: Path, folder: Path, **changes: Any) -> Path:
    """A run's folder with another run.json."""
    shutil.copytree(run, folder, dirs_exist_ok=True)
    metadata = json.loads((folder / RUN_FILE).read_text())
    (folder / RUN_FILE).write_text(json.dumps({**metadata, **changes}))
    return folder


def test_a_run_is_read_whole(tiny_run: Path, photo_folder: Path) -> None:
    for path in (tiny_run, tiny_run / RUN_FILE):
        run = STORE.read(path)
        assert run.path == tiny_run and run.photos == photo_folder
        assert run.config == TrainConfig() and run.stopped == ""
        assert run.result["accuracy"] == run.predictions.accuracy
        assert run.predictions.class_names == Classifier.load(run.classifier_path).class_names
        assert run.history is None and run.report.is_file()
        assert run.training_photos is not None
        assert len(run.training_photos[0]) == list(run.parts.values()).count("train") == 38
        assert run.counts == {
            "train": {"round": 19, "square": 19},
            "validation": {"round": 5, "square": 5},
        }


def test_each_file_is_read_when_it_is_asked_for(tiny_run: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_run / PREDICTIONS_FILE, tmp_path)
    run = STORE.read(tmp_path)
    assert run.predictions.paths == STORE.read(tiny_run).predictions.paths
    assert run.manifest is None and run.parts == run.counts == {} and run.training_photos is None
    with pytest.raises(DataError, match=r"run\.json is not the run\.json .*No such file"):
        assert run.config
    with pytest.raises(DataError, match=HISTORY_FILE):
        assert run.history


def test_a_classifier_knows_its_run(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (tiny_run, tiny_run / CLASSIFIER_FOLDER):
        assert STORE.of(Classifier.load(path)) == StoredRun(tiny_run)
    for inside in (tiny_run, tiny_run / CLASSIFIER_FOLDER):
        monkeypatch.chdir(inside)
        run = STORE.of(Classifier.load("."))
        assert run is not None and run.path.resolve() == tiny_run.resolve()


def test_a_classifier_copied_beside_a_run_is_not_that_run_s(tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    shutil.copytree(tiny_run / CLASSIFIER_FOLDER, run / "mine")
    shutil.copytree(tiny_run / CLASSIFIER_FOLDER, tmp_path / "alone")
    for path in (run / "mine", tmp_path / "alone"):
        assert STORE.of(Classifier.load(path)) is None


def test_a_run_of_other_classes_is_not_a_classifier_s(tiny_run: Path, tmp_path: Path) -> None:
    result = {**STORE.read(tiny_run).result, "class_names": ["a", "b"]}
    run = changed(tiny_run, tmp_path / "run", result=result)
    with pytest.raises(DataError, match=r"has the classes a, b, and the classifier round, square"):
        STORE.of(Classifier.load(run))


@pytest.mark.parametrize(
    "change", [{"format": "another"}, {"result": {}}, {"result": 3}, {"photos": None}]
)
def test_what_is_no_run_is_refused(tiny_run: Path, tmp_path: Path, change: dict) -> None:
    run = changed(tiny_run, tmp_path / "run", **change)
    with pytest.raises(DataError, match=r"run\.json is not the run\.json of a run .* restore it"):
        STORE.of(Classifier.load(run))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("config", []),
        ("config", {"seed": "x"}),
        ("config", {"weights": 3}),
        ("config", {"learning_rate": "fast"}),
        ("config", {"strategy": ["transfer"]}),
        ("config", {"strategy": "unheard"}),
        ("config", {"unheard": 1}),
        ("photos", 3),
        ("photos", None),
    ],
)
def test_forged_options_are_refused(
    tiny_run: Path, tmp_path: Path, name: str, value: object
) -> None:
    if isinstance(value, dict):
        value = {**STORE.read(tiny_run).metadata["config"], **value}
    run = STORE.read(changed(tiny_run, tmp_path, **{name: value}))
    with pytest.raises(DataError, match=r"is not the run\.json of a run \(") as caught:
        assert run.config
    assert "\n" not in str(caught.value)


def test_options_of_earlier_runs_have_their_names_of_today(tiny_run: Path, tmp_path: Path) -> None:
    config = json.loads((tiny_run / RUN_FILE).read_text())["config"]
    for name, old in (("tta", "test_time_mirror"), ("seeds", "num_seeds"), ("folds", "num_folds")):
        config[old] = config.pop(name)
    config |= {"learning_curve": config.pop("curve"), "num_seeds": 3, "test_time_mirror": True}
    config["time_budget_minutes"] = config.pop("time_budget")
    run = STORE.read(changed(tiny_run, tmp_path / "run", config=config))
    assert run.config == TrainConfig(seeds=3, tta=True)
    config |= {"recipe": "exercise", "strategy": "scratch", "num_seeds": 1}
    run = STORE.read(
        changed(tiny_run, tmp_path / "other", config=config | {"learning_curve": False})
    )
    assert run.config.recipe == "keras-tutorial"


def test_a_run_of_another_version_is_not_read(tiny_run: Path, tmp_path: Path) -> None:
    run = STORE.read(changed(tiny_run, tmp_path, format_version=2))
    with pytest.raises(DataError, match=r"has format version 2; this handful reads 1"):
        assert run.metadata


def test_deeply_nested_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / RUN_FILE).write_text('{"a":' * 100_000)
    with pytest.raises(DataError, match="nested too deeply"):
        assert STORE.read(tmp_path).metadata


def test_a_run_of_the_first_version_is_read(tiny_run: Path, tmp_path: Path) -> None:
    """Before other strategies, given splits, limitations and thumbnails were written down."""
    metadata = STORE.read(tiny_run).metadata
    config = {
        name: metadata["config"][name]
        for name in ("backbone", "views", "seed", "validation_fraction")
    }
    new = {
        "training",
        "strategy",
        "recipe",
        "limitations",
        "guarantees",
        "learning_curve",
        "resampling",
    }
    result = {name: value for name, value in metadata["result"].items() if name not in new}
    for name in (RUN_FILE, MANIFEST_FILE):
        shutil.copy(tiny_run / name, tmp_path)
    old = {**metadata, "config": config, "result": result}
    del old["split_given"]
    (tmp_path / RUN_FILE).write_text(json.dumps(old))
    run = STORE.read(tmp_path)
    assert run.config == replace(TrainConfig(), seed=config["seed"])
    assert run.stopped == "" and run.split_to_repeat is None and run.training_photos is None
    row = next(row for row in RunStore(tmp_path.parent).list() if row.path == tmp_path)
    assert (row.strategy, row.note) == ("transfer", "") and row.accuracy is not None
