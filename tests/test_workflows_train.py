import csv
import errno
import gc
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import handful
from conftest import draw_photo, write_photo
from handful.config import TrainConfig
from handful.errors import DataError, OutputError, UsageError, WeightsError
from handful.features import registry
from handful.features.store import embedding_cache_path
from handful.files.cache import ContentCache
from handful.models.classifier import Classifier
from handful.reports import run_report
from handful.reports.run_report import write_run_report
from handful.run_store.run import Run
from handful.run_store.store import RunStore, checkpoint_path
from handful.statistics.intervals import wilson_interval
from handful.training import strategies, transfer
from handful.training.deployment import deploy
from handful.workflows import train as train_workflow
from reporters import Recorder, Stopper
from test_strategies import tiny

pytestmark = pytest.mark.usefixtures("tiny_backbone")


def split_folder(root: Path, *, leak: bool = False) -> Path:
    """train/, validation/ and test/ of two classes; with a leak, one photo is in two of them."""
    for part, count, first in (("train", 16, 0), ("validation", 8, 100), ("test", 6, 200)):
        for kind in ("round", "square"):
            for number in range(count):
                seed = first + number + (1000 if kind == "square" else 0)
                write_photo(root / part / kind / f"{seed}.png", draw_photo(kind, seed))
    if leak:
        shutil.copy(root / "train/round/3.png", root / "validation/round/copied.png")
    return root


def test_vectors_past_the_memory_for_them_are_read_in_blocks(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_workflow.train(photo_folder, output=False, views=2)
    assert whole.label_review is not None and whole.label_review.rows is None
    dim = whole.classifier.head.weights.shape[0]
    monkeypatch.setenv("HANDFUL_VECTOR_MEMORY", str(20 * 2 * dim * 4 / 1e6))
    monkeypatch.setattr(transfer, "FEWEST_JUDGED", 20)
    run = train_workflow.train(photo_folder, output=tmp_path / "run", views=2)
    assert abs(run.evaluation.accuracy - whole.evaluation.accuracy) <= 0.1
    review, calibration = run.label_review, run.classifier.calibration
    assert review is not None and review.rows is not None and calibration is not None
    assert 20 <= len(review.rows) < 38 and len(calibration) <= len(review.rows)
    assert any(
        f"38 training photos, too many to hold in memory, {len(review.rows)}" in line
        for line in run.split.index.warnings
    )
    assert "drawn at random" in (tmp_path / "run/report.html").read_text()


def test_a_run_from_start_to_end(photo_folder: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    run = train_workflow.train(photo_folder, output=tmp_path / "run", reporter=recorder)
    assert run.evaluation.accuracy >= 0.9
    assert (len(run.split.train), len(run.split.validation)) == (38, 10)
    assert run.cache == {"hits": 0, "misses": 48}
    assert set(run.seconds) == {
        "total",
        "index",
        "convert",
        "decode",
        "embed",
        "fit",
        "evaluate",
        "report",
    }
    assert all(value >= 0 for value in run.seconds.values())
    assert run.seconds["total"] >= run.seconds["embed"]
    assert recorder.of("begin") == [
        "index",
        "convert",
        "embed",
        "fit",
        "evaluate",
        "report",
    ]
    assert ("embed", 48, 48) in recorder.of("progress")
    assert all(0 <= seconds <= run.seconds[name] for name, seconds in recorder.of("end"))
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"report.html", "run.json", "split.csv", "history.csv", "classifier"} <= names
    assert not any(name.endswith(".png") for name in names)


@pytest.mark.slow
def test_run_json_holds_what_repeats_the_run(photo_folder: Path, tmp_path: Path) -> None:
    config = TrainConfig(seed=5, validation_fraction=0.3, views=2)
    first = train_workflow.train(photo_folder, config, output=tmp_path / "first")
    stored = RunStore().read(tmp_path / "first" / "run.json")
    assert stored.config == config and stored.photos == photo_folder
    second = train_workflow.train(stored.photos, stored.config, output=tmp_path / "second")
    assert np.array_equal(first.evaluation.probabilities, second.evaluation.probabilities)
    facts = [json.loads((tmp_path / n / "run.json").read_text()) for n in ("first", "second")]
    assert facts[0]["data_digest"] == facts[1]["data_digest"]
    assert facts[0]["config"] == facts[1]["config"]
    assert facts[0]["result"]["accuracy"] == first.evaluation.accuracy
    assert facts[0]["versions"]["handful"]
    for name in ("split.csv", "history.csv"):
        texts = [(tmp_path / folder / name).read_text() for folder in ("first", "second")]
        assert texts[0] == texts[1]


@pytest.mark.slow
def test_history_is_the_heads_cross_validation(photo_folder: Path, tmp_path: Path) -> None:
    run = train_workflow.train(photo_folder, output=tmp_path / "run")
    with (tmp_path / "run" / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    best = min(rows, key=lambda row: float(row["log_loss"]))
    assert float(best["C"]) == run.classifier.head.C


def test_nothing_is_written_without_an_output(photo_folder: Path, tmp_path: Path) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    run = train_workflow.train(photo_folder, use_cache=False, output=False)
    assert run.path is None and run.to_dict()["run_path"] is None
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        TrainConfig(views=3),
        TrainConfig(tta=True),
        TrainConfig(resize="crop"),
        TrainConfig(precision="f32", class_weight="balanced"),
    ],
)
def test_options_reach_the_saved_classifier(
    photo_folder: Path, tmp_path: Path, config: TrainConfig
) -> None:
    run = train_workflow.train(photo_folder, config, output=tmp_path / "run")
    assert run.evaluation.accuracy >= 0.8
    loaded = Classifier.load(tmp_path / "run")
    evaluation, index = train_workflow.evaluate(loaded, photo_folder)
    held = [index.paths.index(path) for path in run.evaluation.paths]
    assert np.array_equal(evaluation.probabilities[held], run.evaluation.probabilities)


