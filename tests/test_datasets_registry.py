import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from handful.data.index import load_index
from handful.datasets import registry
from handful.datasets.registry import (
    CATS_AND_DOGS,
    Archive,
    archive_problem,
    fetch_archive,
    find_archive,
    find_demo_data,
)
from handful.errors import DataError, OutputError
from handful.files.download import DownloadError
from handful.reporting import Progress, Reporter
from reporters import Recorder, Stopper

TABLE_TEXT = "path,label\n"


def write_zip(path: Path, counts: dict[str, int], filler: bytes = b"photo") -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("pets/read me.txt", "not counted")
        for folder, count in counts.items():
            for number in range(count):
                file.writestr(f"{folder}/{number}.jpg", f"{folder}{number}".encode() + filler)
    return path


COUNTS = {"pets/train/cats": 3, "pets/validation/cats": 2}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The published zip, where no test's code looks for it."""
    return write_zip(tmp_path / "published.zip", COUNTS)


@pytest.fixture
def archive(source: Path) -> Archive:
    return Archive("pets.zip", "http://photos.invalid/pets.zip", source.stat().st_size, COUNTS, "")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "kept").mkdir()
    return tmp_path / "kept"


@pytest.fixture
def serve(source: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes | str], list[str]]:
    """Let `download` bring these bytes, or fail for this reason; the list grows with its calls."""
    calls: list[str] = []

    def set_answer(answer: bytes | str) -> list[str]:
        def download(url: str, path: Path, num_bytes: int, progress: object = None) -> None:
            calls.append(url)
            if isinstance(answer, str):
                raise DownloadError(answer)
            path.write_bytes(answer)

        monkeypatch.setattr(registry, "download", download)
        return calls

    set_answer(source.read_bytes())
    return set_answer


def test_a_download_is_verified_kept_and_its_digest_noted(
    source: Path, archive: Archive, folder: Path, serve: Callable[[bytes | str], list[str]]
) -> None:
    calls = serve(source.read_bytes())
    recorder = Recorder()
    path = fetch_archive(archive, folder, reporter=recorder)
    assert path == folder / "pets.zip" and path.read_bytes() == source.read_bytes()
    assert recorder.lines == [f"Downloading {archive.url} (0.0 MB)."]
    noted = json.loads((folder / "pets.zip.json").read_text())
    assert set(noted) == {"url", "num_bytes", "sha256"} and len(noted["sha256"]) == 64
    assert {item.name for item in folder.iterdir()} == {"pets.zip", "pets.zip.json"}
    # The second time nothing is downloaded.
    assert fetch_archive(archive, folder) == path
    assert calls == [archive.url]


