import os
import shutil
import zipfile
from pathlib import Path

import pytest

from handful.data.index import load_index, load_unlabeled
from handful.errors import DataError
from photo_files import PNG, labeled, pack, put


@pytest.mark.parametrize("wrapper", ["", "photos/", "one/two/"])
@pytest.mark.parametrize("parts", [("",), ("train/", "valid/")])
def test_a_zip_is_its_folder(tmp_path: Path, wrapper: str, parts: tuple[str, ...]) -> None:
    names = [f"{wrapper}{part}{kind}/{n}.png" for part in parts for kind in "ab" for n in "12"]
    noise = ["__MACOSX/a/._1.png", f"{wrapper}.DS_Store", f"{wrapper}a/.ipynb_checkpoints/x.png"]
    packed = load_index(pack(tmp_path / "photos.zip", *names, *noise))
    plain = load_index(put(tmp_path / "photos", *names, *noise))
    assert labeled(packed) == labeled(plain)
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
    assert len(load_unlabeled(source)) == 2


def test_a_systems_folder_that_a_shell_names_is_not_searched(tmp_path: Path) -> None:
    put(tmp_path, "1.png", "@eaDir/1.png/SYNOPHOTO_THUMB_M.png")
    index = load_unlabeled(sorted(tmp_path.iterdir()))
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
    assert len(load_unlabeled(source)) == 2


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
    index = load_unlabeled(tmp_path)
    assert len(index) == 0 and "what handful made" in index.rejected[0].reason


def test_links_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", "1.png", "2.png")
    put(tmp_path / "photos", "b/3.png")
    (tmp_path / "photos" / "a").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "b" / "loop").symlink_to(tmp_path / "photos")
    index = load_index(tmp_path / "photos")
    assert labeled(index) == {"a/1.png": "a", "a/2.png": "a", "b/3.png": "b"}


def test_a_class_that_is_a_link_to_another_is_said(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "c").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    index = load_index(tmp_path)
    assert index.class_names == ("a", "b")
    assert index.warnings == ("The folder c is b again, so its photos are counted there",)


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
    named = load_unlabeled(tmp_path)
    assert len(named) == 2
    (file,) = named.rejected
    assert (file.path, file.reason) == (f"{tmp_path}/c", "cannot be read (permission denied)")
    (tmp_path / "b").rename(tmp_path / "b.old")
    shutil.rmtree(tmp_path / "b.old")
    with pytest.raises(DataError, match=r'one class, "a".* The folder c cannot be read'):
        load_index(tmp_path)


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
    assert labeled(index) == {
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
    index = load_unlabeled(tmp_path / "twice.zip")
    assert len(index) == 3
    names = [file.path.removeprefix(f"{tmp_path}/twice.zip/") for file in index.rejected]
    assert names == ["a/1.png", "b/2.png"]


@pytest.mark.parametrize(
    ("name", "inside"), [("photos.xlsx", "[Content_Types].xml"), ("photos.ods", "mimetype")]
)
def test_a_spreadsheet_is_no_archive_of_photos(tmp_path: Path, name: str, inside: str) -> None:
    pack(tmp_path / name, "xl/a/1.png", "xl/b/2.png", inside)
    with pytest.raises(DataError, match=r"is an office document, .* save a table as CSV UTF-8"):
        load_index(tmp_path / name)


def test_a_folder_of_hidden_folders_is_not_called_empty(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/2.png", "runs/.photos-x/3.png")
    assert load_index(tmp_path).warnings == ()
