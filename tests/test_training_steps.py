"""Whatever the door, nothing that belongs together is on both sides, or a warning names it."""

import csv
import logging
import shutil
from collections.abc import Iterator
from functools import cache
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import handful
from conftest import draw_photo, write_photo
from handful.config import TrainConfig
from handful.data.index import load_index
from handful.data.splits import Split, read_manifest, stratified_folds
from handful.features.conversion import FrozenNetwork
from handful.workflows import curve as curve_workflow
from handful.workflows import train as train_workflow
from handful.workflows.check import check


@cache
def shot(number: int) -> NDArray[np.uint8]:
    return draw_photo(("round", "square")[number % 2], number, (180, 200))


def altered(image: NDArray[np.uint8], how: str) -> NDArray[np.uint8]:
    if how == "halved":
        return cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    if how == "darker":
        return (image * 0.5).astype(np.uint8)
    if how == "moved":
        return image[6:, :-5]
    return image


def noise_shots(folder: Path, num_shots: int = 20) -> Path:
    """Pure noise, each shot saved at three qualities, with labels drawn at random."""
    rng = np.random.default_rng(3)
    for number in range(num_shots):
        image = rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)
        target = folder / ("a", "b")[int(rng.integers(2))]
        target.mkdir(parents=True, exist_ok=True)
        for quality in (95, 80, 60):
            name = str(target / f"{number:02d}-{quality}.jpg")
            assert cv2.imwrite(name, image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return folder


def sides(split: Split) -> list[set[str]]:
    """Shots of the noise photos by part."""
    return [
        {path.split("/")[1][:2] for path in split.part(n).paths} for n in ("train", "validation")
    ]


def test_a_split_of_ones_own_keeps_copies_together(
    tmp_path: Path, tiny_backbone: FrozenNetwork
) -> None:
    folder = noise_shots(tmp_path / "photos")
    split = handful.split_index(load_index(folder))
    assert not set.intersection(*sides(split))
    assert len(split.duplicates) == 60 and split.leaks == () == split.index.warnings
    trained = train_workflow.train(split, output=False)
    assert (
        trained.split.part_names() == train_workflow.train(folder, output=False).split.part_names()
    )
    assert trained.evaluation.accuracy < 0.9


def test_a_split_by_hand_is_looked_through(tmp_path: Path, tiny_backbone: FrozenNetwork) -> None:
    index = load_index(noise_shots(tmp_path / "photos"))
    rows = np.arange(60)
    by_hand = Split(
        index, rows[rows % 3 > 0], rows[rows % 3 == 0], rows[:0], rows, (), (), rows[:0]
    )
    run = train_workflow.train(by_hand, output=False)
    assert len(run.split.leaks) == 40
    (warning,) = run.problems()["warnings"]
    one, other = run.problems()["leaks"][0]
    assert warning.startswith("40 pairs of near-duplicates are in train and in validation")
    assert f"{other} = {one}" in warning or f"{one} = {other}" in warning
    # What belongs together stays in one fold of what is fitted to the training photos.
    folds = stratified_folds(index.labels, run.split.groups, 3)
    assert all(len(set(folds[run.split.groups == group].tolist())) == 1 for group in range(20))
    assert len(set(run.split.groups.tolist())) == 20


def test_leaks_of_a_split_by_hand_can_be_dropped(
    tmp_path: Path, tiny_backbone: FrozenNetwork
) -> None:
    index = load_index(noise_shots(tmp_path / "photos"))
    rows = np.arange(60)
    held = np.isin(rows, (0, 3, 6, 57, 54))
    by_hand = Split(index, rows[~held], rows[held], rows[:0], rows, (), (), rows[:0])
    run = train_workflow.train(by_hand, TrainConfig(drop_leaks=True), output=False)
    assert len(run.split.leaks) == len(run.split.dropped) == 10
    assert not set.intersection(*sides(run.split))
    assert run.problems()["warnings"] == []


def test_a_given_split_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "photos"
    for number in range(16):
        part = ("train", "validation")[number % 4 == 3]
        write_photo(folder / part / ("a", "b")[number % 2] / f"{number}.png", shot(number))
    write_photo(folder / "train" / "b" / "again.jpg", altered(shot(3), "halved"))
    write_photo(folder / "train" / "a" / "more.jpg", shot(20))
    write_photo(folder / "validation" / "a" / "4.png", shot(24))
    with caplog.at_level(logging.WARNING, "handful"):
        split = handful.split_index(load_index(folder))
    (i, j) = split.leaks[0]
    assert len(split.leaks) == 1
    assert {split.index.paths[i], split.index.paths[j]} == {
        "train/b/again.jpg",
        "validation/b/3.png",
    }
    (warning,) = split.index.warnings
    assert warning.endswith("train/b/again.jpg = validation/b/3.png")
    assert caplog.messages == [warning]
    dropped = handful.split_index(load_index(folder), drop_leaks=True)
    assert [dropped.index.paths[row] for row in dropped.dropped] == ["train/b/again.jpg"]
    assert dropped.index.warnings == ()


def test_photos_that_cannot_be_decoded_are_in_no_part(photo_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(photo_folder, tmp_path / "photos")
    damaged = folder / "round" / "003.jpg"
    damaged.write_bytes(damaged.read_bytes()[:900])
    split = handful.split_index(load_index(folder))
    assert len(split.index) == 47 and split.index.rejected[0].path == "round/003.jpg"


@pytest.mark.slow
def test_values_that_were_scaled_are_told_once(
    photo_folder: Path, tmp_path: Path, tiny_backbone: FrozenNetwork
) -> None:
    folder = shutil.copytree(photo_folder, tmp_path / "photos")
    for number in range(6):
        deep = draw_photo("round", 90 + number).astype(np.uint16)[:, :, number % 3] * 16
        assert cv2.imwrite(str(folder / "round" / f"deep{number}.png"), deep)
    sentence = (
        "6 photos with 16 bits a sample use 12 of them: 4,095 was taken for white, not 65,535"
    )
    for _ in range(2):  # the second time from the cache
        assert check(folder, output=False).index.warnings.count(sentence) == 1
    train_workflow.train(folder, output=tmp_path / "run")
    assert (tmp_path / "run" / "run.json").read_text("utf-8").count(sentence) == 1


@pytest.mark.slow
@pytest.mark.parametrize("config", [{}, {"resize": "squash"}, {"image_size": 64}])
def test_one_seed_gives_one_split_whatever_is_trained(
    config: dict[str, object], tmp_path: Path, tiny_backbone: FrozenNetwork
) -> None:
    """Doubtful pairs as well: those alike in the whole, and those alike in their light alone."""
    folder = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for number in range(30):
        image = shot(2 * (number // 2)).astype(float)
        grain = rng.normal(0, 4 * number, (20, 20, 3))
        grain = cv2.resize(grain, (200, 180), interpolation=cv2.INTER_CUBIC)
        image = np.clip(image + number % 2 * grain, 0, 255).astype(np.uint8)
        write_photo(folder / ("a", "b")[number // 2 % 2] / f"{number}.png", image)
    seen = []
    for strategy in ("transfer", "scratch"):
        options = {} if strategy == "transfer" else {"epochs": 1, "recipe": "keras-tutorial"}
        asked = TrainConfig(strategy=strategy, seed=7, **options, **config)  # type: ignore[arg-type]
        seen.append(train_workflow.train(folder, asked, output=False).split)
    seen.append(handful.split_index(load_index(folder), seed=7))
    found = check(folder, TrainConfig(seed=7), output=False).split
    assert found is not None
    seen.append(found)
    for split in seen:
        assert split.part_names() == seen[0].part_names()
        assert split.duplicates == seen[0].duplicates
        assert split.groups.tolist() == seen[0].groups.tolist()
    train_workflow.freeze_split(folder, TrainConfig(seed=7), tmp_path / "split.csv")
    manifest = read_manifest(tmp_path / "split.csv")
    hashes, parts = seen[0].index.content_hashes, seen[0].part_names()
    assert manifest == dict(zip(hashes, parts, strict=True))
    assert 0 < len(seen[0].duplicates) < 15, seen[0].duplicates


Photo = tuple[int, str, str, int]  # shot, how it was altered, part, group


def written(folder: Path, layout: str, photos: list[Photo]) -> tuple[Path, list[str]]:
    """Photos as a folder, a folder of parts, or a table, and the path of each."""
    paths = []
    for number, (which, how, part, _) in enumerate(photos):
        label = ("a", "b")[which % 2]
        name = f"{label}/{number}.png"
        paths.append(f"{part}/{name}" if layout == "parts" else name)
        write_photo(folder / paths[-1], altered(shot(which), how))
    if layout in ("folders", "parts"):
        return folder, paths
    with (folder / "table.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "label", "split", "group"))
        for path, (which, _, part, group) in zip(paths, photos, strict=True):
            given = part if layout == "table with parts" else ""
            rows.writerow((path, ("a", "b")[which % 2], given, f"g{group}" if group else ""))
    return folder / "table.csv", paths


def doors(source: Path, folder: Path) -> Iterator[Split]:
    """Every public way to a split of photos."""
    index = load_index(source)
    own = handful.split_index(index)
    yield own
    yield train_workflow.train(own, output=False).split
    run = train_workflow.train(source, output=folder / "run")
    yield run.split
    yield train_workflow.train(
        source, TrainConfig(seed=5), split=folder / "run" / "split.csv", output=False
    ).split
    # A manifest that knows of none of this.
    careless = "".join(
        f"{content},{('train', 'validation')[row % 3 == 0]},{index.class_names[label]},{path}\n"
        for row, (content, label, path) in enumerate(
            zip(index.content_hashes, index.labels, index.paths, strict=True)
        )
    )
    (folder / "careless.csv").write_text("content_hash,split,class_name,path\n" + careless)
    yield train_workflow.train(source, split=folder / "careless.csv", output=False).split
    rows = np.arange(len(index))
    held = np.isin(rows, run.split.validation[::2])
    yield train_workflow.train(
        Split(index, rows[~held], rows[held], rows[:0], rows, (), (), rows[:0]), output=False
    ).split
    train_workflow.freeze_split(source, TrainConfig(seed=2), folder / "frozen.csv")
    yield train_workflow.train(source, split=folder / "frozen.csv", output=False).split
    found = check(source, output=False).split
    assert found is not None
    yield found


def belong_together(photos: list[Photo], layout: str) -> list[tuple[int, int]]:
    has_groups = layout.startswith("table")
    return [
        (i, j)
        for i, j in combinations(range(len(photos)), 2)
        if photos[i][0] == photos[j][0]
        or (has_groups and photos[i][3] and photos[i][3] == photos[j][3])
    ]


def assert_held_together(
    split: Split, pairs: list[tuple[str, str]], groups: dict[str, int]
) -> None:
    row_of = {path: row for row, path in enumerate(split.index.paths)}
    parts, told = split.part_names(), "\n".join(split.index.warnings)
    for one, other in pairs:
        i, j = row_of[one], row_of[other]
        assert split.groups[i] == split.groups[j], (one, other)
        if parts[i] and parts[j] and parts[i] != parts[j]:
            named = (one in told and other in told) or f'"g{groups[one]}"' in told
            assert named, (one, other, told)


@pytest.mark.slow
@given(
    st.sampled_from(["folders", "parts", "table", "table with parts"]),
    st.lists(
        st.tuples(
            st.integers(0, 11),
            st.sampled_from(["same", "halved", "darker", "moved"]),
            st.sampled_from(["train", "validation"]),
            st.integers(0, 3),
        ),
        max_size=8,
    ),
)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_door_divides_what_belongs_together(
    tiny_backbone: FrozenNetwork,
    tmp_path_factory: pytest.TempPathFactory,
    layout: str,
    more: list[Photo],
) -> None:
    # Enough that belongs to nothing else, so that no class is one group.
    alone = (*range(12), *range(40, 48))
    plain = [(n, "same", ("train", "validation")[n % 4 > 1], 0) for n in alone]
    photos = [*plain, *more]
    folder = tmp_path_factory.mktemp("doors")
    source, paths = written(folder / "photos", layout, photos)
    pairs = [(paths[i], paths[j]) for i, j in belong_together(photos, layout)]
    groups = {path: photo[3] for path, photo in zip(paths, photos, strict=True)}
    given_by_user = layout.endswith("parts")
    for number, split in enumerate(doors(source, folder)):
        assert_held_together(split, pairs, groups)
        # Where the parts are ours, nothing is divided, and nothing to warn of.
        if not given_by_user and number in (0, 1, 2, 3, 6, 7):
            assert split.leaks == () == split.index.warnings
    shutil.rmtree(folder)


@pytest.mark.slow
def test_a_curve_holds_groups_together(
    tmp_path: Path, tiny_backbone: FrozenNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = [(2 * number + number // 4 % 2, "same", "", 1 + number // 4) for number in range(64)]
    table, _ = written(tmp_path / "photos", "table", photos)
    held = []
    measured = curve_workflow.measure_curve

    def watched(*arguments: object, **options: object) -> object:
        held.append(arguments[3])
        return measured(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(curve_workflow, "measure_curve", watched)
    curve_workflow.curve(table, output=False)
    split = handful.split_index(load_index(table))
    assert len(set(split.groups.tolist())) == 16
    assert held[0].tolist() == split.groups.tolist()  # type: ignore[attr-defined]
