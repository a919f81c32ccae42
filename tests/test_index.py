import os
import shutil
import socket
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handful.errors import DataError
from handful.photos.ignored import mark_figure
from handful.photos.index import ImageIndex, load_index, load_unlabelled

PNG = b"\x89PNG\r\n\x1a\n"


def put(root: Path, *names: str) -> Path:
    """Files that begin as a PNG does, each of its own content."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG + name.encode())
    return root


def pack(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, PNG + name.encode())
    return path


def labelled(index: ImageIndex) -> dict[str, str]:
    return {
        path: f"{index.class_names[label]} {split}".strip()
        for path, label, split in zip(index.paths, index.labels, index.splits, strict=True)
    }


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
    with pytest.raises(DataError, match='the test part has no picture of "b", which other parts'):
        load_index(tmp_path)
    put(tmp_path, "test/b/4.png")
    assert labelled(load_index(tmp_path))["test/c/3.png"] == "c test"


@pytest.mark.parametrize("wrapper", ["", "photos/", "one/two/"])
@pytest.mark.parametrize("parts", [("",), ("train/", "valid/")])
def test_a_zip_is_its_folder(tmp_path: Path, wrapper: str, parts: tuple[str, ...]) -> None:
    names = [f"{wrapper}{part}{kind}/{n}.png" for part in parts for kind in "ab" for n in "12"]
    noise = ["__MACOSX/a/._1.png", f"{wrapper}.DS_Store", f"{wrapper}a/.ipynb_checkpoints/x.png"]
    packed = load_index(pack(tmp_path / "photos.zip", *names, *noise))
    plain = load_index(put(tmp_path / "photos", *names, *noise))
    assert labelled(packed) == labelled(plain)
    assert len(packed) == len(names) and packed.rejected == plain.rejected == ()
    assert packed.content_hashes == plain.content_hashes
    assert packed.digest() == plain.digest()
    assert packed.read(0) == plain.read(0)


def test_hidden_and_system_files_are_ignored(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/2.png", "a/Thumbs.db", "a/desktop.ini", ".git/x.png", "a/.x.png")
    put(tmp_path, "a/.ipynb_checkpoints/1.png", "__MACOSX/a/1.png")
    assert len(load_index(tmp_path)) == 2
    assert load_index(tmp_path).rejected == ()


SYSTEM = ("@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "CVS", "lost+found")


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_folders_of_storage_boxes_and_systems_are_no_data(tmp_path: Path, kind: str) -> None:
    names = ["a/1.png", "b/2.png"]
    for folder in SYSTEM:
        names += [f"{folder}/a_1.png/SYNOPHOTO_THUMB_M.png", f"a/{folder}/1.png/SYNO_S.png"]
    if kind == "zip":
        source = pack(tmp_path / "photos.zip", *names)
    else:
        source = put(tmp_path / "photos", *names)
    index = load_index(source)
    assert index.class_names == ("a", "b") and index.paths == ("a/1.png", "b/2.png")
    assert index.rejected == () and index.warnings == ()
    assert len(load_unlabelled(source)) == 2


def test_a_systems_folder_that_a_shell_names_is_not_searched(tmp_path: Path) -> None:
    put(tmp_path, "1.png", "@eaDir/1.png/SYNOPHOTO_THUMB_M.png")
    index = load_unlabelled(sorted(tmp_path.iterdir()))
    assert index.paths == (f"{tmp_path}/1.png",)
    assert index.rejected == ()


OWN = {
    "run.json": b'{\n  "format": "handful run",\n',
    "comparison.json": b'{\n  "format": "handful comparison",\n',
    "curve.json": b'{\n  "format": "handful curve",\n',
    "export.json": b'{\n  "format": "handful export",\n',
    "classifier.json": b'{\n  "format": "handful classifier",\n',
    "embeddings.sqlite": b"SQLite format 3\0",
    "CACHEDIR.TAG": b"Signature: 8a477f597d28d172789f06886806bc55\n",
    "pyvenv.cfg": b"home = x",
}


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("place", ["runs/photos", "out", "a/out"])
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_what_handful_and_other_programs_made_is_no_data(
    tmp_path: Path, name: str, place: str, kind: str
) -> None:
    root = put(tmp_path / "photos", "a/1.png", "b/2.png", f"{place}/c.png", f"{place}/d/e.png")
    (root / place / name).write_bytes(OWN[name])
    (root / place / "empty").mkdir()
    source = root
    if kind == "zip":
        source = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", root))
    index = load_index(source)
    assert index.paths == ("a/1.png", "b/2.png") and index.class_names == ("a", "b")
    assert index.rejected == () and index.warnings == ()
    assert len(load_unlabelled(source)) == 2


def test_a_check_of_photos_is_no_data_and_a_namesake_is(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/2.png", "check/3.png", "c/4.png")
    for folder in ("check", "c"):
        (tmp_path / folder / "check.json").write_text('{\n  "num_images": 3,\n')
    (tmp_path / "check" / "check.html").write_text("<html>")
    (tmp_path / "b" / "run.json").write_text('{"format": "another"}')
    assert load_index(tmp_path).class_names == ("a", "b", "c")


def test_the_folder_of_a_run_is_no_folder_of_photos(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "run.json").write_bytes(OWN["run.json"])
    with pytest.raises(DataError, match="holds what handful made of photos, no photos"):
        load_index(tmp_path)
    index = load_unlabelled(tmp_path)
    assert len(index) == 0 and "what handful made" in index.rejected[0].reason


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
        (b"hello, I am a text\n" * 9, "is not a picture: it looks like text"),
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
        (b"\xff\x0a" + bytes(40), "is a JPEG XL picture, which handful does not read; save it"),
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
    assert warning == "The same picture is labelled a and b: a/1.png, b/copy.png"


def test_links_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", "1.png", "2.png")
    put(tmp_path / "photos", "b/3.png")
    (tmp_path / "photos" / "a").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "b" / "loop").symlink_to(tmp_path / "photos")
    index = load_index(tmp_path / "photos")
    assert labelled(index) == {"a/1.png": "a", "a/2.png": "a", "b/3.png": "b"}


def test_a_class_that_is_a_link_to_another_is_said(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "c").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    index = load_index(tmp_path)
    assert index.class_names == ("a", "b")
    assert index.warnings == ("The folder c is b again, so its photos are counted there",)


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
    with pytest.raises(DataError, match=r"has no pictures\. Expected a folder for each class"):
        load_index(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.jpg").write_text("text")
    with pytest.raises(DataError, match=r"has 1 files, none of them a usable picture: a/x\.jpg is"):
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
    with pytest.raises(DataError, match=r"has 2 pictures that are not sorted .*: 1\.png, 2\.png"):
        load_index(tmp_path)


@pytest.mark.parametrize(
    ("content", "looks"),
    [(PNG + b"x", "a single picture"), (b"just words here", "text"), (b"", "data of an unknown")],
)
def test_a_file_instead_of_a_folder(tmp_path: Path, content: bytes, looks: str) -> None:
    (tmp_path / "photos").write_bytes(content)
    with pytest.raises(DataError, match=f"photos is {looks}.*; expected a folder of class folders"):
        load_index(tmp_path / "photos")


def test_a_folder_the_system_refuses_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"cannot be read \(permission denied\); check its perm"):
        load_index(tmp_path)


def test_a_class_folder_the_system_refuses_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a/1.png", "b/2.png", "c/3.png")
    scan = os.scandir

    def refuse(path: str) -> object:
        if str(path) == str(tmp_path / "c"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    index = load_index(tmp_path)
    assert index.class_names == ("a", "b")
    assert index.warnings == (
        "The folder c cannot be read (permission denied), so its photos are missing; check its "
        "permissions",
    )
    named = load_unlabelled(tmp_path)
    assert len(named) == 2
    (file,) = named.rejected
    assert (file.path, file.reason) == (f"{tmp_path}/c", "cannot be read (permission denied)")
    (tmp_path / "b").rename(tmp_path / "b.old")
    shutil.rmtree(tmp_path / "b.old")
    with pytest.raises(DataError, match=r'one class, "a".* The folder c cannot be read'):
        load_index(tmp_path)


def test_a_changed_or_lost_file_is_noticed(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/2.png")
    index = load_index(tmp_path)
    (tmp_path / "a" / "1.png").write_bytes(PNG + b"other")
    with pytest.raises(DataError, match="has changed while it was being used"):
        index.read(0)
    (tmp_path / "b" / "2.png").unlink()
    with pytest.raises(DataError, match=r"cannot be read \(No such file"):
        index.read(1)


def write_csv(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    put(tmp_path, "p/1.png", "p/2.png", "p/3.png", "p/4.png")
    (tmp_path / "labels.csv").write_text(text, encoding=encoding)
    return tmp_path / "labels.csv"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_table(tmp_path: Path, separator: str, encoding: str) -> None:
    lines = ["path,label,split", "p/1.png,Ärger,train", "p/2.png,b,train", "p/3.png,Ärger,val"]
    lines += [f"{tmp_path}/p/4.png,b,valid"]
    text = "\n".join(lines).replace(",", separator)
    index = load_index(write_csv(tmp_path, text, encoding))
    assert labelled(index) == {
        "p/1.png": "Ärger train",
        "p/2.png": "b train",
        "p/3.png": "Ärger validation",
        f"{tmp_path}/p/4.png": "b validation",
    }
    assert index.read(0).endswith((b"p/1.png", b"p/2.png"))


def test_a_table_without_splits_and_with_repeated_rows(tmp_path: Path) -> None:
    text = "label,path\na,p/1.png\nb,p/2.png\na,p/1.png\n"
    index = load_index(write_csv(tmp_path, text))
    assert len(index) == 2
    assert index.warnings == ("labels.csv lists 1 rows twice; each counts once",)


TWO = "path,label{}\np/1.png,a{}\np/2.png,b{}\n"


@pytest.mark.parametrize(
    "path", ["./p/1.png", "p//1.png", "p/../p/1.png", "{}/p/1.png", "p\\1.png"]
)
def test_ways_of_writing_one_path_are_one_photo(tmp_path: Path, path: str) -> None:
    path = path.format(tmp_path)
    text = TWO.format("", "", "")
    index = load_index(write_csv(tmp_path, f"{text}{path},a\n"))
    assert index.paths == ("p/1.png", "p/2.png")
    assert index.warnings == ("labels.csv lists 1 rows twice; each counts once",)
    with pytest.raises(DataError, match=r'lines 2 and 4: .*1\.png is "a" and "b"; keep one'):
        load_index(write_csv(tmp_path, f"{text}{path},b\n"))
    index = load_index(write_csv(tmp_path, f"path,label\n{path},a\np/2.png,b\n"))
    assert index.read(0) == PNG + b"p/1.png" and (index.paths[0] == "p/1.png" or path[0] == "/")


def test_a_backslash_in_a_files_name_stays(tmp_path: Path) -> None:
    put(tmp_path, "p\\1.png")
    index = load_index(write_csv(tmp_path, "path,label\np\\1.png,a\np/1.png,b\n"))
    assert index.paths == ("p\\1.png", "p/1.png") and index.read(0) == PNG + b"p\\1.png"


def test_accents_in_one_character_or_two_are_one_name(tmp_path: Path) -> None:
    put(tmp_path, "p/Jose\u0301.png")
    text = "path,label\np/Jos\u00e9.png,caf\u00e9\np/1.png,cafe\u0301\np/2.png,b\n"
    index = load_index(write_csv(tmp_path, text))
    assert index.class_names == ("b", "caf\u00e9") and len(index) == 3


def test_paths_of_another_computer_are_told_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"do not exist: .* Paths of another computer lead nowhere"):
        load_index(write_csv(tmp_path, "path,label\nC:\\photos\\1.png,a\np/1.png,b\n"))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("Training", "Test", "test"),
        ("train_set", "dev", "validation"),
        ("X_train", "X_val", "validation"),
    ],
)
def test_parts_in_a_table_go_by_the_names_of_folders(
    tmp_path: Path, first: str, second: str, expected: str
) -> None:
    text = f"path,label,split\np/1.png,a,{first}\np/2.png,b,{first}\n"
    index = load_index(write_csv(tmp_path, f"{text}p/3.png,a,{second}\np/4.png,b,{second}\n"))
    assert index.splits == ("train", "train", expected, expected)


@pytest.mark.parametrize(
    "label",
    ["cat;cute", "cat | cute", "['cat', 'cute']", '"cat,cute"', "cat dog", "cat+dog", "cat/dog"],
)
def test_several_labels_in_a_cell_are_no_class(tmp_path: Path, label: str) -> None:
    cell = f'"{label}"' if "," in label and label[0] != '"' else label
    with pytest.raises(DataError, match=r'line 4: the label ".*" seems to be several: "cat", "'):
        load_index(write_csv(tmp_path, f"path,label\np/1.png,cat\np/2.png,dog\np/3.png,{cell}\n"))


def test_class_names_may_hold_signs_of_many_kinds(tmp_path: Path) -> None:
    labels = ("golden retriever", "black/white", '"Siamese, seal point"', "a+b")
    rows = "".join(f"p/{number}.png,{label}\n" for number, label in enumerate(labels, 1))
    index = load_index(write_csv(tmp_path, f"path,label\n{rows}"))
    assert len(index.class_names) == 4 and index.warnings == ()


def number_table(tmp_path: Path, values: list[str], copies: int) -> Path:
    rows = []
    for place, value in enumerate(values):
        for copy in range(copies):
            put(tmp_path, f"n/{place}-{copy}.png")
            rows.append(f'n/{place}-{copy}.png,"{value}"\n')
    return write_csv(tmp_path, "path,label\n" + "".join(rows))


def test_numbers_that_measure_something_are_no_classes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the labels are numbers, 4 different ones for 8 photos"):
        load_index(number_table(tmp_path, ["1.5", "2,5", "-3", "1e3"], 2))
    assert len(load_index(number_table(tmp_path, ["10", "20"], 2), least_classes=1)) == 4
    index = load_index(number_table(tmp_path, ["1.5", "2.5"], 5))
    (warning,) = index.warnings
    assert "labels are numbers, 2 different ones" in warning and "write ranges" in warning
    index = load_index(number_table(tmp_path, [str(number) for number in range(12)], 2))
    assert "labels are numbers, 12 different ones" in index.warnings[0]


@pytest.mark.parametrize("values", [["0", "1"], ["1", "2", "3"], ["0", "1", "2", "4", "7"]])
def test_numbers_that_count_classes_are_classes(tmp_path: Path, values: list[str]) -> None:
    index = load_index(number_table(tmp_path, values, 2))
    assert index.class_names == tuple(values) and index.warnings == ()


def test_a_table_of_groups(tmp_path: Path) -> None:
    lines = [
        "path,label,group",
        "p/4.png,b, Rex ",
        "p/1.png,a,",
        "p/3.png,b,Rex",
        "p/2.png,a,Ti\u0301a",
    ]
    index = load_index(write_csv(tmp_path, "\n".join(lines)))
    assert index.paths == ("p/1.png", "p/2.png", "p/3.png", "p/4.png")
    assert index.groups == ("", "T\u00eda", "Rex", "Rex") and set(index.splits) == {""}
    assert index.select([3, 0]).groups == ("Rex", "")
    assert index.without({1: "is truncated"}).groups == ("", "Rex", "Rex")
    assert index.with_class_names(("b", "a")).groups == index.groups
    plain = load_index(write_csv(tmp_path, "\n".join(line.rpartition(",")[0] for line in lines)))
    assert plain.groups == ("",) * 4 and plain.digest() != index.digest()


def test_groups_stand_beside_given_parts(tmp_path: Path) -> None:
    text = "split,group,label,path\ntrain,1,a,p/1.png\ntrain,2,b,p/2.png\nval,3,a,p/3.png\n"
    index = load_index(write_csv(tmp_path, text + "val,3,b,p/4.png\n"))
    assert index.groups == ("1", "2", "3", "3") and index.splits[2:] == ("validation",) * 2
    with pytest.raises(DataError, match=r'p/1\.png is "a", "train", "1" and "a", "train", "2"'):
        load_index(write_csv(tmp_path, text + "train,2,a,p/1.png\nval,3,b,p/4.png\n"))


def test_absolute_paths_are_shown_without_what_they_share(tmp_path: Path) -> None:
    text = f"path,label\n{tmp_path}/p/1.png,a\n{tmp_path}/p/2.png,b\n"
    index = load_index(write_csv(tmp_path, text))
    assert index.paths == ("1.png", "2.png")
    assert index.read(1) == PNG + b"p/2.png"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has the columns none; expected path,label and"),
        ("file,class\nx,y\n", 'has the columns "file", "class"; expected path,label'),
        ("path,label,weight\np/1.png,a,3\n", 'has unknown columns "weight"; expected path,label'),
        ("path,label\np/1.png,a\np/9.png,b\n", '1 files that do not exist: "p/9.png"'),
        ("path,label\np/1.png,a\np/1.png,b\n", 'lines 2 and 3: p/1.png is "a" and "b"; keep one'),
        ("path,label\np/1.png,\n", "line 2: the label is empty"),
        ("path,label\n,a\n", "line 2: the path is empty"),
        ("path,label,split\np/1.png,a,half\n", "line 2: the split is 'half'; expected one of"),
        ("path,label\np/1.png,a\np/2.png,a\n", 'has one class, "a"'),
    ],
)
def test_a_wrong_table_is_explained(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_index(write_csv(tmp_path, text))


def test_a_table_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"path,label\n\xff\xfe")
    with pytest.raises(DataError, match=r"labels\.csv, line 2: it is not UTF-8 text"):
        load_index(tmp_path / "labels.csv")


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
    assert labelled(index) == {"b/1.png": "b", "c/2.png": "c"}
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


def test_unlabelled_photos_of_all_kinds_of_places(tmp_path: Path) -> None:
    put(tmp_path, "one.png", "more/b.png", "more/a/c.png", "more/.hidden.png")
    (tmp_path / "more" / "note.txt").write_text("a note")
    pack(tmp_path / "packed.zip", "x/d.png", "__MACOSX/._d.png")
    sources = ["one.png", "more", "packed.zip", "absent.png"]
    index = load_unlabelled([tmp_path / source for source in sources])
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
        load_unlabelled([])


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
    index = load_unlabelled([tmp_path / "b", *sources])
    assert index.paths == (str(tmp_path / "b" / "2.png"),)
    assert [Path(file.path) for file in index.rejected] == sources
    for source in sources:
        with pytest.raises(DataError) as caught:
            load_index(source)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrapper", ["", "photos/"])
def test_a_zip_packed_on_windows_is_its_folder(tmp_path: Path, wrapper: str) -> None:
    with zipfile.ZipFile(tmp_path / "windows.zip", "w") as archive:
        for name in ("a/1.png", "a/deep/2.png", "b/3.png"):
            info = zipfile.ZipInfo("x")
            info.filename = (wrapper + name).replace("/", "\\")
            archive.writestr(info, PNG + name.encode())
        info = zipfile.ZipInfo("x")
        info.filename = "c\\"
        archive.writestr(info, b"")
    index = load_index(tmp_path / "windows.zip")
    assert labelled(index) == {
        f"{wrapper}a/1.png": "a",
        f"{wrapper}a/deep/2.png": "a",
        f"{wrapper}b/3.png": "b",
    }
    assert index.read(0) == PNG + b"a/1.png"
    assert index.rejected == () and index.warnings == ()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_files_of_one_name_in_a_zip_are_said(tmp_path: Path) -> None:
    pack(tmp_path / "twice.zip", "a/1.png", "b/2.png", "a/1.png", "./b/2.png", "b/3.png")
    index = load_index(tmp_path / "twice.zip")
    assert index.paths == ("a/1.png", "b/2.png", "b/3.png")
    assert index.warnings == (
        "The archive holds several files under one name, of which the last counts: "
        '"a/1.png", "b/2.png"',
    )
    index = load_unlabelled(tmp_path / "twice.zip")
    assert len(index) == 3
    names = [file.path.removeprefix(f"{tmp_path}/twice.zip/") for file in index.rejected]
    assert names == ["a/1.png", "b/2.png"]


def test_a_hostile_zip_among_photos_is_reported_not_raised(tmp_path: Path) -> None:
    put(tmp_path, "one.png")
    pack(tmp_path / "bad.zip", "../../out.png")
    index = load_unlabelled([tmp_path / "one.png", tmp_path / "bad.zip"])
    assert len(index) == 1
    assert "points outside the archive" in index.rejected[0].reason


NAMES = st.text("abcxyz .-_äß", min_size=1, max_size=6).filter(
    lambda name: name.strip(" .") == name and not name.startswith(".")
)


@given(st.dictionaries(NAMES, st.sets(NAMES, min_size=1, max_size=4), min_size=2, max_size=5))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
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


def test_a_folder_of_hidden_folders_is_not_called_empty(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/2.png", "runs/.photos-x/3.png")
    assert load_index(tmp_path).warnings == ()


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
