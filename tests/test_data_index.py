import os
import shutil
import socket
import tracemalloc
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handful.data.ignored import mark_figure
from handful.data.index import ImageIndex, load_index, load_unlabeled
from handful.data.storage import read_file
from handful.errors import DataError, UsageError
from photo_files import PNG, labeled, pack, put


def test_a_photo_takes_few_bytes() -> None:
    """Whatever its path takes as UTF-8, and 50 bytes: a million photos are no more than 150 MB."""
    count, root = 20_000, Path("/photos/of/some/camera/traps")
    paths = [f"season 1/site {row % 200:03d}/IMG_{row:07d}.jpg" for row in range(count)]
    readers = [partial(read_file, root / path) for path in paths]
    hashes = [f"{row * 7919:032x}" for row in range(count)]
    labels, splits = np.arange(count) % 2, ["train"] * count
    tracemalloc.start()
    index = ImageIndex(root, paths, labels, ("a", "b"), splits, hashes, (), (), readers)
    del readers, hashes, splits
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept / count < len(paths[0]) + 50
    assert index.readers[7].args == (root / paths[7],)
    again = index.select(np.arange(count)[::-1])
    assert again.paths == paths[::-1] and again.readers[7].args == (root / paths[-8],)


def test_class_folders(tmp_path: Path) -> None:
    put(tmp_path, "dogs/b.png", "cats/deep/er/c.png", "cats/a.png")
    index = load_index(tmp_path)
    assert index.paths == ("cats/a.png", "cats/deep/er/c.png", "dogs/b.png")
    assert index.labels.tolist() == [0, 0, 1] and index.labels.dtype == np.int64
    assert index.class_names == ("cats", "dogs")
    assert index.splits == ("", "", "")
    assert index.read(1) == PNG + b"cats/deep/er/c.png"
    assert index.counts() == {"all": {"cats": 2, "dogs": 1}}
    assert index.rejected == () and index.warnings == ()


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Validation", "VAL"])
def test_split_folders_by_any_of_their_names(tmp_path: Path, validation: str) -> None:
    put(
        tmp_path, "train/a/1.png", "train/b/2.png", f"{validation}/a/3.png", f"{validation}/b/4.png"
    )
    put(tmp_path, "test/a/5.png", "test/b/6.png")
    index = load_index(tmp_path)
    assert index.splits == ("train", "train", "validation", "validation", "test", "test")
    assert index.class_names == ("a", "b")


def test_classes_are_mapped_by_name_not_by_place(tmp_path: Path) -> None:
    put(tmp_path, "train/b/1.png", "train/c/2.png", "train/a/0.png")
    put(tmp_path, "test/c/3.png", "test/a/5.png")
    with pytest.raises(DataError, match='the test part has no photo of "b", which other parts'):
        load_index(tmp_path)
    put(tmp_path, "test/B/4.png")
    with pytest.raises(DataError, match='The classes "B", "b" differ in capitals or spaces alone'):
        load_index(tmp_path)
    (tmp_path / "test/B").rename(tmp_path / "test/b")
    assert labeled(load_index(tmp_path))["test/c/3.png"] == "c test"


def test_no_path_is_not_the_current_folder() -> None:
    with pytest.raises(UsageError, match="`photos` is ''; expected a folder, a zip or a CSV"):
        load_index("")


