import errno
import json
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import pytest
from typer.testing import CliRunner

from conftest import draw_photo, write_photo
from handful.cli import commands, results
from handful.cli.spelling import with_options
from handful.config import CompareConfig
from handful.data.decoding import DecodeSettings
from handful.errors import DataError, HandfulError, OutputError, UsageError
from handful.evaluation.comparison import Comparison
from handful.features.conversion import FrozenNetwork
from handful.run_store.store import RunStore
from handful.training import batches
from handful.training.batches import decode_images
from handful.training.strategies import count_body
from handful.workflows import compare as compare_workflow
from handful.workflows import train as train_workflow
from handful.workflows.compare import compare, read_strategy_run, repeating_command
from reporters import Recorder, Stopper
from test_strategies import tiny

PICTURES = CompareConfig(recipe="keras-tutorial", strategy=("scratch", "augmented"), epochs=2)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for number in range(12):
        write_photo(root / "round" / f"{number}.jpg", draw_photo("round", number))
        write_photo(root / "square" / f"{number}.jpg", draw_photo("square", 900 + number))
    return root


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@dataclass(frozen=True)
class Compared:
    """A comparison, its folder, what it said, and the photos that views were made of."""

    found: Comparison
    folder: Path
    recorder: Recorder
    changed: set[bytes]


