import json
import shutil
from pathlib import Path

import pytest

from handful.errors import DataError
from handful.models.classifier import CLASSIFIER_FOLDER, Classifier
from handful.run_store.files import RUN_FILE
from handful.serving.model_card import make_card


def test_the_figures_are_those_of_the_classifier_s_own_run(tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    shutil.copytree(run / CLASSIFIER_FOLDER, run / "mine")
    result = json.loads((run / RUN_FILE).read_text())["result"]
    for path in (run, run / CLASSIFIER_FOLDER):
        figures = make_card(Classifier.load(path))["figures"]
        assert figures["accuracy"] == result["evaluation"]["accuracy"]
        assert figures["num_train"] == result["num_train"]
    assert make_card(Classifier.load(run / "mine"))["figures"] is None


def test_a_run_without_figures_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    content = json.loads((run / RUN_FILE).read_text())
    del content["result"]["evaluation"]["roc_auc"]
    (run / RUN_FILE).write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"without the figures of a run \('roc_auc' is not in it\)"):
        make_card(Classifier.load(run))