@pytest.mark.slow
def test_other_splits_show_how_far_scores_spread(photo_folder: Path, tmp_path: Path) -> None:
    plain = train_workflow.train(photo_folder, output=False)
    config = TrainConfig(seeds=2, folds=3)
    run = train_workflow.train(photo_folder, config, output=tmp_path / "run")
    assert plain.resampling is None and plain.to_dict()["resampling"] is None
    found = run.resampling
    assert found is not None and len(found.resamples) == 6
    assert sum(row.num_held_out for row in found.resamples) == 2 * 48
    # The classifier is still the one fitted to the training photos, and nothing is embedded twice.
    assert run.classifier.head.weights.tobytes() == plain.classifier.head.weights.tobytes()
    assert run.evaluation.to_dict() == plain.evaluation.to_dict()
    assert run.cache == {"hits": 48, "misses": 0} and run.seconds["resample"] > 0
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["result"]["resampling"] == found.to_dict()
    stored = RunStore().read(tmp_path / "run")
    assert (stored.photos, stored.config) == (photo_folder, config)


@pytest.mark.slow
def test_random_splits_have_the_runs_own_share_and_leave_test_alone(tmp_path: Path) -> None:
    for part, numbers in (("train", range(8)), ("validation", range(20, 26)), ("test", (40, 41))):
        for kind, first in (("round", 0), ("square", 1000)):
            for number in numbers:
                photo = draw_photo(kind, first + number)
                write_photo(tmp_path / "photos" / part / kind / f"{number}.png", photo)
    run = train_workflow.train(tmp_path / "photos", TrainConfig(seeds=3), output=False)
    assert run.resampling is not None
    sizes = {(row.num_fit, row.num_held_out) for row in run.resampling.resamples}
    assert sizes == {(16, 12)} and len(run.split.test) == 4


@pytest.mark.slow
def test_views_of_all_photos_are_there_for_other_splits(photo_folder: Path) -> None:
    run = train_workflow.train(photo_folder, TrainConfig(folds=2, views=3, tta=True), output=False)
    # Each photo and its mirror image, and two more views of it.
    assert run.cache == {"hits": 0, "misses": 48 * 4}
    assert run.resampling is not None and run.resampling.num_held_out == 24
    alone = train_workflow.train(photo_folder, TrainConfig(views=3, tta=True), output=False)
    assert alone.evaluation.log_loss == run.evaluation.log_loss


@pytest.mark.slow
def test_too_few_validation_photos_are_said(photo_folder: Path) -> None:
    run = train_workflow.train(photo_folder, output=False)
    (limitation,) = run.limitations
    assert limitation.startswith("10 validation photos cannot show a difference of 2 points")
    assert run.to_dict()["limitations"] == [limitation]
    assert (
        train_workflow.train(photo_folder, TrainConfig(difference=0.9), output=False).limitations
        == ()
    )


def test_views_are_made_of_training_photos_alone(photo_folder: Path) -> None:
    run = train_workflow.train(photo_folder, TrainConfig(views=3), output=False)
    assert run.cache["misses"] == 48 + 2 * len(run.split.train)


