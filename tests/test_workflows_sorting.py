import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import handful
from handful.cli.commands import app
from handful.data.index import load_unlabeled
from handful.errors import OutputError, UsageError
from handful.files import atomic
from handful.models.classifier import Prediction
from handful.workflows.sorting import (
    MARK_FILE,
    check_sorting_folder,
    folder_names,
    plain_name,
    sort_photos,
)

pytestmark = pytest.mark.usefixtures("tiny_backbone")


@pytest.fixture
def photos(photo_folder: Path, tmp_path: Path) -> Path:
    """Three round and two square photos on one heap."""
    heap = tmp_path / "heap"
    heap.mkdir()
    for kind, number in (("round", 3), ("square", 2)):
        for path in sorted((photo_folder / kind).iterdir())[:number]:
            shutil.copyfile(path, heap / f"{kind}-{path.name}")
    return heap


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


def files(folder: Path) -> list[str]:
    found = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    return sorted(name for name in found if name != MARK_FILE)


def answer(path: str, label: str, sure: bool | None = None, odd: bool = False) -> Prediction:
    return Prediction(path, label, 0.9, {"a": 0.5, "b": 0.5}, odd, sure)


def test_photos_are_copied_into_class_folders(photos: Path, tiny_run: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in photos.iterdir()}
    out = tmp_path / "sorted"
    result = invoke(tiny_run, photos, "--sort-into", out, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["sorted"] == {
        "folder": str(out),
        "counts": {"round": 3, "square": 2},
        "num_kept": 0,
        "skipped": [],
    }
    assert files(out) == sorted(f"{name.split('-')[0]}/{name}" for name in before)
    assert {path.name: path.read_bytes() for path in photos.iterdir()} == before
    assert all((out / name).read_bytes() == before[Path(name).name] for name in files(out))
    again = invoke(tiny_run, photos, "--sort-into", out)
    assert "Copied 0 photos into" in again.stderr and "5 photos had been copied" in again.stderr
    assert len(files(out)) == 5


def test_python_sorts_too(photos: Path, tiny_run: Path, tmp_path: Path) -> None:
    found = handful.predict(tiny_run, [photos], sort_into=tmp_path / "sorted")
    assert len(found) == 5 and len(files(tmp_path / "sorted")) == 5
    with pytest.raises(UsageError, match="a photo was given without one"):
        handful.predict(tiny_run, next(photos.iterdir()).read_bytes(), sort_into=tmp_path / "b")


def test_photos_of_a_zip_are_copied_out(photos: Path, tiny_run: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in photos.iterdir():
            archive.write(path, f"deep/{path.name}")
    handful.predict(tiny_run, tmp_path / "photos.zip", sort_into=tmp_path / "sorted")
    assert len(files(tmp_path / "sorted")) == 5


def test_doubt_has_folders_where_it_is_asked_for(photos: Path, tmp_path: Path) -> None:
    index = load_unlabeled(photos)
    answers = [
        answer(path, "a", sure, odd)
        for path, (sure, odd) in zip(
            index.paths,
            [(True, False), (False, False), (False, True), (None, True), (None, False)],
            strict=True,
        )
    ]
    found = sort_photos(index, answers, tmp_path / "out")
    assert found.counts == {"a": 3, "not sure": 1, "unusual": 1}


@pytest.mark.parametrize("has_links", [True, False])
def test_nothing_is_overwritten(
    has_links: bool, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_links:  # as on a memory stick

        def refuse(*paths: object) -> None:
            raise PermissionError("no links here")

        monkeypatch.setattr(atomic.os, "link", refuse)
    for day in ("monday", "tuesday", "wednesday"):
        (tmp_path / "days" / day).mkdir(parents=True)
    first, second, third = sorted(photos.iterdir())[:3]
    shutil.copyfile(first, tmp_path / "days" / "monday" / "IMG_1.jpg")
    shutil.copyfile(second, tmp_path / "days" / "tuesday" / "IMG_1.jpg")
    shutil.copyfile(third, tmp_path / "days" / "wednesday" / "IMG_1.jpg")
    index = load_unlabeled(tmp_path / "days")
    answers = [answer(path, "a") for path in index.paths]
    out = tmp_path / "out"
    for _ in range(2):
        sort_photos(index, answers, out)
        assert files(out) == ["a/IMG_1-2.jpg", "a/IMG_1-3.jpg", "a/IMG_1.jpg"]
        copies = {(out / name).read_bytes() for name in files(out)}
        assert copies == {path.read_bytes() for path in (first, second, third)}


def test_photos_that_changed_meanwhile_are_named(photos: Path, tmp_path: Path) -> None:
    index = load_unlabeled(photos)
    (photos / "round-000.jpg").write_bytes(b"other")
    found = sort_photos(index, [answer(path, "a") for path in index.paths], tmp_path / "out")
    assert found.counts == {"a": 4}
    ((path, reason),) = [(file.path, file.reason) for file in found.skipped]
    assert path.endswith("round-000.jpg") and "changed" in reason


def test_folders_of_others_are_refused(photos: Path, tiny_run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    check_sorting_folder(other, [photos])
    (other / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds files that handful did not copy there"):
        handful.predict(tiny_run, photos, sort_into=other)
    with pytest.raises(OutputError, match="is a file"):
        check_sorting_folder(other / "mine.txt", [photos])
    (tmp_path / "link").symlink_to(photos)
    for inside in (photos, photos / "sorted", tmp_path / "link" / "sorted"):
        with pytest.raises(UsageError, match="classified again the next time"):
            check_sorting_folder(inside, [photos])
    result = invoke(tiny_run, photos, "--sort-into", photos / "sorted")
    assert result.exit_code == 2 and "`sort_into`" not in result.stderr
    assert "--sort-into" in result.stderr and not (photos / "sorted").exists()
    assert files(other) == ["mine.txt"]


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("cats", "cats"),
        ("Grün & Blau", "Grün & Blau"),
        ("../../etc", "_.._.._etc"),
        ("a/b\\c:d", "a_b_c_d"),
        ("", "_"),
        ("..", "_"),
        (".hidden", "_.hidden"),
        ("CON", "_CON"),
        ("nul.jpg", "_nul.jpg"),
        ("dots. . ", "dots"),
        ("\ud800\x00\n", "___"),
        ("é" * 200 + ".jpg", "é" * 98 + ".jpg"),
    ],
)
def test_names_fit_every_system(name: str, plain: str, tmp_path: Path) -> None:
    assert plain_name(name) == plain
    (tmp_path / "made" / plain_name(name)).mkdir(parents=True)
    assert os.listdir(tmp_path / "made") == [plain_name(name)]


def test_classes_never_share_a_folder() -> None:
    names = ["a/b", "a\\b", "A_B", "not sure", "not sure"]
    assert folder_names(names) == ["a_b", "a_b (2)", "A_B (3)", "not sure", "not sure (2)"]
