import csv
import io
from pathlib import Path

import pytest

from conftest import draw_photo, write_photo
from handful.cli.commands import app
from handful.errors import DataError, UsageError
from handful.models.classifier import Classifier
from handful.projects.project import Project
from handful.reporting import Reporter
from handful.run_store.store import RunStore
from handful.studio import use_worker
from handful.studio.folder_answers import classify_folder
from handful.studio.folder_table import ANSWERS_FILE, FolderTable

typer_testing = pytest.importorskip("typer.testing")


@pytest.fixture
def field(tmp_path: Path) -> Path:
    for number in range(2):
        write_photo(tmp_path / "field" / f"a{number}.png", draw_photo("round", number))
    write_photo(tmp_path / "field" / "more" / "b.png", draw_photo("square", 9))
    (tmp_path / "field" / "notes.txt").write_text("milk")
    return tmp_path / "field"


@pytest.fixture
def table(tmp_path: Path) -> FolderTable:
    return FolderTable(Project.create(tmp_path / "work"))


def send(table: FolderTable, field: Path) -> None:
    for path in sorted(field.rglob("*.*")):
        table.add(path.relative_to(field.parent).as_posix(), path.read_bytes())


def classify(table: FolderTable, run: Path, source: Path, title: str = "field") -> None:
    found = classify_folder(Classifier.load(run), run.name, source, title, Reporter())
    found.save(table.job.folder / ANSWERS_FILE)


def test_a_folder_that_was_sent_is_classified_corrected_and_forgotten(
    table: FolderTable, field: Path, tiny_run: Path
) -> None:
    send(table, field)
    sent = table.job.folder / "photos"
    classify(table, tiny_run, sent)
    view = table.view("all", 0)
    names = [row["name"] for row in view["rows"]]
    assert names == ["field/a0.png", "field/a1.png", "field/more/b.png"]
    assert [chip["count"] for chip in view["chips"] if chip["key"] == "unreadable"] == [1]
    assert table.thumbnail(0)[:4] == b"RIFF"
    assert table.correct(2, "Triangle") == "b.png is Triangle now, and one of your photos"
    assert table.project.labels.counts == {"Triangle": 1} and len(table.project.photos) == 1
    assert table.view("all", 0)["rows"][2]["said"] == "Triangle"
    rows = list(csv.DictReader(io.StringIO(table.csv().decode())))
    assert [row["path"] for row in rows] == names
    assert (rows[2]["label"], rows[2]["is_confident"]) == ("Triangle", "yes")
    assert table.sort().startswith("3 photos copied to ")
    sorted_ = table.project.folder / "sorted" / "field"
    assert [path.name for path in (sorted_ / "Triangle").iterdir()] == ["b.png"]
    assert "3 were there before" in table.sort()
    table.project.labels.undo()
    assert table.view("all", 0)["rows"][2]["said"] == ""
    (sent / "field" / "a0.png").unlink()
    again = FolderTable(table.project)
    with pytest.raises(DataError, match="1 photos are gone"):
        again.correct(1, "Round")
    for row in (-1, 3):
        with pytest.raises(UsageError):
            table.thumbnail(row)
    table.clear()
    assert table.view("all", 0)["chips"] == [] and not sent.exists()
    with pytest.raises(UsageError, match="No folder"):
        table.csv()


@pytest.mark.slow
def test_the_table_is_what_predict_prints(table: FolderTable, field: Path, tiny_run: Path) -> None:
    classify(table, tiny_run, field)
    command = ["predict", str(tiny_run), str(field), "--abstain", "--csv", "--quiet"]
    printed = typer_testing.CliRunner().invoke(app, command)
    assert table.csv().decode() == printed.stdout
    into = field.parent / "sorted"
    typer_testing.CliRunner().invoke(app, [*command, "--sort-into", str(into)])
    table.sort()
    ours = table.project.folder / "sorted" / "field"
    assert {path.relative_to(into) for path in into.rglob("*")} == {
        path.relative_to(ours) for path in ours.rglob("*")
    }


def test_names_from_a_browser_stay_in_their_folder(table: FolderTable) -> None:
    for name in ("../../x.png", "/etc/y.png", "a\\..\\z.png", "a//z.png", "..", ""):
        table.add(name, b"")
    sent = table.job.folder / "photos"
    found = sorted(path.relative_to(sent).as_posix() for path in sent.rglob("*") if path.is_file())
    assert found == ["a/z-2.png", "a/z.png", "etc/y.png", "photo", "photo-2", "x.png"]
    assert not [path for path in table.project.folder.parent.iterdir() if path.name != "work"]


def test_only_folders_that_were_named_are_classified_where_they_lie(
    table: FolderTable, field: Path, tiny_run: Path
) -> None:
    run = RunStore().read(tiny_run)
    assert table.sources == ()
    with pytest.raises(UsageError, match="no such folder"):
        table.begin(run, 0)
    with pytest.raises(UsageError, match="train one first"):
        table.begin(None)
    table.project.add_source(field)
    assert table.sources == (field,) and table.view("all", 0)["sources"] == ["field"]
    for source in (-1, 1):
        with pytest.raises(UsageError, match="no such folder"):
            table.begin(run, source)


def test_the_process_writes_the_answers(
    table: FolderTable, field: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(use_worker.os, "nice", lambda by: by)
    monkeypatch.setattr(use_worker, "claim_process", lambda: None)
    folder = str(table.project.folder)
    use_worker.main("classify", folder, "", str(tiny_run), str(field), "field")
    state = table.job.read()
    assert state is not None and state.status == "done"
    assert len(table.view("all", 0)["rows"]) == 3
    use_worker.main("classify", folder, "", str(tiny_run / "none"), str(field), "field")
    assert "none" in table.view("all", 0)["trouble"]