def test_a_download_that_is_cancelled_is_gone_on_with(
    archive: Archive, source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(url: str, path: Path, num_bytes: int, progress: Progress) -> None:
        path.write_bytes(source.read_bytes()[:10])
        progress(10, num_bytes)
        progress(num_bytes, num_bytes)

    monkeypatch.setattr(registry, "download", download)
    stopper = Stopper(lambda _phase, done, _total: done == 10, "cancel")
    with pytest.raises(KeyboardInterrupt):
        fetch_archive(archive, folder, stopper)
    assert stopper.of("progress") == [("download", 10, archive.num_bytes)]
    assert [path.name for path in folder.iterdir()] == ["pets.zip.part"]


def test_a_kept_archive_that_changed_is_thrown_away_and_fetched_again(
    source: Path, archive: Archive, folder: Path, serve: Callable[[bytes | str], list[str]]
) -> None:
    path = fetch_archive(archive, folder)
    # Same size, a whole zip, the same layout: only the digest tells.
    changed = write_zip(folder / "changed.zip", COUNTS, filler=b"PHOTO")
    assert archive_problem(changed, archive) == ""
    changed.replace(path)
    recorder = Recorder()
    fetch_archive(archive, folder, reporter=recorder)
    assert (
        recorder.lines[0]
        == f"{path} has changed since it was downloaded and verified; it was deleted."
    )
    assert path.read_bytes() == source.read_bytes()
    assert len(serve(b"")) == 2


def test_an_archive_put_there_by_hand_is_verified_and_its_digest_noted(
    source: Path, archive: Archive, folder: Path, serve: Callable[[bytes | str], list[str]]
) -> None:
    calls = serve("the network is down")
    (folder / "pets.zip").write_bytes(source.read_bytes())
    assert fetch_archive(archive, folder) == folder / "pets.zip"
    assert (folder / "pets.zip.json").is_file()
    assert calls == []


def test_a_wrong_archive_put_there_by_hand_is_not_trusted(
    archive: Archive, folder: Path, serve: Callable[[bytes | str], list[str]]
) -> None:
    serve("the network is down")
    (folder / "pets.zip").write_bytes(b"x" * archive.num_bytes)
    recorder = Recorder()
    with pytest.raises(DataError, match=r"pets\.zip could not be downloaded: the network is down"):
        fetch_archive(archive, folder, reporter=recorder)
    assert "is not a whole zip" in recorder.lines[0]
    assert recorder.lines[0].endswith("it was deleted.")
    assert not (folder / "pets.zip").exists()


def damage(data: bytes) -> bytes:
    """Change one byte of the last photo's content: the zip opens, the checksum tells."""
    at = data.index(b"pets/validation/cats1photo")
    return data[:at] + b"P" + data[at + 1 :]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data[:-1], r"has \d+ bytes; expected \d+"),
        (lambda data: data[:-30] + b"x" * 30, "is not a whole zip: File is not a zip file"),
        (damage, r"is damaged: pets/validation/cats/1\.jpg does not match its checksum"),
        (
            lambda data: data.replace(b"cats/0", b"pigs/0"),
            r"holds pets/train/cats/ \(2\), pets/train/pigs/ \(1\), .*; expected pets/train/cats/",
        ),
    ],
)
def test_a_wrong_download_is_deleted(
    source: Path,
    archive: Archive,
    folder: Path,
    serve: Callable[[bytes | str], list[str]],
    change: Callable[[bytes], bytes],
    words: str,
) -> None:
    serve(change(source.read_bytes()))
    with pytest.raises(DataError, match=f"{words}.*; what was downloaded is deleted"):
        fetch_archive(archive, folder)
    assert list(folder.iterdir()) == []


def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("pets/train/cats/0.jpg", b"0" * 1_000_000)
    bomb = Archive("bomb.zip", "", path.stat().st_size, {"pets/train/cats": 1}, "")
    assert archive_problem(path, bomb).startswith("unpacks to over 4 times its size")


def test_many_wrong_folders_make_a_short_message(tmp_path: Path, archive: Archive) -> None:
    path = write_zip(tmp_path / "many.zip", {f"pets/{number:02d}": 1 for number in range(30)})
    problem = archive_problem(path, replace(archive, num_bytes=path.stat().st_size))
    assert "pets/05/ (1), and 24 more folders; expected pets/train/cats/ (3), pets/" in problem


@pytest.mark.real
def test_the_layout_asked_for_is_the_real_one(shared_folder: Path) -> None:
    path = shared_folder / "data" / "cats_and_dogs_filtered.zip"
    assert archive_problem(path, CATS_AND_DOGS).endswith("expected 68,606,236")
    assert archive_problem(path, replace(CATS_AND_DOGS, num_bytes=path.stat().st_size)) == ""


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with nothing beside it, no network and no variable set."""
    here = tmp_path / "project" / "work"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.delenv("HANDFUL_DATA", raising=False)
    monkeypatch.setattr(registry, "__file__", str(tmp_path / "a" / "b" / "c" / "datasets.py"))

    def no_network(*_: object) -> None:
        raise DownloadError("Name or service not known")

    monkeypatch.setattr(registry, "download", no_network)
    return here


@pytest.fixture
def cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package registry that answers."""

    def fetch(folder: Path, reporter: Reporter) -> Path:
        reporter.log("Installing.")
        path = folder / "elpv-dataset.csv"
        path.write_text(TABLE_TEXT)
        return path

    monkeypatch.setattr(registry, "fetch_solar_cells", fetch)


