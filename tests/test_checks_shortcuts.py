"""Whether side information gives the classes away."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from handful.checks.shortcuts import FILE_SIZE, LEAST_PHOTOS, Shortcut, measure_shortcuts
from handful.data.metadata import MEASURES, FileMetadata

CLASSES = ("cat", "dog")


def make(
    num_photos: int = 200, num_classes: int = 2, seed: int = 0
) -> tuple[list[FileMetadata], np.ndarray, np.ndarray]:
    """Photos of which nothing tells the class: metadata, measures, labels."""
    rng = np.random.default_rng(seed)
    metadata = [
        FileMetadata(
            "JPEG",
            int(rng.integers(200, 800)),
            int(rng.integers(200, 800)),
            "YCbCr",
            int(rng.integers(10_000, 90_000)),
            str(rng.choice(["", "Nikon D90", "Pixel 4"])),
            str(rng.choice(["aa", "bb"])),
        )
        for _ in range(num_photos)
    ]
    measures = rng.random((num_photos, len(MEASURES))).astype(np.float32)
    return metadata, measures, np.arange(num_photos) % num_classes


def find(
    metadata: list[FileMetadata],
    measures: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray | None = None,
    names: tuple[str, ...] = CLASSES,
    extensions: list[str] | None = None,
) -> dict[str, Shortcut]:
    groups = np.arange(len(labels)) if groups is None else groups
    found = measure_shortcuts(
        metadata, extensions or [".jpg"] * len(labels), measures, labels, names, groups
    )
    assert [s.balanced_accuracy for s in found] == sorted(
        (s.balanced_accuracy for s in found), reverse=True
    )
    return {shortcut.name: shortcut for shortcut in found}


SIZE, FORMAT, BORDER = (
    "photo dimensions",
    "file format, encoder and camera",
    "border color",
)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("num_classes", [2, 4])
def test_where_there_is_none_chance_is_in_reach(seed: int, num_classes: int) -> None:
    found = find(*make(200, num_classes, seed), names=tuple("abcd"[:num_classes]))
    assert set(found) == {SIZE, FILE_SIZE, FORMAT, BORDER}
    for shortcut in found.values():
        assert shortcut.chance == 1 / num_classes
        assert shortcut.interval[0] < shortcut.balanced_accuracy < shortcut.interval[1]
        assert shortcut.lift < 0.1


def change(
    metadata: list[FileMetadata], labels: np.ndarray, **values: object
) -> list[FileMetadata]:
    return [
        replace(fact, **values) if label else fact
        for fact, label in zip(metadata, labels, strict=True)
    ]


@pytest.mark.parametrize(
    ("values", "name", "feature"),
    [
        ({"width": 640}, SIZE, "width"),
        ({"num_bytes": 120_000}, FILE_SIZE, "bytes"),
        ({"format": "PNG", "encoder": ""}, FORMAT, "format"),
        ({"camera": "Canon EOS 5D"}, FORMAT, "camera"),
        ({"encoder": "cc"}, FORMAT, "JPEG encoder"),
        ({"mode": "Gray"}, FORMAT, "color mode"),
    ],
)
def test_a_class_made_in_another_way_is_told(
    values: dict[str, object], name: str, feature: str
) -> None:
    metadata, measures, labels = make()
    found = find(change(metadata, labels, **values), measures, labels)
    assert found[name].balanced_accuracy > 0.95 and found[name].lift > 0.8
    assert found[name].most_telling == feature
    for other in {SIZE, FORMAT, BORDER} - {name}:
        assert found[other].lift < 0.1


def test_a_frame_is_told_by_the_border() -> None:
    metadata, measures, labels = make()
    measures[labels == 1, MEASURES.index("top_red")] += 0.8
    found = find(metadata, measures, labels)
    assert found[BORDER].lift > 0.5 and found[BORDER].most_telling == "top red"
    assert found[BORDER].by_class[0].startswith("cat: median 0.")


def test_the_file_ending_counts_too() -> None:
    metadata, measures, labels = make()
    endings = [".jpeg" if label else ".jpg" for label in labels]
    found = find(metadata, measures, labels, extensions=endings)[FORMAT]
    assert found.most_telling == "file ending" and found.lift > 0.8
    assert found.by_class == ("cat: .jpg in 100 %", "dog: .jpeg in 100 %")


def test_small_and_unequal_classes_are_told_alike() -> None:
    metadata, measures, labels = make()
    labels = (np.arange(200) < 20).astype(np.int64)
    silent = find(metadata, measures, labels)
    assert all(shortcut.lift < 0.15 for shortcut in silent.values())
    told = find(change(metadata, labels, width=640), measures, labels)[SIZE]
    assert told.balanced_accuracy > 0.9


def test_what_is_the_same_everywhere_is_no_information() -> None:
    _, measures, labels = make()
    metadata = [FileMetadata("PNG", 300, 300, "L", 1000, "", "")] * 200
    assert set(find(metadata, measures, labels)) == {BORDER}


def test_copies_neither_help_nor_count() -> None:
    """Ten photos, each there twenty times: side information must not name them by heart."""
    metadata, measures, labels = make(10)
    groups = np.arange(10).repeat(20)
    found = find(
        [metadata[group] for group in groups], measures[groups], labels[groups], groups=groups
    )
    for shortcut in found.values():
        assert shortcut.lift < 0.1
        low, high = shortcut.interval
        assert high - low > 0.25


def test_few_photos_say_nothing() -> None:
    metadata, measures, labels = make(LEAST_PHOTOS - 1)
    assert find(metadata, measures, labels) == {}
    metadata, measures, labels = make(40)
    one_group = np.where(labels == 1, 0, np.arange(40))
    assert find(metadata, measures, labels, groups=one_group) == {}


def test_the_same_photos_give_the_same_answer() -> None:
    photos = make()
    assert find(*photos) == find(*photos)


def test_plain_values_have_every_name() -> None:
    shortcut = Shortcut("size", 0.9, (0.8, 0.95), 0.5, "width", ("cat: median 3",))
    assert shortcut.lift == pytest.approx(0.6)
    assert shortcut.to_dict() == {
        "name": "size",
        "balanced_accuracy": 0.9,
        "interval": [0.8, 0.95],
        "chance": 0.5,
        "most_telling": "width",
        "by_class": ["cat: median 3"],
        "lift": shortcut.lift,
    }


@pytest.mark.real
def test_cats_and_dogs_have_a_weak_one(shared_folder: Path) -> None:
    """File size tells a little: 60 of 100, where guessing tells 50."""
    from handful.data.decoding import DecodeSettings, decode
    from handful.data.index import load_index
    from handful.data.metadata import measure, read_metadata

    (archive,) = (shared_folder / "data").rglob("cats_and_dogs_filtered.zip")
    index = load_index(archive)
    index = index.select(range(0, len(index), 4))
    files = [index.read(row) for row in range(len(index))]
    measures = np.stack([measure(decode(file, DecodeSettings(224))) for file in files])
    found = measure_shortcuts(
        [read_metadata(file) for file in files],
        [".jpg"] * len(index),
        measures,
        index.labels,
        index.class_names,
        np.arange(len(index)),
    )
    assert all(shortcut.lift < 0.3 for shortcut in found)
