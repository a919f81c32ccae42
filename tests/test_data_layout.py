from functools import partial

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from handful.data.layout import Layout, arrange
from handful.data.storage import FoundFile
from handful.errors import DataError

JPEG = b"\xff\xd8\xff\xe0"


def give(data: bytes, first: int | None = None) -> bytes:
    return data[:first]


def find(*paths: str) -> list[FoundFile]:
    """Files: pictures by their content where the name ends in none or in .jpg."""
    text = ("_DS_Store", ".txt", ".pth", ".xml", ".md5", ".pdf")
    return [FoundFile(path, partial(give, b"?" if path.endswith(text) else JPEG)) for path in paths]


def tree(*folders: str) -> list[str]:
    return [f"{folder}/{number}.jpg" for folder in folders for number in "12"]


def said(layout: Layout) -> dict[str, str]:
    """Class folder -> class and part."""
    return {
        file.path.rpartition("/")[0]: f"{file.class_name} {file.split}".strip()
        for file in layout.files
    }


@pytest.mark.parametrize(
    "names",
    ["training_set test_set", "Train Validation", "data_train data_val", "seg_train seg_test"],
)
@pytest.mark.parametrize("wrapper", ["", "archive/", "dataset/train_data/"])
def test_parts_by_the_names_in_use(names: str, wrapper: str) -> None:
    first, second = (f"{wrapper}{name}" for name in names.split())
    layout = arrange(find(*tree(f"{first}/a", f"{first}/b", f"{second}/a", f"{second}/b")))
    part = "validation" if "al" in names else "test"
    assert said(layout) == {
        f"{first}/a": "a train",
        f"{first}/b": "b train",
        f"{second}/a": f"a {part}",
        f"{second}/b": f"b {part}",
    }
    assert layout.outside == [] and layout.warnings == []


def test_parts_that_are_wrapped_in_folders_of_their_own_names() -> None:
    # Kaggle's cats and dogs, and its scenes.
    folders = ["training_set/training_set/a", "training_set/training_set/b"]
    folders += ["test_set/test_set/a", "test_set/test_set/b"]
    layout = arrange(find(*tree(*folders), "test_set/_DS_Store"))
    assert sorted(said(layout).values()) == ["a test", "a train", "b test", "b train"]
    scenes = [f"{part}/{part}/{kind}" for part in ("seg_train", "seg_test") for kind in "ab"]
    layout = arrange(find(*tree(*scenes, "seg_pred/seg_pred")))
    assert sorted(set(said(layout).values())) == ["a test", "a train", "b test", "b train"]
    (warning,) = layout.warnings
    assert '"seg_pred" (2 photos)' in warning
    layout = arrange(find(*tree("x_train/x_train/a", "x_train/x_train/b"), "x_test/x_test/1.jpg"))
    assert sorted(set(said(layout).values())) == ["a train", "b train"]
    (warning,) = layout.warnings
    assert '"x_test" (1 photo)' in warning


@pytest.mark.parametrize("beside", [["models/stage-1.pth"], ["notes/a.jpg"], ["models/plots/1.jpg"],
                                    ["models/x/1.jpg", "models/y/2.jpg"]])  # fmt: skip
@pytest.mark.parametrize("wrapper", ["", "k/"])
def test_what_lies_beside_parts_is_left_out_and_named(beside: list[str], wrapper: str) -> None:
    parts = tree("train/a", "train/b", "valid/a", "valid/b")
    layout = arrange(find(*(wrapper + path for path in parts + beside)))
    assert sorted(set(said(layout).values())) == [
        "a train",
        "a validation",
        "b train",
        "b validation",
    ]
    (warning,) = layout.warnings
    assert warning.startswith(f'Left out: "{wrapper}{beside[0].split("/")[0]}" (')
    assert f'"{wrapper}train", "{wrapper}valid"' in warning


def test_folders_that_hold_the_same_folders_are_asked_about() -> None:
    with pytest.raises(DataError) as caught:
        arrange(find(*tree("lot_a/cats", "lot_a/dogs", "lot_b/cats", "lot_b/dogs", "notes")))
    assert '"lot_a", "lot_b"' in str(caught.value) and '"cats", "dogs"' in str(caught.value)
    assert "train, validation or test" in str(caught.value) and "CSV" in str(caught.value)
    with pytest.raises(DataError, match="move cats/train to train/cats, and so on"):
        arrange(find(*tree("cats/train", "cats/val", "dogs/train", "dogs/val")))


