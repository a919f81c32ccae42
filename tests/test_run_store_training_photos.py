"""Photos that a classifier learned from are known again, also as near-duplicates."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

import handful
from conftest import draw_photo, write_photo
from handful.cli.commands import app
from handful.data.splits import read_manifest
from handful.errors import DataError
from handful.features.conversion import FrozenNetwork
from handful.models.classifier import Classifier
from handful.run_store.files import TRAINING_FILE
from handful.run_store.training_photos import SeenInTraining
from handful.workflows import train as train_workflow


def learned(run: Path) -> list[Path]:
    """Photos that a run on a folder learned from."""
    photos = Path(json.loads((run / "run.json").read_text())["photos"])
    with (run / "split.csv").open(newline="") as file:
        return [photos / row["path"] for row in csv.DictReader(file) if row["split"] == "train"]


@pytest.fixture
def other_photos(tiny_run: Path, tmp_path: Path) -> Path:
    """Of each class two new photos, a copy and two altered ones of photos learned from."""
    folder = tmp_path / "other"
    for kind in ("round", "square"):
        known = [path for path in learned(tiny_run) if path.parent.name == kind]
        for seed in (5001, 5002):
            write_photo(folder / kind / f"{seed}.png", draw_photo(kind, seed))
        shutil.copy(known[0], folder / kind / "copy.jpg")
        half = cv2.resize(cv2.imread(str(known[1])), None, fx=0.5, fy=0.5)
        cv2.imwrite(str(folder / kind / "half.png"), half)
        cv2.imwrite(str(folder / kind / "dark.jpg"), (cv2.imread(str(known[2])) * 0.6))
    return folder


def test_near_duplicates_of_training_photos_are_counted(
    tiny_run: Path, other_photos: Path, tiny_backbone: FrozenNetwork
) -> None:
    for place in (tiny_run, tiny_run / "classifier"):
        evaluation, index, seen = train_workflow.evaluate_and_compare(place, other_photos)
        assert seen == SeenInTraining(6, 2, 6, 0)
        assert len(evaluation) == len(index) == 10
    said = CliRunner().invoke(app, ["evaluate", str(tiny_run), str(other_photos)]).stdout
    assert (
        "Warning: 6 of these 10 photos are those the classifier learned from, or show the same "
        "shots: the figure flatters it. Give photos that it has not seen."
    ) in said.splitlines()
    facts = CliRunner().invoke(app, ["evaluate", str(tiny_run), str(other_photos), "--json"])
    assert json.loads(facts.stdout)["num_seen_in_training"] == 6


def test_python_says_it_too(
    tiny_run: Path, other_photos: Path, tiny_backbone: FrozenNetwork
) -> None:
    for classifier in (tiny_run, Classifier.load(tiny_run)):
        _, index = handful.evaluate(classifier, other_photos)
        assert index.warnings[-1].startswith("6 of these 10 photos are those the classifier")


def test_photos_held_out_are_not_those_learned_from(
    tiny_run: Path, tmp_path: Path, tiny_backbone: FrozenNetwork
) -> None:
    known = set(learned(tiny_run))
    photos = next(iter(known)).parents[1]
    for path in photos.glob("*/*.jpg"):
        if path not in known:
            (tmp_path / path.parent.name).mkdir(exist_ok=True)
            shutil.copy(path, tmp_path / path.parent.name)
    _, index, seen = train_workflow.evaluate_and_compare(tiny_run, tmp_path)
    assert len(index) == 10 and seen == SeenInTraining(0, 0, 0, 0)


def test_an_older_run_knows_copies_alone_and_says_so(
    tiny_run: Path, other_photos: Path, tmp_path: Path, tiny_backbone: FrozenNetwork
) -> None:
    old = shutil.copytree(tiny_run, tmp_path / "old")
    (old / TRAINING_FILE).unlink()
    assert train_workflow.evaluate_and_compare(old, other_photos)[2] == SeenInTraining(
        2, 2, None, 0
    )
    said = CliRunner().invoke(app, ["evaluate", str(old), str(other_photos)]).stdout
    assert "Warning: 2 of these 10 photos" in said and "only exact copies" in said
    shutil.copytree(tiny_run / "classifier", tmp_path / "alone")
    assert train_workflow.evaluate_and_compare(tmp_path / "alone", other_photos)[2] is None


@pytest.mark.slow
def test_a_run_that_cannot_tell_says_so(
    tiny_run: Path, other_photos: Path, tmp_path: Path, tiny_backbone: FrozenNetwork
) -> None:
    cannot = "Which of these 10 photos the classifier learned from cannot be told: "
    for missing in ("run.json", "split.csv"):
        run = shutil.copytree(tiny_run, tmp_path / missing)
        (run / missing).unlink()
        said = CliRunner().invoke(app, ["evaluate", str(run), str(other_photos)]).stdout
        assert f"\nWarning: {cannot}" in said
        _, index = handful.evaluate(run, other_photos)
        assert index.warnings[-1].startswith(cannot)
    just_trained = handful.train(Path(learned(tiny_run)[0]).parents[1], output=False).classifier
    assert handful.evaluate(just_trained, other_photos)[1].warnings == ()


def test_a_run_keeps_only_what_it_learned_from(tiny_run: Path) -> None:
    kept = load_file(tiny_run / TRAINING_FILE)["fingerprints"]
    parts = read_manifest(tiny_run / "split.csv")
    assert kept.shape == (list(parts.values()).count("train"), 1024) and kept.dtype == np.uint8


@pytest.mark.parametrize("damage", ["cut", "version", "shape", "groups", "empty"])
def test_a_damaged_file_is_named(
    damage: str, tiny_run: Path, other_photos: Path, tmp_path: Path, tiny_backbone: FrozenNetwork
) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    file = run / TRAINING_FILE
    facts = {"format": "handful training photos", "format_version": "1", "groups": "[]"}
    prints = load_file(file)["fingerprints"]
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "version":
        save_file({"fingerprints": prints}, file, metadata={**facts, "format_version": "2"})
    elif damage == "shape":
        save_file({"fingerprints": prints[:, :256].copy()}, file, metadata=facts)
    else:
        save_file({"fingerprints": prints}, file, metadata={**facts, "groups": "["})
    with pytest.raises(DataError, match=r"training\.safetensors does not hold a run's training"):
        train_workflow.evaluate_and_compare(run, other_photos)


@pytest.mark.slow
def test_photos_of_a_group_learned_from_are_counted(
    tmp_path: Path, tiny_backbone: FrozenNetwork
) -> None:
    lines = ["path,label,group"]
    for number in range(24):
        kind = ("round", "square")[number % 2]
        write_photo(tmp_path / f"{number}.png", draw_photo(kind, number))
        lines.append(f"{number}.png,{kind},{'animal ' + str(number // 6) if number < 12 else ''}")
    (tmp_path / "first.csv").write_text("\n".join(lines))
    split = train_workflow.train(tmp_path / "first.csv", output=tmp_path / "run").split
    known = {split.index.groups[row] for row in split.train} - {""}
    assert known
    for number in (24, 25, 26):
        write_photo(tmp_path / f"{number}.png", draw_photo("round", number))
    name = min(known)
    (tmp_path / "new.csv").write_text(
        f"path,label,group\n24.png,round,{name}\n25.png,round,animal 99\n26.png,round,\n"
    )
    *_, seen = train_workflow.evaluate_and_compare(tmp_path / "run", tmp_path / "new.csv")
    assert seen == SeenInTraining(0, 0, 0, 1)
    said = CliRunner().invoke(app, ["evaluate", str(tmp_path / "run"), str(tmp_path / "new.csv")])
    assert "Warning: 1 of these 3 photos are of groups that" in said.stdout


@pytest.mark.slow
def test_shots_of_one_burst_count_once_in_the_interval(
    tiny_run: Path, tmp_path: Path, tiny_backbone: FrozenNetwork
) -> None:
    alone, bursts = tmp_path / "alone", tmp_path / "bursts"
    for kind, first in (("round", 6000), ("square", 7000)):
        for seed in range(first, first + 10):
            image = draw_photo(kind, seed)
            write_photo(alone / kind / f"{seed}.png", image)
            for number in range(4):
                write_photo(bursts / kind / f"{seed}-{number}.png", image[number:, number:])
    one, many = (train_workflow.evaluate_and_compare(tiny_run, each)[0] for each in (alone, bursts))
    assert many.groups is not None and len(set(many.groups.tolist())) == 20
    low, high = many.accuracy_interval
    assert high - low > 0.7 * (one.accuracy_interval[1] - one.accuracy_interval[0])