@pytest.fixture(scope="module")
def compared(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """Both strategies that train on photos, compared; read, never changed."""
    root, changed, recorder = tmp_path_factory.mktemp("compared"), set(), Recorder()
    real = batches.apply_views

    def watch(images: Any, *rest: Any) -> Any:
        changed.update(image.tobytes() for image in images)
        return real(images, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HANDFUL_CACHE", str(root / "cache"))
        patch.setattr(batches, "apply_views", watch)
        found = compare(photos, PICTURES, output=root / "out", network=tiny, reporter=recorder)
    return Compared(found, root / "out", recorder, changed)


@pytest.mark.slow
def test_a_comparison_from_start_to_end(photos: Path, compared: Compared) -> None:
    found, folder, recorder = compared.found, compared.folder, compared.recorder
    assert [summary.name for summary in found.summaries] == ["scratch", "augmented"]
    assert (found.num_train, found.num_validation) == (20, 4)
    assert {"scratch-0", "augmented-0", "split.csv", "comparison.json", "comparison.html"} <= (
        names_in(folder)
    )
    assert not any(name.endswith(".checkpoint") for name in names_in(folder))
    assert recorder.lines == ["Training scratch-0", "Training augmented-0"]
    assert {"scratch-0 train", "augmented-0 evaluate"} <= set(recorder.of("begin"))
    facts = json.loads((folder / "comparison.json").read_text())
    assert facts["format"] == "handful comparison" and facts["result"] == found.to_dict()
    # One split, and validation photos that no view was ever made of.
    both = [RunStore().read(folder / name).predictions for name in names_of(found)]
    assert both[0].paths == both[1].paths
    for summary in found.summaries:
        (run,) = summary.runs
        assert run.epochs == 2 and run.history is not None and run.photos_per_second > 0
        assert run.num_parameters == run.num_trainable == 233
        assert run.seconds > 0 and run.num_bytes > 1000
    settings = DecodeSettings(150, "squash")
    index = train_workflow.load_fixed_index(photos)
    held = [row for row, path in enumerate(index.paths) if path in both[0].paths]
    held_pictures = {image.tobytes() for image in decode_images(index.select(held), settings)}
    assert len(compared.changed) == 20 and not compared.changed & held_pictures


def names_of(found: Comparison) -> list[str]:
    return [f"{summary.name}-{run.seed}" for summary in found.summaries for run in summary.runs]


@pytest.mark.slow
def test_what_a_given_split_divides_is_named(
    tmp_path: Path, tiny_backbone: FrozenNetwork, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    for number in range(12):
        part = ("train", "validation")[number % 3 == 2]
        write_photo(folder / part / "round" / f"{number}.png", draw_photo("round", number))
        write_photo(folder / part / "square" / f"{number}.png", draw_photo("square", 900 + number))
    again = cv2.resize(cv2.imread(str(folder / "train/round/0.png")), None, fx=0.5, fy=0.5)
    assert cv2.imwrite(str(folder / "validation/round/again.png"), again)
    asked = CompareConfig(recipe="handful", strategy=("transfer",))
    found = compare(folder, asked, output=tmp_path / "out")
    (warning,) = found.warnings
    assert warning.endswith(": train/round/0.png = validation/round/again.png")
    kept = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert kept["result"]["warnings"] == [warning]
    assert "validation/round/again.png" in (tmp_path / "out" / "comparison.html").read_text()
    results.print_comparison(found)
    assert f"Warning: {with_options(warning)}" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("way", ["interrupt", "cancel"])
def test_an_interrupted_comparison_goes_on(photos: Path, tmp_path: Path, way: str) -> None:
    folder = tmp_path / "out"
    # The second epoch has one step; what was canceled before it stops there.
    first_epoch = way == "cancel"

    def is_time(phase: str, done: int, total: int) -> bool:
        return phase == "augmented-0 train" and done > total // 2 - first_epoch > 0

    stopper = Stopper(is_time, way)
    with pytest.raises(KeyboardInterrupt):
        compare(photos, PICTURES, output=folder, network=tiny, reporter=stopper)
    assert names_in(folder) == {"split.csv", "scratch-0", "augmented-0", "augmented-0.checkpoint"}
    first = (folder / "scratch-0" / "run.json").read_bytes()
    with pytest.raises(OutputError, match=r"out exists already; .* go on in it with `resume`"):
        compare(photos, PICTURES, output=folder, network=tiny)
    other = CompareConfig(recipe="keras-tutorial", strategy=PICTURES.strategy, epochs=3)
    with pytest.raises(DataError, match="scratch-0 was trained with other options; give the same"):
        compare(photos, other, output=folder, network=tiny, resume=True)
    recorder = Recorder()
    found = compare(photos, PICTURES, output=folder, network=tiny, resume=True, reporter=recorder)
    assert {name for name, *_ in recorder.of("progress") if name.endswith(" train")} == {
        "augmented-0 train"
    }
    assert (folder / "scratch-0" / "run.json").read_bytes() == first
    assert [run.epochs for summary in found.summaries for run in summary.runs] == [2, 2]
    assert not any(name.endswith(".checkpoint") for name in names_in(folder))
    # All is there: nothing is trained, the page is made again.
    (folder / "comparison.html").unlink()
    compare(photos, PICTURES, output=folder, network=lambda *_: pytest.fail("trained"), resume=True)
    assert (folder / "comparison.html").exists()
    shutil.copytree(photos, tmp_path / "other")
    with pytest.raises(DataError, match=r"scratch-0 was trained on other photos, .*photos"):
        compare(tmp_path / "other", PICTURES, output=folder, network=tiny, resume=True)


@pytest.mark.slow
def test_a_whole_comparison_has_no_checkpoints(
    photos: Path, compared: Compared, tmp_path: Path
) -> None:
    """Neither one of a training that ran out of time, nor of one that was killed at its end."""
    folder = shutil.copytree(compared.folder, tmp_path / "out")
    file = folder / "augmented-0" / "run.json"
    facts = json.loads(file.read_text())
    facts["result"]["training"]["stopped"] = "time"
    file.write_text(json.dumps(facts))
    for name in ("scratch-0", "augmented-0"):
        (folder / f"{name}.checkpoint").mkdir()
    compare(photos, PICTURES, output=folder, network=lambda *_: pytest.fail("trained"), resume=True)
    assert not any(name.endswith(".checkpoint") for name in names_in(folder))


@pytest.mark.slow
def test_a_head_without_epochs_is_compared_too(
    photos: Path, tiny_backbone: FrozenNetwork, tmp_path: Path
) -> None:
    config = CompareConfig(strategy=("transfer",), seeds=2)
    found = compare(photos, config, output=tmp_path / "out")
    (summary,) = found.summaries
    assert [run.seed for run in summary.runs] == [0, 1]
    run = summary.runs[0]
    assert run.history is None and run.epochs == 0
    assert run.num_trainable == (48 + 1) * 2
    assert run.num_parameters == count_body("efficientnet-lite0", 32) + run.num_trainable
    assert read_strategy_run(tmp_path / "out" / "transfer-0").to_dict() == run.to_dict()


def test_photos_that_cannot_be_compared_leave_no_folder(tmp_path: Path) -> None:
    write_photo(tmp_path / "photos" / "a" / "1.jpg", draw_photo("round", 1))
    with pytest.raises(DataError):
        compare(tmp_path / "photos", PICTURES, output=tmp_path / "out", network=tiny)
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_made_is_named(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="out cannot be made: "):
        compare(photos, PICTURES, output=tmp_path / "file" / "out")


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"run is not a whole run .*; remove it and compare again"):
        read_strategy_run(tmp_path / "run")


@pytest.mark.parametrize(
    "config",
    [
        CompareConfig(),
        PICTURES,
        CompareConfig(
            recipe="keras-tutorial",
            strategy=("transfer",),
            seeds=3,
            quick=True,
            backbone="xception",
            weights="my weights.h5",
            epochs=4,
            validation_fraction=0.35,
            fixes="my fixes.csv",
            seed=7,
            max_megapixels=12.5,
        ),
        CompareConfig(recipe="mnist", network="my networks/one.py:build", difference=0.05),
    ],
)
def test_the_command_line_repeats_the_comparison(
    config: CompareConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def remember(photos: Path, config: CompareConfig, **_: Any) -> None:
        asked.update(photos=photos, config=config)
        raise HandfulError("enough")

    monkeypatch.setattr(compare_workflow, "compare", remember)
    first, *words = shlex.split(repeating_command(config, "some photos.zip"))
    assert first == "handful"
    result = CliRunner().invoke(commands.app, words)
    assert result.exit_code == 1 and result.stderr == "Error: enough\n"
    assert asked == {"photos": Path("some photos.zip"), "config": config}


@pytest.mark.parametrize("text", [None, "{", "[]", '{"backbone": {}}', '{"backbone": null}'])
def test_a_classifier_that_cannot_be_read_is_named(
    tiny_run: Path, tmp_path: Path, text: str | None
) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    description = run / "classifier" / "classifier.json"
    description.unlink()
    if text is not None:
        description.write_text(text)
    with pytest.raises(DataError, match=r"run is not a whole run .*; remove it and compare again"):
        read_strategy_run(run)


def test_a_split_is_frozen_whole_or_not_at_all(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(train_workflow, "write_manifest", full)
    with pytest.raises(OutputError, match=r"split\.csv cannot be written: the disk is full"):
        compare(photos, PICTURES, output=tmp_path / "out", network=tiny)
    assert not (tmp_path / "out").exists()


def test_a_backbone_that_cannot_be_trained_on_is_refused_before_all_work(tmp_path: Path) -> None:
    config = CompareConfig(strategy=("transfer", "fine-tune"), backbone="resnet50")
    with pytest.raises(UsageError, match="`backbone` is 'resnet50'; fine-tune takes efficientnet"):
        compare(tmp_path / "photos", config, output=tmp_path / "out")
    assert not list(tmp_path.iterdir())