@pytest.mark.parametrize("wrappers", ["CUB/images segmentations", "images/images masks/masks"])
def test_what_is_wrapped_around_the_same_folders_is_seen_through(wrappers: str) -> None:
    first, second = wrappers.split()
    folders = [f"{first}/a", f"{first}/b", f"{second}/a", f"{second}/b"]
    with pytest.raises(DataError, match=f'in each of them "a", "b".*those of {first}/a and'):
        arrange(find(*tree(*folders)))


@pytest.mark.parametrize("inside", ["", "/x", "/y"])
@pytest.mark.parametrize(
    "names", ["train_cats test_cats train_dogs test_dogs", "trainA testA trainB testB"]
)
def test_names_of_parts_and_classes_in_one_are_asked_about(names: str, inside: str) -> None:
    folders = [name + ending for name in names.split() for ending in {inside, inside and "/z"}]
    with pytest.raises(DataError, match="whose names tell parts and more") as caught:
        arrange(find(*tree(*folders)))
    assert all(f'"{name}"' in str(caught.value) for name in names.split())


def test_a_copy_of_the_whole_among_the_classes_is_asked_about() -> None:
    with pytest.raises(DataError, match='"flowers" in flowers with the folders "a", "b" in it'):
        arrange(find(*tree(*(f"flowers/{name}" for name in ("a", "b", "flowers/a", "flowers/b")))))


@pytest.mark.parametrize("container", ["train", "images", "Dataset"])
def test_a_folder_of_classes_beside_another_is_asked_about(container: str) -> None:
    with pytest.raises(DataError, match=f'"{container}" with the folders "a", "b" .* "models"'):
        arrange(find(*tree(f"{container}/a", f"{container}/b", "models/plots")))


def test_classes_may_have_folders_in_them() -> None:
    layout = arrange(find(*tree("cats/one", "dogs/one", "dogs/two", "birds")))
    assert set(said(layout).values()) == {"cats", "dogs", "birds"}
    assert layout.warnings == ['The folders "one", "two" in dogs count as one class, "dogs"']
    # "train" is a thing as well.
    assert set(said(arrange(find(*tree("train", "bus", "car")))).values()) == {
        "train",
        "bus",
        "car",
    }


@pytest.mark.parametrize("wrapper", ["PetImages/", "a/b/c/", "dataset/images/"])
@pytest.mark.parametrize(
    "strays",
    [["readme[1].txt", "MD5SUMS.md5"], ["licence.pdf", "annotations/1.xml"], ["cover.jpg"]],
)
def test_strays_beside_a_wrapper_decide_nothing(wrapper: str, strays: list[str]) -> None:
    files = find(*tree(f"{wrapper}Cat", f"{wrapper}Dog"), *strays, f"{wrapper}Cat/Thumbs.txt")
    layout = arrange(files)
    assert set(said(layout).values()) == {"Cat", "Dog"} and len(layout.files) == 5
    assert layout.outside == [path for path in strays if "/" not in path]
    assert [line.split(" (")[0] for line in layout.warnings] == [
        'Left out: "annotations"' for path in strays if "/" in path
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["_unsorted", "unlabelled", "Unlabeled images", "00_to_sort", "thumbs"]
)
@pytest.mark.parametrize("parts", [[""], ["train/", "val/"]])
def test_folders_that_wait_for_sorting_are_no_classes(name: str, parts: list[str]) -> None:
    layout = arrange(find(*tree(*(part + kind for part in parts for kind in ("a", "b", name)))))
    assert {file.class_name for file in layout.files} == {"a", "b"}
    assert len(layout.warnings) == len(parts)
    for part, warning in zip(parts, layout.warnings, strict=True):
        assert warning.startswith(f"The folder {part}{name} is left out: ")
        assert "name" in warning


@pytest.mark.parametrize("top", ["train", "archive", "images/photos"])
def test_what_waits_for_sorting_does_not_hide_the_classes(top: str) -> None:
    layout = arrange(find(*tree(f"{top}/a", f"{top}/b", "unlabelled")))
    assert {file.class_name for file in layout.files} == {"a", "b"}
    assert layout.warnings == [
        f'Left out: "unlabelled" (2 photos); the photos are taken from "{top}"'
    ]
    layout = arrange(find(*tree("unsorted/a", "unsorted/b")))
    assert {file.class_name for file in layout.files} == {"a", "b"} and layout.warnings == []


def test_other_names_with_an_underscore_are_classes_and_said() -> None:
    layout = arrange(find(*tree("a", "b", "_c")))
    assert {file.class_name for file in layout.files} == {"a", "b", "_c"}
    assert "The folder _c counts as a class" in layout.warnings[0]
    assert arrange(find(*tree("_a", "_b"))).warnings == []


