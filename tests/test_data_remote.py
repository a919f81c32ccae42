"""Photos in buckets."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import handful
from bucket import open_bucket, upload
from conftest import draw_photo, write_photo
from handful.data.index import load_index, load_unlabeled
from handful.data.remote import list_remote, read_remote, url_of
from handful.errors import DataError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder of class folders, here and in a bucket."""
    root = tmp_path_factory.mktemp("bucket")
    for kind in ("round", "square"):
        for number in range(4):
            write_photo(root / kind / f"{number} ü.jpg", draw_photo(kind, number))
    (root / "square" / "notes.txt").write_text("no photo")
    (root / "square" / ".hidden").write_text("no photo")
    with open_bucket() as address:
        upload(root, f"{address}/photos")
        yield root, f"{address}/photos"


@pytest.mark.parametrize("form", [str, Path])
def test_addresses_are_told_from_paths(form: type, tmp_path: Path) -> None:
    assert url_of(form("s3://bucket/a/b.jpg")) == "s3://bucket/a/b.jpg"
    assert url_of(form("gs://bucket")) == "gs://bucket"
    for path in (tmp_path, "photos/", "C:/photos", r"C:\photos", "a:b", "x.zip"):
        assert url_of(form(path)) == ""


def test_a_bucket_is_indexed_as_a_folder_is(bucket: tuple[Path, str]) -> None:
    folder, address = bucket
    here, there = load_index(folder), load_index(address)
    for name in ("paths", "class_names", "content_hashes", "rejected", "splits"):
        assert getattr(here, name) == getattr(there, name)
    assert here.digest() == there.digest()
    assert there.read(0) == here.read(0)
    named = load_unlabeled([f"{address}/round", f"{address}/square/0 ü.jpg"])
    assert named.paths[0] == f"{address}/round/0 ü.jpg" and len(named) == 5
    assert named.paths[4] == f"{address}/square/0 ü.jpg"


def test_what_is_not_there_is_named(bucket: tuple[Path, str]) -> None:
    address = bucket[1]
    with pytest.raises(DataError, match=r"^s3://camera-trap/nothing .*no photos|cannot be listed"):
        load_index("s3://camera-trap/nothing")
    with pytest.raises(DataError, match="does not exist"):
        read_remote(f"{address}/round/9.jpg")
    with pytest.raises(DataError, match=r"^s3://nobody cannot be listed"):
        list_remote("s3://nobody")
    with pytest.raises(DataError, match="nonsense:// addresses cannot be read"):
        list_remote("nonsense://photos")
    (refused,) = load_unlabeled("s3://nobody/photos").rejected
    assert refused.path == "s3://nobody/photos" and "cannot be listed" in refused.reason


def test_other_file_systems_are_fsspecs(photo_folder: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for number, file in enumerate(sorted((photo_folder / "round").iterdir())[:3]):
        memory.pipe(f"/photos/{number}.jpg", file.read_bytes())
    index = load_unlabeled("memory://photos")
    assert index.paths == tuple(f"memory://photos/{number}.jpg" for number in range(3))
    assert index.read(1).startswith(b"\xff\xd8")


@pytest.mark.usefixtures("tiny_backbone")
def test_a_bucket_trains_the_same_run(bucket: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = bucket
    quiet = handful.Reporter()
    here, there = (
        handful.train(source, output=tmp_path / name, reporter=quiet)
        for name, source in (("here", folder), ("there", address))
    )
    assert there.evaluation.to_dict() == here.evaluation.to_dict()
    again = handful.train(from_run=tmp_path / "there", output=tmp_path / "again", reporter=quiet)
    assert again.split.index.digest() == there.split.index.digest()
    assert (tmp_path / "there" / "report.html").exists()
