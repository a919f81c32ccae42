import json
import shutil
from pathlib import Path

import pytest

from handful.errors import DataError
from handful.models.classifier import Classifier
from handful.runs.folders import CLASSIFIER_FOLDER, RUN_FILE, find_run
from handful.runs.store import read_run_config

NAMES = ("round", "square")


def test_a_run_is_found_from_its_folder_and_from_its_classifier(tiny_run: Path) -> None:
    for path in (tiny_run, tiny_run / CLASSIFIER_FOLDER):
        folder, facts = find_run(path, NAMES)
        assert folder is not None and folder.resolve() == tiny_run.resolve()
        assert facts is not None and facts["result"]["class_names"] == list(NAMES)


def test_a_classifier_copied_beside_a_run_is_not_that_run_s(tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    shutil.copytree(tiny_run / CLASSIFIER_FOLDER, run / "mine")
    shutil.copytree(tiny_run / CLASSIFIER_FOLDER, tmp_path / "alone")
    assert Classifier.load(run / "mine").class_names == NAMES
    assert find_run(run / "mine", NAMES) == find_run(tmp_path / "alone", NAMES) == (None, None)


@pytest.mark.parametrize("change", [{"format": "another"}, {"result": {}}, {"photos": None}])
def test_what_is_no_run_is_refused(tiny_run: Path, tmp_path: Path, change: dict) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    facts = json.loads((run / RUN_FILE).read_text())
    facts.update(change)
    if change == {"photos": None}:
        del facts["photos"]
    (run / RUN_FILE).write_text(json.dumps(facts))
    with pytest.raises(DataError, match=r"run\.json is not the run\.json of a run .* restore it"):
        find_run(run, NAMES)


def test_a_run_of_other_classes_is_refused(tiny_run: Path) -> None:
    with pytest.raises(DataError, match=r"has the classes round, square, and the classifier a, b"):
        find_run(tiny_run, ("a", "b"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("config", []),
        ("config", {"seed": "x"}),
        ("config", {"weights": 3}),
        ("config", {"learning_rate": "fast"}),
        ("config", {"strategy": ["transfer"]}),
        ("config", {"unheard": 1}),
        ("photos", 3),
        ("photos", None),
    ],
)
def test_forged_options_are_refused(
    tiny_run: Path, tmp_path: Path, name: str, value: object
) -> None:
    facts = json.loads((tiny_run / RUN_FILE).read_text())
    facts[name] = {**facts["config"], **value} if isinstance(value, dict) else value
    (tmp_path / RUN_FILE).write_text(json.dumps(facts))
    with pytest.raises(DataError, match=r"is not the run\.json of a run \(") as caught:
        read_run_config(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_run_of_another_version_is_not_repeated(tiny_run: Path, tmp_path: Path) -> None:
    facts = {**json.loads((tiny_run / RUN_FILE).read_text()), "format_version": 2}
    (tmp_path / RUN_FILE).write_text(json.dumps(facts))
    with pytest.raises(DataError, match=r"has format version 2; this handful reads 1"):
        read_run_config(tmp_path)


def test_deeply_nested_and_endless_files_are_refused(tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "classifier").mkdir()
    (tmp_path / RUN_FILE).write_text('{"a":' * 100_000)
    for read in (lambda: find_run(tmp_path, ["a", "b"]), lambda: read_run_config(tmp_path)):
        with pytest.raises(DataError, match="nested too deeply"):
            read()