@pytest.mark.parametrize(
    "folders", [[""], ["train/", "test/"], ["unsorted/"], ["train/images/", "val/images/"]]
)
def test_pictures_that_are_not_sorted_yet_are_said_to_be(folders: list[str]) -> None:
    files = find(*(f"{folder}{number}.jpg" for folder in folders for number in range(9)))
    message = (
        rf"{len(files)} photos that are not sorted into classes yet: {min(folders)}0\.jpg.*CSV"
    )
    with pytest.raises(DataError, match=message):
        arrange(files)


def test_a_folder_without_pictures_is_no_class() -> None:
    layout = arrange(find(*tree("a", "b"), "models/stage-1.pth"), ["c", "a/old"])
    assert layout.warnings == [
        'The folder c has no files in it, so "c" is no class',
        'The folder models has no photos in it, so "models" is no class',
    ]


@pytest.mark.parametrize(
    ("test", "empty", "num"), [("notes.txt", [], 0), ("x.jpg", [], 2), ("", ["test"], 0)]
)
def test_a_part_without_class_folders_is_left_out(test: str, empty: list[str], num: int) -> None:
    parts = tree("train/a", "train/b", "val/a", "val/b")
    layout = arrange(find(*parts, *([f"test/{test}", f"test/2{test}"] if test else [])), empty)
    assert len(layout.files) == 8 and layout.outside == []
    assert layout.warnings == [
        f'Left out: "test" ({num} photos); the photos are taken from "train", "val"'
    ]


def test_a_part_without_labels_is_left_out_and_named() -> None:
    layout = arrange(find(*tree("train/a", "train/b", "test/unknown")))
    assert sorted(said(layout).values()) == ["a train", "b train"]
    assert layout.warnings == ['Left out: "test" (2 photos); the photos are taken from "train"']
    layout = arrange(find(*tree("train/a", "train/b", "test/A")))  # a class, misspelt
    assert "A test" in said(layout).values()


def test_names_that_hold_whole_paths_of_windows_are_paths() -> None:
    layout = arrange(find("photos\\a\\1.jpg", "photos\\b\\2.jpg", "photos\\notes.txt"))
    assert [file.class_name for file in layout.files] == ["a", "b"]
    assert layout.files[0].path == "photos\\a\\1.jpg"
    layout = arrange(find(*tree("a\\b", "a\\c")))
    assert {file.class_name for file in layout.files} == {"a\\b", "a\\c"}


def test_pictures_are_told_by_content_where_names_tell_nothing() -> None:
    layout = arrange(find("a/1", "a/2", "b/1.dat", "c/1.txt"))
    assert {file.class_name for file in layout.files} == {"a", "b"}


def test_accents_in_one_character_or_two_are_one_class() -> None:
    layout = arrange(find(*tree("train/caf\u00e9", "train/b", "val/cafe\u0301", "val/b")))
    assert {file.class_name for file in layout.files} == {"caf\u00e9", "b"}


def test_folders_of_any_depth_are_seen_through() -> None:
    deep = "x/" * 3000
    layout = arrange(find(*tree(f"a/{deep}y", "b")))
    assert {file.class_name for file in layout.files} == {"a", "b"}


FOLDERS = st.lists(
    st.sampled_from(
        ["a", "b", "cats", "train", "val", "test_set", "images", "unsorted", "_x", "x\\y"]
    ),
    max_size=4,
)
FILES = st.sampled_from(["1.jpg", "2.jpg", "3", "notes.txt", "weights.pth"])


@pytest.mark.slow
@given(st.lists(st.tuples(FOLDERS, FILES), max_size=12))
@example(
    [
        (["a", "a", "train"], "1.jpg"),
        (["a", "a", "val"], "1.jpg"),
        (["train", "train", "train"], "1.jpg"),
        (["train", "train", "val"], "1.jpg"),
    ]
)
@settings(max_examples=300)
def test_no_picture_vanishes_without_a_word(found: list[tuple[list[str], str]]) -> None:
    files = find(*{"/".join((*folders, name)) for folders, name in found})
    try:
        layout = arrange(files)
    except DataError as error:
        ways = ("CSV", " alone", "Parts are expected around classes: move ")
        assert str(error).startswith("has ") and any(way in str(error) for way in ways)
        return
    named = "\n".join(layout.warnings)
    kept = {file.path for file in layout.files} | set(layout.outside)
    for file in files:
        places = ["/".join(file.parts[:depth]) for depth in range(1, len(file.parts))]
        assert file.path in kept or any(
            f'"{place}" (' in named or f"The folder {place} " in named or " more; the" in named
            for place in places
        )
    classes = {file.class_name for file in layout.files}
    assert classes == {""} or "" not in classes