def test_a_figure_that_handful_drew_is_no_photo(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/2.png")
    photo = PNG + bytes(25) + b"IDAT"
    (tmp_path / "a" / "0-explained.png").write_bytes(mark_figure(photo))
    index = load_index(tmp_path)
    assert len(index) == 2
    assert [file.reason for file in index.rejected] == ["is a figure that handful drew"]


def test_files_beside_the_classes_are_reported(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/2.png", "3.png")
    (file,) = load_index(tmp_path).rejected
    assert (file.path, file.reason) == ("3.png", "lies outside every class folder")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"is empty (0 bytes)"),
        (b"hello, I am a text\n" * 9, "is not a photo: it looks like text"),
        (b"<!DOCTYPE html><html>", "it looks like a web page"),
        (b"%PDF-1.7", "it looks like a PDF"),
        (
            b"<svg xmlns='x'/>",
            "is an SVG drawing, which handful does not read; save it as JPEG or PNG",
        ),
        (
            b"\0\0\0\x18ftypcrx \0\0",
            "is a camera's raw file (Canon CR3), which handful does not read",
        ),
        (b"\xff\x0a" + bytes(40), "is a JPEG XL image, which handful does not read; save it"),
        (b"\0\0\0\x18ftypisom\0\0", "it looks like a video"),
        (b"PK\x03\x04" + bytes(40), "it looks like a zip archive or office document"),
        (bytes(range(200, 256)) * 9, "it looks like data of an unknown kind"),
    ],
)
def test_what_is_no_picture_is_rejected_with_its_looks(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    put(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "a" / "photo.jpg").write_bytes(content)
    (file,) = load_index(tmp_path).rejected
    assert file.path == "a/photo.jpg"
    assert reason in file.reason


def test_names_do_not_decide_formats(tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "a/2.txt", "b/no_extension")
    assert len(load_index(tmp_path)) == 3


def test_one_picture_in_two_classes_is_a_warning(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/2.png")
    shutil.copy(tmp_path / "a" / "1.png", tmp_path / "b" / "copy.png")
    shutil.copy(tmp_path / "a" / "1.png", tmp_path / "a" / "copy.png")
    (warning,) = load_index(tmp_path).warnings
    assert warning == "The same photo is labeled a and b: a/1.png, b/copy.png"


def test_classes_that_differ_in_case_alone_are_said(tmp_path: Path) -> None:
    index = load_index(put(tmp_path, "Cats/1.png", "cats/2.png", "dogs/3.png"))
    assert index.class_names == ("Cats", "cats", "dogs")
    (warning,) = index.warnings
    assert warning.startswith('The classes "Cats", "cats" differ in capitals or spaces alone')


def test_a_missing_path_is_named_with_what_is_near(tmp_path: Path) -> None:
    put(tmp_path / "photos", "a/1.png")
    with pytest.raises(DataError, match=r"photo does not exist; did you mean .*photos\?"):
        load_index(tmp_path / "photo")
    with pytest.raises(DataError, match=r"elsewhere does not exist\."):
        load_index(tmp_path / "elsewhere")


def test_nothing_to_learn_from_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no photos\. Expected a folder for each class"):
        load_index(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.jpg").write_text("text")
    with pytest.raises(DataError, match=r"has 1 files, none of them a usable photo: a/x\.jpg is"):
        load_index(tmp_path)
    put(tmp_path, "a/1.png", "a/2.png")
    with pytest.raises(DataError, match='has one class, "a"; a classifier needs 2'):
        load_index(tmp_path)
    put(tmp_path, "loose.png")
    with pytest.raises(DataError, match=r"one class.* 2 files cannot be used: loose\.png lies"):
        load_index(tmp_path)
    assert len(load_index(tmp_path, least_classes=1)) == 2


def test_a_flat_folder_of_pictures_is_told_so(tmp_path: Path) -> None:
    put(tmp_path, "1.png", "2.png")
    with pytest.raises(DataError, match=r"has 2 photos that are not sorted .*: 1\.png, 2\.png"):
        load_index(tmp_path)


@pytest.mark.parametrize(
    ("content", "looks"),
    [(PNG + b"x", "a single photo"), (b"just words here", "text"), (b"", "data of an unknown")],
)
def test_a_file_instead_of_a_folder(tmp_path: Path, content: bytes, looks: str) -> None:
    (tmp_path / "photos").write_bytes(content)
    with pytest.raises(DataError, match=f"photos is {looks}.*; expected a folder of class folders"):
        load_index(tmp_path / "photos")


def test_a_changed_or_lost_file_is_noticed(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/2.png")
    index = load_index(tmp_path)
    (tmp_path / "a" / "1.png").write_bytes(PNG + b"other")
    with pytest.raises(DataError, match="has changed while it was being used"):
        index.read(0)
    (tmp_path / "b" / "2.png").unlink()
    with pytest.raises(DataError, match=r"cannot be read \(No such file"):
        index.read(1)


def test_selecting_and_rejecting_leave_the_rest_alone(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "a/2.png", "b/3.png", "b/4.png")
    index = load_index(tmp_path)
    some = index.select([2, 0])
    assert some.paths == ("b/3.png", "a/1.png") and some.labels.tolist() == [1, 0]
    assert some.class_names == ("a", "b") and some.read(0) == index.read(2)
    rest = index.without({1: "is truncated"})
    assert rest.paths == ("a/1.png", "b/3.png", "b/4.png")
    assert [(f.path, f.reason) for f in rest.rejected] == [("a/2.png", "is truncated")]
    assert len(index) == 4 and index.rejected == ()


def test_labels_are_carried_to_another_list_of_classes(tmp_path: Path) -> None:
    put(tmp_path, "b/1.png", "c/2.png")
    index = load_index(tmp_path).with_class_names(("a", "c", "b"))
    assert labeled(index) == {"b/1.png": "b", "c/2.png": "c"}
    with pytest.raises(DataError, match='has the class "c"; the classifier knows "a", "b"'):
        load_index(tmp_path).with_class_names(("a", "b"))


def test_the_digest_is_that_of_contents_classes_and_parts(tmp_path: Path) -> None:
    put(tmp_path / "one", "a/1.png", "b/2.png")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    (tmp_path / "two" / "a" / "1.png").rename(tmp_path / "two" / "a" / "renamed.png")
    first = load_index(tmp_path / "one").digest()
    assert load_index(tmp_path / "two").digest() == first
    (tmp_path / "two" / "a").rename(tmp_path / "two" / "z")
    assert load_index(tmp_path / "two").digest() != first


def test_unlabeled_photos_of_all_kinds_of_places(tmp_path: Path) -> None:
    put(tmp_path, "one.png", "more/b.png", "more/a/c.png", "more/.hidden.png")
    (tmp_path / "more" / "note.txt").write_text("a note")
    pack(tmp_path / "packed.zip", "x/d.png", "__MACOSX/._d.png")
    sources = ["one.png", "more", "packed.zip", "absent.png"]
    index = load_unlabeled([tmp_path / source for source in sources])
    assert [path.removeprefix(f"{tmp_path}/") for path in index.paths] == [
        "one.png",
        "more/a/c.png",
        "more/b.png",
        "packed.zip/x/d.png",
    ]
    assert index.labels.tolist() == [-1] * 4 and index.class_names == ()
    assert index.read(3) == PNG + b"x/d.png"
    reasons = {file.path.removeprefix(f"{tmp_path}/"): file.reason for file in index.rejected}
    assert sorted(reasons) == ["absent.png", "more/note.txt"]
    assert reasons["absent.png"].startswith("does not exist")
    with pytest.raises(ValueError, match="no photos were given"):
        load_unlabeled([])


def test_places_without_photos_are_named(tmp_path: Path) -> None:
    put(tmp_path, "one.png", "hidden/@eaDir/two.png")
    (tmp_path / "empty").mkdir()
    with zipfile.ZipFile(tmp_path / "folders.zip", "w") as archive:
        archive.writestr("inside/", b"")
    sources = [tmp_path / name for name in ("one.png", "hidden", "empty", "folders.zip")]
    index = load_unlabeled(sources)
    assert index.paths == (str(sources[0]),)
    assert [(file.path, file.reason) for file in index.rejected] == [
        (str(source), "has no photos in it") for source in sources[1:]
    ]


def put_other_kinds(folder: Path) -> set[str]:
    """Names of what lies in the folder now, and is no file."""
    (folder / "zero.jpg").symlink_to("/dev/zero")
    (folder / "gone.jpg").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as opened:
        os.chdir(folder)  # a socket's name may not be long
        opened.bind("socket.jpg")
    return {"zero.jpg", "gone.jpg", "pipe.jpg", "socket.jpg"}


def test_pipes_and_devices_among_photos_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path, "a/1.png", "b/2.png")
    names = put_other_kinds(tmp_path / "a")
    reasons = {file.path: file.reason for file in load_index(tmp_path).rejected}
    assert set(reasons) == {f"a/{name}" for name in names}
    assert reasons["a/pipe.jpg"] == "cannot be read (it is a named pipe, not a file)"
    assert reasons["a/zero.jpg"] == "cannot be read (it is a device, not a file)"
    sources = [tmp_path / "a" / name for name in sorted(names)]
    sources += [tmp_path / ("n" * 300), Path("null\0character"), tmp_path / "a" / "1.png" / "x"]
    index = load_unlabeled([tmp_path / "b", *sources])
    assert index.paths == (str(tmp_path / "b" / "2.png"),)
    assert [Path(file.path) for file in index.rejected] == sources
    for source in sources:
        with pytest.raises(DataError) as caught:
            load_index(source)
        assert "\n" not in str(caught.value)


def test_a_hostile_zip_among_photos_is_reported_not_raised(tmp_path: Path) -> None:
    put(tmp_path, "one.png")
    pack(tmp_path / "bad.zip", "../../out.png")
    index = load_unlabeled([tmp_path / "one.png", tmp_path / "bad.zip"])
    assert len(index) == 1
    assert "points outside the archive" in index.rejected[0].reason


NAMES = st.text("abcxyz .-_äß", min_size=1, max_size=6).filter(
    lambda name: name.strip(" .") == name and not name.startswith(".")
)


@given(st.dictionaries(NAMES, st.sets(NAMES, min_size=1, max_size=4), min_size=2, max_size=5))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_labels_never_shift(tmp_path: Path, tree: dict[str, set[str]]) -> None:
    shutil.rmtree(tmp_path / "t", ignore_errors=True)
    put(tmp_path / "t", *(f"{kind}/{name}.png" for kind, names in tree.items() for name in names))
    index = load_index(tmp_path / "t")
    assert index.class_names == tuple(sorted(tree))
    for path, label in zip(index.paths, index.labels, strict=True):
        assert index.class_names[label] == path.split("/")[0]


@pytest.mark.real
def test_the_real_archive(shared_folder: Path) -> None:
    index = load_index(shared_folder / "data" / "cats_and_dogs_filtered.zip")
    assert index.counts() == {
        "train": {"cats": 1000, "dogs": 1000},
        "validation": {"cats": 500, "dogs": 500},
    }
    assert index.rejected == () and index.warnings == ()


def test_a_class_folder_without_files_is_named(photo_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(photo_folder, tmp_path / "photos")
    # What lies empty inside a class is nobody's loss; hidden folders are not looked at.
    for name in ("star/old", "round/later", ".cache"):
        (tmp_path / "photos" / name).mkdir(parents=True)
    index = load_index(tmp_path / "photos")
    assert index.warnings == ('The folder star has no files in it, so "star" is no class',)
    assert index.class_names == ("round", "square")


def test_an_empty_class_folder_is_named_in_each_part(photo_folder: Path, tmp_path: Path) -> None:
    for part in ("train", "validation"):
        shutil.copytree(photo_folder, tmp_path / part)
        (tmp_path / part / "star").mkdir()
    warnings = load_index(tmp_path).warnings
    assert [warning.split(" has ")[0] for warning in warnings] == [
        "The folder train/star",
        "The folder validation/star",
    ]