def test_a_second_run_embeds_nothing(photo_folder: Path, tmp_path: Path) -> None:
    first = train_workflow.train(photo_folder, output=False)
    second = train_workflow.train(photo_folder, output=False)
    third = train_workflow.train(photo_folder, use_cache=False, output=False)
    assert second.cache == {"hits": 48, "misses": 0}
    assert third.cache == {"hits": 0, "misses": 48}
    for run in (second, third):
        assert np.array_equal(run.evaluation.probabilities, first.evaluation.probabilities)


@pytest.mark.slow
def test_a_folder_its_zip_and_its_csv_give_one_result(photo_folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in sorted(photo_folder.rglob("*.jpg")):
            archive.write(path, Path("top") / path.relative_to(photo_folder))
    with (tmp_path / "photos.csv").open("w") as file:
        file.write("path,label\n")
        for path in sorted(photo_folder.rglob("*.jpg"), reverse=True):
            file.write(f"{path},{path.parent.name}\n")
    results = [
        train_workflow.train(source, output=False)
        for source in (photo_folder, tmp_path / "photos.zip", tmp_path / "photos.csv")
    ]
    assert len({run.split.index.digest() for run in results}) == 1
    first = dict(
        zip(results[0].split.index.content_hashes, results[0].split.part_names(), strict=True)
    )
    for run in results[1:]:
        parts = dict(zip(run.split.index.content_hashes, run.split.part_names(), strict=True))
        assert parts == first
        # The fit sums photos in another order, so the last bits may differ.
        assert run.evaluation.log_loss == pytest.approx(results[0].evaluation.log_loss, abs=1e-3)


@pytest.mark.slow
def test_given_parts_are_used_as_given(tmp_path: Path) -> None:
    run = train_workflow.train(split_folder(tmp_path / "photos"), output=False)
    assert [len(getattr(run.split, part)) for part in ("train", "validation", "test")] == [
        32,
        16,
        12,
    ]
    assert all(path.startswith("validation/") for path in run.evaluation.paths)


@pytest.mark.slow
def test_evaluation_takes_the_test_part_first(tmp_path: Path) -> None:
    folder = split_folder(tmp_path / "photos")
    classifier = train_workflow.train(folder, output=False).classifier
    for part, count in ((None, 12), ("test", 12), ("validation", 16), ("train", 32)):
        evaluation, _ = train_workflow.evaluate(classifier, folder, part=part)
        assert len(evaluation.labels) == count
    evaluation, _ = train_workflow.evaluate(classifier, folder / "test")
    assert len(evaluation.labels) == 12
    with pytest.raises(DataError, match='has no "test" part; it has none'):
        train_workflow.evaluate(classifier, folder / "train", part="test")


@pytest.mark.slow
def test_evaluation_maps_classes_by_name(photo_folder: Path, tmp_path: Path) -> None:
    classifier = train_workflow.train(photo_folder, output=False).classifier
    shutil.copytree(photo_folder / "square", tmp_path / "one" / "square")
    evaluation, _ = train_workflow.evaluate(classifier, tmp_path / "one")
    assert evaluation.accuracy >= 0.9
    assert evaluation.confusion[0].sum() == 0
    shutil.copytree(photo_folder / "square", tmp_path / "one" / "triangle")
    with pytest.raises(DataError, match="triangle"):
        train_workflow.evaluate(classifier, tmp_path / "one")


@pytest.mark.slow
def test_leaks_are_listed_and_can_be_dropped(tmp_path: Path) -> None:
    folder = split_folder(tmp_path / "photos", leak=True)
    run = train_workflow.train(folder, output=False)
    pair = ["train/round/3.png", "validation/round/copied.png"]
    assert run.problems()["leaks"] == [pair]
    dropped = train_workflow.train(folder, TrainConfig(drop_leaks=True), output=False)
    assert dropped.problems()["dropped"] == [pair[0]]
    assert len(dropped.split.train) == len(run.split.train) - 1


@pytest.mark.slow
def test_a_manifest_keeps_photos_in_place(photo_folder: Path, tmp_path: Path) -> None:
    first = train_workflow.train(photo_folder, output=tmp_path / "run")
    folder = tmp_path / "photos"
    shutil.copytree(photo_folder, folder)
    for number in range(12):
        write_photo(folder / "round" / f"new{number}.jpg", draw_photo("round", 700 + number))
    second = train_workflow.train(
        folder, TrainConfig(seed=9), split=tmp_path / "run" / "split.csv", output=False
    )
    parts = dict(zip(second.split.index.content_hashes, second.split.part_names(), strict=True))
    for key, part in zip(first.split.index.content_hashes, first.split.part_names(), strict=True):
        assert parts[key] == part
    assert len(second.split.index) == 60


@pytest.mark.slow
def test_bad_photos_are_reported_not_hidden(photo_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photo_folder, folder)
    good = (folder / "round" / "001.jpg").read_bytes()
    (folder / "round" / "text.jpg").write_text("no photo")
    (folder / "round" / "empty.jpg").write_bytes(b"")
    (folder / "square" / "cut.jpg").write_bytes(good[: len(good) // 2])
    write_photo(folder / "square" / "dot.png", draw_photo("round", 1)[:1, :1])
    run = train_workflow.train(folder, output=tmp_path / "run")
    rejected = {file["path"]: file["reason"] for file in run.problems()["rejected"]}
    assert sorted(rejected) == [
        "round/empty.jpg",
        "round/text.jpg",
        "square/cut.jpg",
        "square/dot.png",
    ]
    page = (tmp_path / "run" / "report.html").read_text()
    for path in rejected:
        assert path in page
    assert (folder / "round" / "text.jpg").exists()


def test_too_few_readable_photos_are_an_error(tmp_path: Path) -> None:
    for kind in ("round", "square"):
        for number in range(2):
            write_photo(tmp_path / "p" / kind / f"{number}.jpg", draw_photo(kind, number))
    path = tmp_path / "p" / "square" / "1.jpg"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(DataError, match=r'Class "square" in .* has 1 readable image'):
        train_workflow.train(tmp_path / "p", output=False)


def test_a_file_that_vanishes_is_named(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photo_folder, folder)
    real = train_workflow.load_fixed_index

    def load_then_lose(*args: object, **options: object) -> object:
        index = real(*args, **options)  # type: ignore[arg-type]
        (folder / "round" / "000.jpg").unlink()
        return index

    monkeypatch.setattr(train_workflow, "load_fixed_index", load_then_lose)
    run = train_workflow.train(folder, output=False)
    (file,) = run.problems()["rejected"]
    assert file["path"] == "round/000.jpg"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phase", "way"),
    [
        ("index", "interrupt"),
        ("convert", "interrupt"),
        ("embed", "interrupt"),
        ("fit", "interrupt"),
        ("evaluate", "interrupt"),
        ("report", "interrupt"),
        ("index", "cancel"),
        ("embed", "cancel"),
        ("evaluate", "cancel"),
    ],
)
def test_a_stop_in_any_phase_leaves_nothing(
    photo_folder: Path, tmp_path: Path, phase: str, way: str
) -> None:
    stopper = Stopper(lambda name, *_: name == phase, way)
    (tmp_path / "runs").mkdir()
    with pytest.raises(KeyboardInterrupt):
        train_workflow.train(photo_folder, output=tmp_path / "runs" / "run", reporter=stopper)
    assert list((tmp_path / "runs").iterdir()) == []


def test_an_existing_run_is_never_overwritten(photo_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="exists already; choose another `output`"):
        train_workflow.train(photo_folder, output=tmp_path / "run")
    assert (tmp_path / "run" / "mine.txt").read_text() == "mine"


def test_an_unwritable_output_is_found_before_the_work(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(train_workflow, "load_fixed_index", lambda *_: pytest.fail("work began"))
    with pytest.raises(OutputError, match="a file stands where a folder is needed"):
        train_workflow.train(photo_folder, output=tmp_path / "file" / "run")


def test_a_full_disk_is_named_and_leaves_nothing(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(run_report, "write_report", full)
    (tmp_path / "runs").mkdir()
    with pytest.raises(OutputError, match="run cannot be written: the disk is full"):
        train_workflow.train(photo_folder, output=tmp_path / "runs" / "run")
    assert list((tmp_path / "runs").iterdir()) == []


def test_wrong_weights_are_refused(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "entry_points", lambda group: [])  # no stand-in
    (tmp_path / "weights.pth").write_bytes(b"not weights")
    with pytest.raises(WeightsError, match=r"weights\.pth"):
        train_workflow.train(
            photo_folder, TrainConfig(weights=str(tmp_path / "weights.pth")), output=False
        )


@pytest.mark.slow
def test_a_damaged_cache_changes_no_result(
    photo_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = train_workflow.train(photo_folder, output=False)
    embedding_cache_path().write_bytes(b"damaged" * 1000)
    second = train_workflow.train(photo_folder, output=False)
    assert "set aside" in caplog.text
    assert second.cache["misses"] == 48
    assert np.array_equal(first.evaluation.probabilities, second.evaluation.probabilities)
    with ContentCache(embedding_cache_path()) as cache:
        assert cache.info().num_rows["embedding"] == 48


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "way"), [("scratch", "cancel"), ("augmented", "interrupt")])
def test_a_network_stops_with_a_usable_run(
    photo_folder: Path, tmp_path: Path, strategy: str, way: str
) -> None:
    """What is learned so far is a run; resumed, it ends as one that was never stopped."""
    config = TrainConfig(
        strategy=strategy, recipe="keras-tutorial", image_size=48, epochs=4, batch_size=12
    )
    # In the third epoch of four.
    stopper = Stopper(lambda phase, done, total: phase == "train" and 4 * done > 2 * total > 0, way)
    path = tmp_path / "run"
    broken = train_workflow.train(photo_folder, config, output=path, network=tiny, reporter=stopper)
    assert broken.stopped == "interrupted" and broken.trained is not None
    assert (broken.trained.fitted.epochs, broken.trained.fitted.planned_epochs) == (2, 4)
    assert Classifier.load(path).predict([photo_folder / "round" / "000.jpg"])
    assert json.loads((path / "run.json").read_text())["result"]["training"]["epochs"] == 2
    assert checkpoint_path(path).is_dir()
    with pytest.raises(OutputError, match="exists already; choose another `output`"):
        train_workflow.train(photo_folder, config, output=path, network=tiny)
    resumed = train_workflow.train(photo_folder, config, output=path, network=tiny, resume=True)
    whole = train_workflow.train(photo_folder, config, output=tmp_path / "whole", network=tiny)
    assert resumed.stopped == "" and not checkpoint_path(path).exists()
    for name in ("network.bin", "head.safetensors"):
        files = [folder / "classifier" / name for folder in (path, tmp_path / "whole")]
        assert files[0].read_bytes() == files[1].read_bytes()
    for run in (resumed, whole):
        assert run.trained is not None and run.trained.fitted.epochs == 4
    assert np.array_equal(resumed.evaluation.probabilities, whole.evaluation.probabilities)
    assert sorted(item.name for item in tmp_path.iterdir() if item.name[0] == ".") == []


@pytest.mark.slow
def test_an_interrupt_before_the_first_epoch_leaves_nothing(
    photo_folder: Path, tmp_path: Path
) -> None:
    stopper = Stopper(lambda phase, _done, total: phase == "train" and total > 0)
    config = TrainConfig(strategy="scratch", recipe="keras-tutorial", image_size=48, epochs=2)
    (tmp_path / "runs").mkdir()
    with pytest.raises(KeyboardInterrupt):
        train_workflow.train(
            photo_folder,
            config,
            output=tmp_path / "runs" / "run",
            network=tiny,
            reporter=stopper,
        )
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.slow
def test_resuming_with_other_options_is_refused(photo_folder: Path, tmp_path: Path) -> None:
    def asked(seed: int) -> TrainConfig:
        return TrainConfig(
            strategy="scratch",
            recipe="keras-tutorial",
            image_size=48,
            epochs=2,
            batch_size=19,
            seed=seed,
        )

    # In the second epoch.
    stopper = Stopper(lambda phase, done, total: phase == "train" and done > total // 2)
    path = tmp_path / "run"
    train_workflow.train(photo_folder, asked(0), output=path, network=tiny, reporter=stopper)
    before = sorted(item.name for item in tmp_path.iterdir())
    with pytest.raises(DataError, match=r"checkpoint\.npz is of another training"):
        train_workflow.train(photo_folder, asked(1), output=path, network=tiny, resume=True)
    assert sorted(item.name for item in tmp_path.iterdir()) == before
    assert Classifier.load(path)


@pytest.mark.slow
def test_resuming_where_nothing_was_begun_trains_anew(photo_folder: Path, tmp_path: Path) -> None:
    config = TrainConfig(strategy="scratch", recipe="keras-tutorial", image_size=48, epochs=1)
    run = train_workflow.train(
        photo_folder, config, output=tmp_path / "run", network=tiny, resume=True
    )
    assert run.stopped == "" and (tmp_path / "run" / "run.json").exists()


@pytest.mark.slow
def test_a_time_budget_shortens_a_training(photo_folder: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    config = TrainConfig(
        strategy="augmented",
        recipe="keras-tutorial",
        image_size=48,
        epochs=3000,
        time_budget=0.03,
    )
    run = train_workflow.train(photo_folder, config, network=tiny, reporter=recorder, output=False)
    assert run.trained is not None and 1 <= run.trained.fitted.planned_epochs < 3000
    (line,) = recorder.lines
    assert line.startswith("About ")


@pytest.mark.slow
def test_prediction_is_timed_when_asked(photo_folder: Path) -> None:
    assert train_workflow.train(photo_folder, output=False).photos_per_second is None
    speed = train_workflow.train(photo_folder, measure_speed=True, output=False).photos_per_second
    assert speed is not None and speed > 1


@pytest.mark.slow
def test_a_split_can_be_frozen_before_training(photo_folder: Path, tmp_path: Path) -> None:
    train_workflow.freeze_split(photo_folder, TrainConfig(seed=3), tmp_path / "split.csv")
    expected = train_workflow.train(photo_folder, TrainConfig(seed=3), output=False).split
    run = train_workflow.train(
        photo_folder, TrainConfig(seed=8), split=tmp_path / "split.csv", output=False
    )
    assert np.array_equal(run.split.train, expected.train)


@pytest.mark.slow
def test_a_file_name_that_is_no_valid_text_is_no_obstacle(
    photo_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(photo_folder, tmp_path / "photos")
    # One name in each part, whatever the split is.
    for path in (folder / "round").iterdir():
        os.rename(path, os.fsencode(path.with_suffix("")) + b"\xff.jpg")
    run = train_workflow.train(folder, output=tmp_path / "run")
    assert "round/000\udcff.jpg" in run.split.index.paths
    assert any("\udcff" in path for path in run.evaluation.paths)
    again = train_workflow.train(
        folder, TrainConfig(seed=9), split=tmp_path / "run" / "split.csv", output=tmp_path / "b"
    )
    assert again.split.part_names() == run.split.part_names()
    assert RunStore().read(tmp_path / "run").predictions.paths == run.evaluation.paths
    facts = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert facts["data_digest"] == run.split.index.digest()


@pytest.mark.slow
def test_a_folder_name_that_is_no_valid_text_is_remembered(
    photo_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(photo_folder, tmp_path / os.fsdecode(b"p\xff"))
    train_workflow.train(folder, output=tmp_path / "run")
    assert RunStore().read(tmp_path / "run").photos == folder


@pytest.mark.slow
def test_what_a_run_is_made_of_does_not_change_afterwards(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[object, dict[str, float]]] = []

    def watched(run: Run, folder: Path, **options: Any) -> None:
        seen.append((run, dict(run.seconds)))
        write_run_report(run, folder, **options)

    monkeypatch.setattr(train_workflow, "write_run_report", watched)
    made = train_workflow.train(photo_folder, output=tmp_path / "run")
    ((early, seconds),) = seen
    assert isinstance(early, Run) and early.seconds == seconds
    assert made.seconds["total"] > early.seconds["total"] and "report" not in early.seconds


@pytest.mark.slow
def test_a_trained_classifier_is_not_changed_to_know_its_answers(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def watched(*given: Any) -> Classifier:
        made.append(deploy(*given))
        return made[-1]

    monkeypatch.setattr(strategies, "deploy", watched)
    run = train_workflow.train(
        photo_folder,
        TrainConfig(strategy="scratch", recipe="keras-tutorial", epochs=1),
        output=False,
    )
    (deployed,) = made
    assert deployed.calibration is None and deployed.reference is None
    assert run.classifier.calibration is not None and run.classifier is not deployed
    del deployed, made[:]
    gc.collect()
    run.classifier.save(tmp_path / "kept")  # the network's files stay as long as any needs them


@pytest.mark.slow
def test_a_run_on_a_given_split_can_be_repeated(photo_folder: Path, tmp_path: Path) -> None:
    first = train_workflow.train(photo_folder, TrainConfig(seed=3), output=tmp_path / "first")
    config, manifest = TrainConfig(seed=8), tmp_path / "first" / "split.csv"
    second = train_workflow.train(photo_folder, config, split=manifest, output=tmp_path / "second")
    third = train_workflow.train(second.split, config, output=tmp_path / "third")
    assert RunStore().read(tmp_path / "first").split_to_repeat is None
    for name, run in (("second", second), ("third", third)):
        shutil.rmtree(tmp_path / "first", ignore_errors=True)
        stored = RunStore().read(tmp_path / name / "run.json")
        known = stored.split_to_repeat
        assert known == tmp_path / name / "split.csv"
        again = train_workflow.train(stored.photos, stored.config, split=known, output=False)
        assert again.split.part_names() == run.split.part_names() == first.split.part_names()
    (tmp_path / "second" / "split.csv").unlink()
    with pytest.raises(DataError, match=r"second has no split\.csv, and was made on a split"):
        assert RunStore().read(tmp_path / "second").split_to_repeat
    # Runs of before that was written down.
    facts = json.loads((tmp_path / "third" / "run.json").read_text())
    del facts["split_given"]
    (tmp_path / "third" / "run.json").write_text(json.dumps(facts))
    assert RunStore().read(tmp_path / "third").split_to_repeat is None


def test_a_run_is_repeated_by_name(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = shutil.copytree(photo_folder, tmp_path / "photos")
    first = train_workflow.train(own, seed=3)
    second = train_workflow.train(own, seed=8, split="runs/photos/split.csv", note="as before")
    again = train_workflow.train(from_run="latest", note="again")
    assert (again.config, again.split_given, again.note) == (second.config, True, "again")
    assert again.path == Path("runs/photos-3")
    assert again.split.part_names() == first.split.part_names()
    assert np.array_equal(again.evaluation.probabilities, second.evaluation.probabilities)
    assert not any("has changed" in line for line in again.split.index.warnings)
    write_photo(own / "round" / "new.jpg", draw_photo("round", 600))
    changed = train_workflow.train(from_run=first, output=False)
    assert "has changed since runs/photos was made" in changed.split.index.warnings[-1]
    for given, message in (
        ({}, "expected either `photos` or `from_run`"),
        ({"photos": own, "from_run": first}, "expected either `photos` or `from_run`"),
        ({"from_run": first, "seed": 4}, "`from_run` repeats a run as it was; leave out `seed`"),
        ({"from_run": first, "config": TrainConfig()}, "leave out the config"),
    ):
        with pytest.raises(UsageError, match=message):
            train_workflow.train(**given)  # type: ignore[arg-type]


def test_a_run_is_written_where_the_command_writes_it(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = train_workflow.train(photo_folder, note="with the new lamp")
    place = Path("runs") / photo_folder.name
    assert run.path == place and (place / "report.html").is_file()
    page = (place / "report.html").read_text()
    assert "with the new lamp" in page
    split = train_workflow.train(run.split)
    assert split.path == Path("runs") / f"{photo_folder.name}-2"
    elsewhere = train_workflow.train(photo_folder, store=RunStore("mine"))
    assert elsewhere.path == Path("mine") / photo_folder.name
    rows = handful.runs()
    assert [(row.name, row.note) for row in rows] == [
        (f"{photo_folder.name}-2", ""),
        (photo_folder.name, "with the new lamp"),
    ]
    before = set(tmp_path.rglob("*"))
    assert train_workflow.train(photo_folder, output=False).path is None
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("photos", "found"),
    [(3, "3"), (["a", "b"], "of type list"), ("", "''"), (b"photos", "of type bytes")],
)
def test_what_are_no_photos_is_named(photos: Any, found: str) -> None:
    for job in (handful.train, handful.compare, handful.check, handful.curve):
        with pytest.raises(UsageError, match=f"^`photos` is {found}; expected a folder, a zip or"):
            job(photos)


def test_an_index_is_to_be_split(photo_folder: Path) -> None:
    with pytest.raises(UsageError, match=r"`photos` is an index; expected .* `split_index`"):
        train_workflow.train(handful.load_index(photo_folder))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("job", "name", "meant"),
    [
        (handful.train, "epoch", "epochs"),
        (handful.train, "outptu", "output"),
        (handful.train, "from_runs", "from_run"),
        (handful.compare, "strategies", "strategy"),
        (handful.compare, "resum", "resume"),
        (handful.check, "fixlist", "fix_list"),
        (handful.check, "bakcbone", "backbone"),
        (handful.curve, "targt", "target"),
        (handful.curve, "sede", "seed"),
    ],
)
def test_a_misspelled_option_is_answered_with_the_nearest(
    job: Callable[..., Any], name: str, meant: str
) -> None:
    with pytest.raises(UsageError, match=rf"^`{name}` is no option; expected {meant}\.$"):
        job("photos", **{name: 1})


def test_what_a_job_does_not_use_is_refused() -> None:
    for job in (handful.check, handful.curve):
        with pytest.raises(UsageError, match=r"`epochs` is no option; expected .*seed"):
            job("photos", epochs=3)


@pytest.mark.slow
def test_a_network_of_ones_own_is_a_function_or_its_place(
    photo_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(
        "import keras\n\n"
        "def build(input_shape, num_classes):\n"
        "    images = keras.Input(input_shape)\n"
        "    x = keras.layers.Flatten()(images)\n"
        "    x = keras.layers.Dense(num_classes, activation='softmax')(x)\n"
        "    return keras.Model(images, x)\n"
    )
    place = f"{tmp_path / 'own.py'}:build"
    run = train_workflow.train(
        photo_folder, strategy="scratch", epochs=1, network=place, output=False
    )
    assert run.config.network == place and run.trained is not None


@pytest.mark.slow
def test_dropped_photos_are_dropped_again(photo_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(photo_folder, tmp_path / "photos")
    picture = draw_photo("round", 5)
    write_photo(folder / "round" / "near.png", picture)
    write_photo(folder / "round" / "other.png", np.maximum(picture, 3))
    given = train_workflow.train(folder, output=tmp_path / "first").split
    rows = {path: row for row, path in enumerate(given.index.paths)}
    parts = dict(zip(given.index.content_hashes, given.part_names(), strict=True))
    for path in ("round/005.jpg", "round/near.png", "round/other.png"):
        parts[given.index.content_hashes[rows[path]]] = "train"
    parts[given.index.content_hashes[rows["round/near.png"]]] = "validation"
    lines = [f"{key},{part},x,y" for key, part in parts.items()]
    text = "\n".join(["content_hash,split,class_name,path", *lines])
    (tmp_path / "leaking.csv").write_text(text)
    config = TrainConfig(drop_leaks=True)
    leaking = train_workflow.train(
        folder, config, split=tmp_path / "leaking.csv", output=tmp_path / "second"
    )
    assert len(leaking.split.dropped) == 2
    again = train_workflow.train(
        folder, config, split=tmp_path / "second" / "split.csv", output=False
    )
    assert again.split.part_names() == leaking.split.part_names()


def test_a_class_with_one_training_photo_is_named_and_turns_nothing_off(
    photo_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(photo_folder, tmp_path / "photos")
    for number in range(2):
        write_photo(
            tmp_path / "photos" / "rare" / f"{number}.jpg", draw_photo("round", 500 + number)
        )
    run = train_workflow.train(tmp_path / "photos", output=False)
    assert run.classifier.head.scores and run.label_review is not None
    calibration = run.classifier.calibration
    assert calibration is not None and len(calibration) == len(run.split.train) - 1
    (warning,) = [text for text in run.problems()["warnings"] if "rare" in text]
    assert 'All training photos of "rare"' in warning and "none can be held out" in warning


@pytest.mark.slow
def test_what_intervals_and_thresholds_rest_on_knows_near_duplicates(tmp_path: Path) -> None:
    for kind, first in (("round", 0), ("square", 1000)):
        for shot in range(12):
            photo = draw_photo(kind, first + shot)
            for copy in range(3):
                write_photo(tmp_path / "photos" / kind / f"{shot}-{copy}.png", photo)
    run = train_workflow.train(tmp_path / "photos", output=tmp_path / "run")
    calibration = run.classifier.calibration
    groups = run.evaluation.groups
    assert calibration is not None and calibration.groups is not None and groups is not None
    assert len(np.unique(calibration.groups)) * 3 == len(calibration)
    low, _ = run.evaluation.accuracy_interval
    assert run.evaluation.accuracy == 1 and low == pytest.approx(
        wilson_interval(len(np.unique(groups)), len(np.unique(groups)))[0]
    )
    again = RunStore().read(tmp_path / "run").predictions
    assert again.accuracy_interval == run.evaluation.accuracy_interval
    loaded = Classifier.load(tmp_path / "run")
    for rate in (0.01, 0.2, 0.5):
        assert loaded.abstain_at(rate) == run.classifier.abstain_at(rate)


def test_options_are_given_by_name(photo_folder: Path) -> None:
    run = train_workflow.train(
        photo_folder, TrainConfig(tta=True), seed=3, class_weight="none", output=False
    )
    assert run.config == TrainConfig(tta=True, seed=3, class_weight="none")
    with pytest.raises(UsageError, match=r"`sede` is no option; expected seed\."):
        train_workflow.train(photo_folder, sede=3, output=False)
