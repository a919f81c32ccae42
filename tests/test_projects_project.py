"""Projects: photos where they lie, labels beside them, and what commands make of the folder."""

import io
import os
import shutil
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import draw_photo, write_photo
from handful.data.index import load_index, load_unlabeled
from handful.data.storage import hash_content
from handful.errors import DataError, OutputError, UsageError
from handful.projects.photo_store import plain_file_name
from handful.projects.project import Project


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six unsorted photos, a copy of one, and two files that are none."""
    folder = tmp_path / "photos"
    for number in range(6):
        kind = "round" if number < 3 else "square"
        write_photo(folder / f"{kind}-{number}.jpg", draw_photo(kind, number))
    (folder / "deep").mkdir()
    shutil.copy(folder / "round-0.jpg", folder / "deep" / "copy.jpg")
    (folder / "notes.txt").write_text("not a photo")
    (folder / "torn.jpg").write_bytes((folder / "round-1.jpg").read_bytes()[:40])
    return folder


@pytest.fixture
def project(tmp_path: Path, photos: Path) -> Project:
    project = Project.open(tmp_path / "photos.handful")
    project.add_source(photos)
    return project


def by_name(project: Project) -> dict[str, str]:
    return {photo.name: photo.id for photo in project.photos}


def sort_all(project: Project) -> None:
    for kind in ("round", "square"):
        project.labels.assign([p.id for p in project.photos if kind in p.name], kind)


def jpeg(seed: int = 9, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(draw_photo("round", seed)).save(file, "JPEG", **options)
    return file.getvalue()


def test_a_folder_is_taken_in_place(tmp_path: Path, photos: Path) -> None:
    before = {path: path.read_bytes() for path in photos.rglob("*") if path.is_file()}
    project = Project.open(tmp_path / "photos.handful")
    told: list[tuple[int, int]] = []
    added = project.add_source(photos, lambda done, of: told.append((done, of)))
    assert project.name == "photos" and project.sources[1] == photos
    names = ["round-0.jpg", "round-1.jpg", "round-2.jpg", "square-3.jpg"]
    # The copy comes first: "deep/copy.jpg".
    assert [photo.name for photo in project.photos][:4] == ["copy.jpg", *names[1:]]
    first = project.photos[0]
    assert first.path == "photos/deep/copy.jpg" and first.copies == ("photos/round-0.jpg",)
    assert (first.width, first.height) == (120, 96)
    assert first.id == hash_content((photos / "round-0.jpg").read_bytes())
    assert added.ids == tuple(photo.id for photo in project.photos) and added.known == 1
    assert {file.path.rpartition("/")[2] for file in added.rejected} == {"notes.txt", "torn.jpg"}
    assert project.rejected == added.rejected
    assert told[-1] == (9, 9)
    assert before == {path: path.read_bytes() for path in photos.rglob("*") if path.is_file()}


def test_another_process_sees_the_same(project: Project) -> None:
    other = Project(project.folder)
    assert other.photos == project.photos and other.rejected == project.rejected
    other.labels.assign([project.photos[0].id], "round")
    assert project.labels.of(project.photos[0].id) == "round"
    new = other.add_photo("new.jpg", jpeg())
    assert project.photos[-1].id == new and project.version == other.version


def test_sources_are_looked_through_again(project: Project, photos: Path) -> None:
    assert project.refresh().ids == ()
    version = project.version
    ids = by_name(project)
    project.labels.assign([ids["square-3.jpg"], ids["square-4.jpg"]], "square")
    write_photo(photos / "new.png", draw_photo("round", 50))
    (photos / "square-3.jpg").rename(photos / "renamed.jpg")  # its label goes with it
    write_photo(photos / "square-4.jpg", draw_photo("square", 51))  # another photo now
    (photos / "square-5.jpg").unlink()
    added = project.refresh()
    assert (len(added.ids), added.known, added.gone) == (2, 1, 2)
    now = by_name(project)
    assert set(now) == {
        *("copy.jpg", "round-1.jpg", "round-2.jpg", "renamed.jpg", "new.png", "square-4.jpg")
    }
    assert project.labels.of(now["renamed.jpg"]) == "square"
    assert project.labels.of(now["square-4.jpg"]) is None
    assert project.version > version


def test_a_source_that_is_not_there_keeps_its_photos(project: Project, photos: Path) -> None:
    photos.rename(photos.with_name("elsewhere"))
    added = project.refresh()
    assert added.gone == 0 and len(project.photos) == 6
    assert added.rejected[0].path == str(photos)
    assert "No such file" in added.rejected[0].reason
    with pytest.raises(DataError, match="cannot be read"):
        project.read(project.photos[0].id)


def test_a_project_moves_with_its_photos(project: Project, tmp_path: Path) -> None:
    sort_all(project)
    moved = tmp_path.with_name(tmp_path.name + "-moved")
    tmp_path.rename(moved)
    index = load_index(moved / "photos.handful")
    assert len(index) == 5 and index.paths[0] == "photos/round-1.jpg"
    assert index.read(0) == (moved / "photos" / "round-1.jpg").read_bytes()


def test_an_archive_and_single_files_are_sources(tmp_path: Path, photos: Path) -> None:
    archive = tmp_path / "more.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(photos / "round-1.jpg", "inner/one.jpg")
        file.writestr("inner/readme.txt", "no photo")
    project = Project.create(tmp_path / "p")
    assert len(project.add_source(archive).ids) == 1
    assert len(project.add_source(photos / "square-3.jpg").ids) == 1
    assert [photo.path for photo in project.photos] == [
        *("more.zip/inner/one.jpg", "photos/square-3.jpg")
    ]
    assert project.read(project.photos[0].id) == (photos / "round-1.jpg").read_bytes()
    assert project.add_source(archive).ids == () and len(project.sources) == 3
    assert Project(project.folder).photos == project.photos


def test_what_can_be_no_source_is_refused(project: Project, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="missing does not exist"):
        project.add_source(tmp_path / "missing")
    with pytest.raises(DataError, match="is the whole disk"):
        project.add_source(Path(tmp_path.anchor))
    with pytest.raises(DataError, match="own folder"):
        project.add_source(project.folder / "photos")
    other = Project.create(tmp_path / "other")
    with pytest.raises(DataError, match="is a project"):
        project.add_source(other.folder)
    text = tmp_path / "text.txt"
    text.write_text("hello")
    assert project.add_source(text).rejected[0].path == "text.txt"


def test_a_project_in_its_photos_folder_is_none_of_them(photos: Path) -> None:
    project = Project.create(photos / "handful-project")
    project.add_photo("dropped.jpg", jpeg())
    project.add_source(photos)
    assert len(project.photos) == 7
    assert project.refresh().ids == ()
    # Nor do commands that are given the photos take it for a class.
    assert not any("handful-project" in path for path in load_unlabeled(photos).paths)


def test_dropped_photos_are_kept(project: Project) -> None:
    id = project.add_photo("..\\../IMG 20:41?.JPG", jpeg(exif=b""))
    photo = project.photos[-1]
    assert photo.id == id and photo.name == "IMG_20_41_.jpg"
    assert photo.path == f"photos.handful/photos/IMG_20_41_-{id[:8]}.jpg"
    assert (project.folder.parent / photo.path).read_bytes() == jpeg(exif=b"")
    assert project.add_photo("again.jpg", jpeg(exif=b"")) == id
    assert len(project.photos) == 7 and project.refresh().ids == ()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"hello", "is not a photo|looks like|is text"),
        (jpeg()[:-300], "truncated"),
    ],
)
def test_dropped_files_that_are_no_photos_leave_nothing(
    project: Project, data: bytes, words: str
) -> None:
    with pytest.raises(DataError, match=f"bad.jpg .*({words})"):
        project.add_photo("bad.jpg", data)
    assert len(project.photos) == 6 and not list((project.folder / "photos").iterdir())


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("IMG_1.jpg", "IMG_1.jpg"),
        ("/etc/passwd", "passwd"),
        ("C:\\photos\\a b.png", "a_b.png"),
        ("....", "photo"),
        ("", "photo"),
        ("\u202e\0ф.jpg", "jpg"),
        ("x" * 300 + ".jpg", "x" * 56 + ".jpg"),
    ],
)
def test_names_of_browsers_are_made_plain(name: str, plain: str) -> None:
    assert plain_file_name(name) == plain


def test_the_date_is_the_cameras(project: Project, photos: Path) -> None:
    exif = Image.Exif()
    exif[0x0132] = "2020:01:01 00:00:00"
    exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    (photos / "dated.jpg").write_bytes(jpeg(exif=exif))
    os.utime(photos / "dated.jpg", (0, 0))
    project.refresh()
    assert {photo.name: photo.taken for photo in project.photos}["dated.jpg"] == (
        "2024-05-06T07:08:09"
    )


def test_upright_sizes(project: Project, photos: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (photos / "turned.jpg").write_bytes(jpeg(exif=exif))
    project.refresh()
    photo = project.photos[-1]
    assert (photo.width, photo.height) == (96, 120)


def test_commands_take_a_project_for_labeled_photos(project: Project) -> None:
    ids = by_name(project)
    sort_all(project)
    project.labels.leave_out([ids["square-5.jpg"]])
    index = load_index(project.folder)
    own = project.index()
    assert index.class_names == ("round", "square")
    assert (
        index.paths
        == own.paths
        == (
            *("photos/round-1.jpg", "photos/round-2.jpg"),
            *("photos/square-3.jpg", "photos/square-4.jpg"),
        )
    )
    assert index.digest() == own.digest()
    assert "1 photo of " in index.warnings[0] and "is not sorted yet" in index.warnings[0]
    np.testing.assert_array_equal(index.labels, own.labels)
    assert [own.read(row) for row in range(4)] == [index.read(row) for row in range(4)]
    # To be classified: all but those left out.
    assert len(load_unlabeled(project.folder)) == 5
    assert load_unlabeled(project.folder).paths[0] == str(
        project.folder.parent / "photos" / "deep" / "copy.jpg"
    )


def test_all_photos_are_an_index_too(project: Project) -> None:
    ids = by_name(project)
    project.labels.assign([ids["round-1.jpg"]], "round")
    project.labels.leave_out([ids["square-5.jpg"]])
    index = project.photo_index()
    assert index.content_hashes == tuple(photo.id for photo in project.photos[:5])
    assert index.labels.tolist() == [-1, 0, -1, -1, -1]


def test_a_project_without_labels_says_so(project: Project) -> None:
    with pytest.raises(DataError, match="is a project with 6 photos, none of them sorted"):
        load_index(project.folder)


def test_photos_that_changed_are_left_out_with_a_reason(project: Project, photos: Path) -> None:
    sort_all(project)
    write_photo(photos / "round-1.jpg", draw_photo("round", 77))
    (photos / "square-3.jpg").unlink()
    index = load_index(project.folder)
    reasons = {file.path: file.reason for file in index.rejected}
    assert "has changed since it was added" in reasons["photos/round-1.jpg"]
    assert "cannot be read" in reasons["photos/square-3.jpg"]
    assert len(index) == 3


def test_a_photo_with_a_copy_outlives_one_of_the_two(project: Project, photos: Path) -> None:
    id = project.photos[0].id
    data = project.read(id)
    write_photo(photos / "deep" / "copy.jpg", draw_photo("square", 99))
    assert project.read(id) == data
    (photos / "deep" / "copy.jpg").unlink()
    assert project.read(id) == data


def test_photos_that_cannot_be_decoded_are_refused_later(project: Project) -> None:
    id = by_name(project)["round-1.jpg"]
    project.refuse(id, "is truncated")
    assert id not in by_name(project).values()
    assert {file.path: file.reason for file in Project(project.folder).rejected}[
        "photos/round-1.jpg"
    ] == "is truncated"
    with pytest.raises(UsageError, match="has no photo"):
        project.read(id)


def test_labels_are_written_as_a_table(project: Project, tmp_path: Path) -> None:
    sort_all(project)
    written = project.write_csv(tmp_path / "out" / "labels.csv")
    assert written.counts == {"round": 2, "square": 3} and written.skipped == ()
    again = load_index(tmp_path / "out" / "labels.csv")
    assert again.digest() == load_index(project.folder).digest()
    with pytest.raises(OutputError, match="exists already"):
        project.write_csv(tmp_path / "out" / "labels.csv")


@pytest.mark.parametrize("links", [False, True])
def test_labels_are_written_as_folders(
    project: Project, photos: Path, tmp_path: Path, links: bool
) -> None:
    write_photo(photos / "more" / "round-1.jpg", draw_photo("round", 70))
    project.refresh()
    sort_all(project)
    written = project.write_folders(tmp_path / "sorted", links=links)
    assert written.counts == {"round": 3, "square": 3}
    files = sorted(path.name for path in (tmp_path / "sorted" / "round").iterdir())
    assert files == ["round-1-2.jpg", "round-1.jpg", "round-2.jpg"]
    assert (tmp_path / "sorted" / "square" / "square-3.jpg").is_symlink() == links
    assert load_index(tmp_path / "sorted").digest() == load_index(project.folder).digest()


def test_photos_of_archives_go_into_folders_and_no_table(tmp_path: Path, photos: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.write(photos / "round-1.jpg", "one.jpg")
    project = Project.create(tmp_path / "p")
    project.add_source(tmp_path / "a.zip")
    project.labels.assign([project.photos[0].id], "round")
    with pytest.raises(DataError, match=r"a\.zip/one\.jpg lies in an archive"):
        project.write_csv(tmp_path / "labels.csv")
    assert project.write_folders(tmp_path / "out", links=True).counts == {"round": 1}
    assert (tmp_path / "out/round/one.jpg").read_bytes() == (photos / "round-1.jpg").read_bytes()


def test_classes_that_would_be_parts_are_not_written_as_folders(
    project: Project, tmp_path: Path
) -> None:
    ids = by_name(project)
    project.labels.assign([ids["round-1.jpg"]], "train")
    project.labels.assign([ids["round-2.jpg"]], "test")
    with pytest.raises(OutputError, match="parts of a data set"):
        project.write_folders(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert load_index(project.folder).class_names == ("test", "train")


def test_nothing_sorted_is_nothing_to_write(project: Project, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No photo has a class"):
        project.write_csv(tmp_path / "labels.csv")
    with pytest.raises(DataError, match="No photo has a class"):
        project.write_folders(tmp_path / "folders")
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != "") == [
        "photos.handful"
    ]


def test_what_is_no_project_is_refused(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(DataError, match="is no project of handful's"):
        Project.open(photos)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "project.json").write_text(
        '{"format": "handful project", "format_version": 2}'
    )
    with pytest.raises(DataError, match="newer version of handful"):
        Project.open(tmp_path / "new")
    with pytest.raises(OutputError, match="exists already"):
        Project.create(photos)


def test_threads_that_open_one_project_get_one(tmp_path: Path) -> None:
    found: list[Project] = []
    threads = [
        threading.Thread(target=lambda: found.append(Project.open(tmp_path / "p"))) for _ in "1234"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len({project.name for project in found}) == 1


def test_class_folders_are_offered_as_labels(tmp_path: Path, photos: Path) -> None:
    for kind in ("round", "square"):
        for number in range(3):
            seed = number + 10 * (kind == "square")
            write_photo(tmp_path / "sorted" / kind / f"{number}.jpg", draw_photo(kind, seed))
    project = Project.open(tmp_path / "p")
    project.add_source(tmp_path / "sorted")
    project.add_source(photos)
    found = project.folder_classes(tmp_path / "sorted")
    assert {name: len(ids) for name, ids in found.items()} == {"round": 3, "square": 3}
    assert project.labels.all() == {}
    for name, ids in found.items():
        project.labels.assign(ids, name)
    assert load_index(project.folder).digest() == load_index(tmp_path / "sorted").digest()
    assert project.folder_classes(photos) == {}  # pictures beside a folder of pictures
    with pytest.raises(UsageError, match="is no source"):
        project.folder_classes(tmp_path / "p")
