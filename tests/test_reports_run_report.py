import base64
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import draw_photo, install_network, write_photo
from handful.config import TrainConfig
from handful.features.conversion import FrozenNetwork
from handful.reports.run_report import report_data
from handful.run_store.run import Run
from handful.workflows import train as train_workflow
from test_models_activation_maps import planted_network as planted_network  # a fixture
from test_run_store_files import folder_of
from test_run_store_files import run as run  # a fixture
from test_strategies import tiny


@pytest.fixture
def odd_photos(tmp_path: Path) -> Path:
    """Round and square photos; one training label is wrong, one validation photo is green."""
    folder = tmp_path / "odd"
    for number in range(60):
        for seed, name in ((number, "round"), (1_000 + number, "square")):
            part = "validation" if number < 10 else "train"
            write_photo(folder / part / name / f"{number}.png", draw_photo(name, seed))
    shutil.copy(folder / "train/square/20.png", folder / "train/round/wrong.png")
    (folder / "train/square/20.png").unlink()
    green = np.full((64, 64, 3), (0, 255, 0), np.uint8)
    write_photo(folder / "validation/round/green.png", green)
    return folder


@pytest.mark.slow
def test_doubtful_labels_and_odd_photos_are_shown(
    odd_photos: Path,
    planted_network: FrozenNetwork,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install_network(planted_network, tmp_path / "site-packages", monkeypatch)
    run = train_workflow.train(odd_photos, output=tmp_path / "run", use_cache=False)
    trust = report_data(run).trust
    assert trust.guarantees == run.guarantees and trust.resampling is None
    assert trust.unlike[0].path == "validation/round/green.png"
    assert trust.num_unlike == len(trust.unlike) == run.to_dict()["num_unlike_training"]
    assert trust.suspects is not None and trust.num_suspects == len(trust.suspects)
    worst = trust.suspects[0]
    assert (worst.path, worst.label, worst.predicted) == (
        "train/round/wrong.png",
        "round",
        "square",
    )
    page = (tmp_path / "run" / "report.html").read_text()
    for heading in ("When to trust an answer", "Unusual photos", "Labels to check"):
        assert heading in page
    assert "How much the result varies" not in page


@pytest.mark.slow
def test_mistakes_show_where_the_network_looked(
    odd_photos: Path,
    planted_network: FrozenNetwork,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install_network(planted_network, tmp_path / "site-packages", monkeypatch)
    # A blue box on a round's label is a mistake that is sure to be made.
    write_photo(odd_photos / "validation/round/blue.png", draw_photo("square", 5))
    run = train_workflow.train(odd_photos, TrainConfig(folds=3), use_cache=False, output=False)
    data = report_data(run)
    mistake = next(one for one in data.mistakes if one.path.endswith("blue.png"))
    assert mistake.predicted == "square"
    overlay = cv2.imdecode(np.frombuffer(mistake.overlay, np.uint8), cv2.IMREAD_COLOR)
    assert overlay is not None and max(overlay.shape[:2]) == 120
    assert all(not one.overlay for one in data.least_certain)
    from handful.reports.run_page import render_report

    page = render_report(data)
    assert base64.b64encode(mistake.overlay).decode() in page
    assert "How much the result varies" in page and "3 folds" in page


@pytest.mark.slow
def test_a_learning_curve_is_shown_where_it_was_asked_for(
    photo_folder: Path, tiny_backbone: FrozenNetwork, tmp_path: Path
) -> None:
    config = TrainConfig(curve=True)
    run = train_workflow.train(photo_folder, config, output=tmp_path / "run", use_cache=False)
    curve = run.learning_curve
    assert curve is not None and curve.photos_a_class == 24  # train and validation together
    lines = report_data(run).trust.curve_lines
    assert [line.split(" photos per class")[0] for line in lines] == [
        f"Expected accuracy with {number}" for number in (24, 48, 96, 192)
    ]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Would more photos help?" in page and ">8 times<" in page
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["result"]["learning_curve"]["num_photos"] == 48


def test_a_run_is_kept_where_no_learning_curve_can_be_measured(
    tiny_backbone: FrozenNetwork, tmp_path: Path
) -> None:
    for number, kind in enumerate(("round", "square")):
        for seed in range(4):
            image = draw_photo(kind, 1000 * number + seed)
            write_photo(tmp_path / "photos" / kind / f"{seed}.png", image)
    config = TrainConfig(curve=True)
    run = train_workflow.train(
        tmp_path / "photos", config, output=tmp_path / "run", use_cache=False
    )
    assert run.learning_curve is None
    (warning,) = run.problems()["warnings"]
    assert warning.startswith(
        'No learning curve could be measured. Class "round" has 4 different photos; a learning'
    )
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["result"]["learning_curve"] is None
    assert facts["result"]["problems"]["warnings"] == [warning]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "No learning curve could be measured." in page
    assert "Would more photos help?" not in page


def test_the_report_tells_where_the_strength_comes_from(
    photo_folder: Path, tiny_backbone: FrozenNetwork, tmp_path: Path
) -> None:
    settings = report_data(
        train_workflow.train(photo_folder, use_cache=False, output=False)
    ).settings
    assert settings["Head"].endswith(", chosen by cross-validation on the training photos")
    for number, kind in enumerate(("round", "square")):
        for seed in range(2):
            image = draw_photo(kind, 1000 * number + seed)
            write_photo(tmp_path / "few" / kind / f"{seed}.png", image)
    run = train_workflow.train(tmp_path / "few", use_cache=False, output=False)
    assert report_data(run).settings["Head"] == (
        "logistic regression, C = 0.1, the default: a class has too few different "
        "training photos for cross-validation"
    )


def test_without_mistakes_nothing_is_explained(
    photo_folder: Path,
    planted_network: FrozenNetwork,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    install_network(planted_network, tmp_path / "site-packages", monkeypatch)
    run = train_workflow.train(photo_folder, use_cache=False, output=False)
    assert run.evaluation.accuracy == 1.0
    assert report_data(run).mistakes == []


@pytest.mark.slow
def test_a_network_that_cannot_be_explained_is_shown_without(
    odd_photos: Path, tiny_backbone: FrozenNetwork
) -> None:
    write_photo(odd_photos / "validation/round/blue.png", draw_photo("square", 5))
    mistakes = report_data(train_workflow.train(odd_photos, use_cache=False, output=False)).mistakes
    assert mistakes and not any(picture.overlay for picture in mistakes)


@pytest.mark.slow
def test_a_network_promises_what_it_showed_on_validation(run: Run) -> None:
    trust = report_data(run).trust
    assert trust.guarantees is not None and trust.guarantees.source == "validation"
    assert trust.guarantees.num_photos == len(run.split.validation)
    assert trust.suspects is None  # its labels were not reviewed
    page = (folder_of(run) / "report.html").read_text()
    assert "What is guaranteed is what was found on them." in page
    assert "Labels to check" not in page


@pytest.mark.slow
def test_the_report_tells_how_it_was_trained(run: Run) -> None:
    settings = report_data(run).settings
    assert settings["Strategy"] == "scratch, recipe handful"
    assert settings["Network"] == "tiny, 233 parameters, 233 trained"
    assert settings["Epochs"] == "3 of 3"
    assert settings["Optimizer"] == "adamw, learning rate 0.002, warm-up and cosine"
    assert settings["Augmentation"] == "none" and settings["Flip at prediction (TTA)"] == "yes"
    assert "Weights" not in settings
    page = (folder_of(run) / "report.html").read_text()
    assert "233 parameters" in page


@pytest.mark.slow
def test_early_stopping_is_not_hidden(photo_folder: Path) -> None:
    config = TrainConfig(
        strategy="scratch",
        recipe="keras-tutorial",
        image_size=48,
        epochs=40,
        patience=1,
        learning_rate=0.5,
    )
    run = train_workflow.train(photo_folder, config, network=tiny, use_cache=False, output=False)
    assert run.stopped == "patience" and run.trained is not None
    fitted, settings = run.trained.fitted, report_data(run).settings
    assert settings["Epochs"] == f"{fitted.epochs} of 40, stopped early: no better validation loss"
    assert settings["Weights"].startswith(f"of epoch {fitted.best_epoch}, chosen by the loss")