def test_the_path_given_comes_before_the_variable(
    alone: Path, tmp_path: Path, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_zip(tmp_path / "other.zip", COUNTS)
    monkeypatch.setenv("HANDFUL_DATA", str(other))
    found = find_demo_data(photo_folder, tmp_path / "cache")
    assert found.path == photo_folder and found.credit == ""
    assert found.note == f"Taking {photo_folder}, given by `data`."
    assert len(load_index(found.path)) == 48
    found = find_demo_data(None, tmp_path / "cache")
    assert found.path == other and found.name == "other"
    assert found.note.endswith("given by the environment variable HANDFUL_DATA.")
    assert not (tmp_path / "cache").exists()


def test_a_folder_given_may_hold_the_archive(alone: Path, tmp_path: Path) -> None:
    path = write_zip(tmp_path / CATS_AND_DOGS.file_name, COUNTS)
    assert find_demo_data(tmp_path, tmp_path / "cache").path == path


def test_a_missing_path_is_an_error_and_not_a_reason_to_go_on(
    alone: Path, tmp_path: Path, cells: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"no/such\.zip, given by `data`, does not exist; expected"):
        find_demo_data(Path("no/such.zip"), tmp_path / "cache")
    monkeypatch.setenv("HANDFUL_DATA", "no/such.zip")
    expected = r"no/such\.zip, given by the environment variable HANDFUL_DATA, does not exist"
    with pytest.raises(DataError, match=expected):
        find_demo_data(None, tmp_path / "cache")


def test_the_shared_archive_is_found_from_the_current_folder(alone: Path, tmp_path: Path) -> None:
    shared = alone.parent / "shared" / "data"
    shared.mkdir(parents=True)
    write_zip(shared / CATS_AND_DOGS.file_name, COUNTS)
    found = find_demo_data(None, tmp_path / "cache")
    expected = Path("../shared/data/cats_and_dogs_filtered.zip")
    assert found.path == expected and found.path.is_file()
    assert found.note.splitlines() == [
        "No photos were given by `data` or HANDFUL_DATA.",
        f"Taking {expected}.",
    ]


def test_the_shared_archive_is_found_from_the_checkout(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = tmp_path / "home" / "checkout"
    (checkout / "src" / "handful").mkdir(parents=True)
    module = checkout / "src" / "handful" / "named_data" / "datasets.py"
    monkeypatch.setattr(registry, "__file__", str(module))
    (tmp_path / "home" / "shared" / "data").mkdir(parents=True)
    path = write_zip(tmp_path / "home" / "shared" / "data" / CATS_AND_DOGS.file_name, COUNTS)
    with pytest.raises(DataError, match="No photos for the demo"), monkeypatch.context() as patch:
        # Installed, and so no checkout: what lies around it is none of ours.
        patch.setattr(registry, "fetch_solar_cells", fail_to_install)
        find_demo_data(None, tmp_path / "cache")
    (checkout / "pyproject.toml").touch()
    assert find_demo_data(None, tmp_path / "cache").path == path


def fail_to_install(folder: Path, reporter: object) -> Path:
    raise DataError("elpv-dataset could not be installed: no index.")


def test_the_public_archive_comes_next(
    alone: Path, tmp_path: Path, source: Path, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "CATS_AND_DOGS", replace(archive, credit="Photos: somebody."))
    monkeypatch.setattr(
        registry, "download", lambda url, path, *_: path.write_bytes(source.read_bytes())
    )
    recorder = Recorder()
    found = find_demo_data(None, tmp_path / "cache", reporter=recorder)
    assert found.path == tmp_path / "cache" / "data" / "pets.zip"
    assert (found.name, found.credit) == ("pets", "Photos: somebody.")
    assert recorder.lines == found.note.splitlines()
    assert recorder.lines[2].startswith("Downloading http://photos.invalid/pets.zip")
    assert recorder.lines[3].startswith(
        f"Taking {found.path}, the public archive, verified by its size"
    )
    assert (
        "no digest of it is published" in recorder.lines[3]
        and recorder.lines[4] == "Photos: somebody."
    )


def test_with_no_network_the_solar_cells_are_taken(
    alone: Path, tmp_path: Path, cells: None
) -> None:
    recorder = Recorder()
    found = find_demo_data(None, tmp_path / "cache", reporter=recorder)
    assert found.path == tmp_path / "cache" / "data" / "elpv-dataset.csv"
    assert found.path.read_text() == TABLE_TEXT
    assert found.name == "elpv-dataset" and "CC BY-NC-SA 4.0" in found.credit
    assert recorder.lines == [
        "No photos were given by `data` or HANDFUL_DATA.",
        "There is no cats_and_dogs_filtered.zip in ../shared/data.",
        f"Downloading {CATS_AND_DOGS.url} (68.6 MB).",
        "cats_and_dogs_filtered.zip could not be downloaded: Name or service not known.",
        "Installing.",
        "Taking the 2,624 solar cells of PyPI's elpv-dataset.",
        found.credit,
    ]
    assert found.note == "\n".join(recorder.lines)


def test_an_empty_variable_is_none(
    alone: Path, tmp_path: Path, cells: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDFUL_DATA", "")
    assert find_demo_data(None, tmp_path / "cache").name == "elpv-dataset"


def test_with_no_source_left_the_error_has_every_reason(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "fetch_solar_cells", fail_to_install)
    with pytest.raises(DataError) as caught:
        find_demo_data(None, tmp_path / "cache")
    message = str(caught.value)
    assert "Name or service not known" in message
    assert "elpv-dataset could not be installed: no index." in message
    assert f"`data`, or put {CATS_AND_DOGS.url} at {tmp_path}" in message


def test_an_unwritable_cache_folder_is_named(alone: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(OutputError, match=r"data cannot be written: Not a directory\. .*HANDFUL_C"):
        find_demo_data(None, tmp_path / "cache")


def test_a_full_disk_is_named(alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(registry, "download", full)
    with pytest.raises(OutputError, match="cannot be written: No space left on device"):
        find_demo_data(None, tmp_path / "cache")


def test_two_processes_do_not_fetch_at_once(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl", reason="Windows has no such locks")
    busy: list[bool] = []

    def fetch(folder: Path, reporter: object) -> Path:
        with (folder / ".lock").open("w") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        busy.append(True)
        return folder / "elpv-dataset.csv"

    monkeypatch.setattr(registry, "fetch_solar_cells", fetch)
    find_demo_data(None, tmp_path / "cache")
    assert busy == [True]


def test_an_archive_is_found_where_the_variable_says(
    alone: Path, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tmp_path / "given"
    given.mkdir()
    # Packed by other hands, of another size, under another name.
    path = write_zip(given / "mine.zip", COUNTS, filler=b"the same photo, packed otherwise")
    monkeypatch.setenv("HANDFUL_DATA", str(path))
    recorder = Recorder()
    assert find_archive(archive, tmp_path / "cache", reporter=recorder) == path
    assert recorder.lines == [f"Taking {path}, given by the environment variable HANDFUL_DATA."]
    monkeypatch.setenv("HANDFUL_DATA", str(given))
    path.rename(given / "pets.zip")
    assert find_archive(archive, tmp_path / "cache") == given / "pets.zip"
    assert not (tmp_path / "cache").exists()


def test_another_archive_is_refused_and_a_folder_without_it_passed_over(
    alone: Path,
    archive: Archive,
    tmp_path: Path,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = write_zip(tmp_path / "other.zip", {"pets/train/cats": 1})
    monkeypatch.setenv("HANDFUL_DATA", str(other))
    expected = r"other\.zip holds pets/train/cats/ \(1\); expected .*Put http://photos\.invalid/pe"
    with pytest.raises(DataError, match=expected):
        find_archive(archive, tmp_path / "cache")
    monkeypatch.setenv("HANDFUL_DATA", str(tmp_path))
    shared = alone.parent / "shared" / "data"
    shared.mkdir(parents=True)
    write_zip(shared / "pets.zip", COUNTS)
    recorder = Recorder()
    assert find_archive(archive, tmp_path / "cache", reporter=recorder) == Path(
        "../shared/data/pets.zip"
    )
    assert recorder.lines[0] == f"{tmp_path}, given by HANDFUL_DATA, has no pets.zip."
    monkeypatch.setenv("HANDFUL_DATA", "no/such")
    with pytest.raises(DataError, match=r"no/such, given by .* does not exist; expected pets\.zip"):
        find_archive(archive, tmp_path / "cache")


def test_an_archive_is_fetched_into_the_cache_and_nothing_else_is_taken_instead(
    alone: Path,
    archive: Archive,
    tmp_path: Path,
    cells: None,
    serve: Callable[[bytes | str], list[str]],
    source: Path,
) -> None:
    serve("Name or service not known")
    expected = (
        r"pets\.zip could not be downloaded: Name or service not known\. Put http://\S+/pets\.zip "
        r"at \S+/data/pets\.zip, or name the file .* HANDFUL_DATA\."
    )
    with pytest.raises(DataError, match=expected):
        find_archive(archive, tmp_path / "cache")
    calls = serve(source.read_bytes())
    for _ in range(2):
        path = find_archive(archive, tmp_path / "cache")
        assert path == tmp_path / "cache" / "data" / "pets.zip"
    assert calls == [archive.url] * 2
