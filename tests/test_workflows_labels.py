"""`handful labels`: what a project holds, and its labels for other programs."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from conftest import draw_photo, write_photo
from handful.cli.commands import app
from handful.data.index import load_index
from handful.errors import DataError, UsageError
from handful.features.conversion import FrozenNetwork
from handful.projects.project import Project
from handful.reporting import Reporter
from handful.workflows.labels import labels
from handful.workflows.predict import predict
from handful.workflows.train import evaluate, train


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Two round photos, one square one, one unsorted, one left out, and a text."""
    for number in range(5):
        write_photo(tmp_path / "photos" / f"{number}.jpg", draw_photo("round", number))
    (tmp_path / "photos" / "notes.txt").write_text("hello")
    project = Project.open(tmp_path / "p")
    project.add_source(tmp_path / "photos")
    ids = [photo.id for photo in project.photos]
    project.labels.assign(ids[:2], "round")
    project.labels.assign(ids[2:3], "square")
    project.labels.leave_out(ids[3:4])
    project.inbox.add(ids[4], "round")
    # Labels of photos that are not there count for nothing.
    project.labels.assign(["a" * 32], "round")
    return project


def test_a_project_is_counted(project: Project) -> None:
    found = labels(project.folder)
    assert found.counts == {"round": 2, "square": 1}
    assert (found.num_unsorted, found.num_left_out, found.num_corrections) == (1, 1, 1)
    assert [file.path for file in found.rejected] == ["photos/notes.txt"]
    assert found.written == ()


def test_its_labels_are_written(project: Project, tmp_path: Path) -> None:
    found = labels(project.folder, csv=tmp_path / "l.csv", folders=tmp_path / "f", links=True)
    assert [one.counts for one in found.written] == [{"round": 2, "square": 1}] * 2
    digests = {load_index(tmp_path / name).digest() for name in ("l.csv", "f", "p")}
    assert len(digests) == 1
    with pytest.raises(UsageError, match="`links` is given without `folders`"):
        labels(project.folder, links=True)
    with pytest.raises(DataError, match="is no project"):
        labels(tmp_path / "photos")


def test_the_command_says_so(project: Project, tmp_path: Path) -> None:
    command = ["labels", str(project.folder)]
    done = CliRunner().invoke(app, [*command, "--csv", str(tmp_path / "l.csv")])
    assert done.exit_code == 0, done.output
    assert "p: 3 photos sorted, 1 unsorted, 1 left out" in done.output
    assert "  round: 2\n  square: 1\n1 correction in its inbox" in done.output
    assert f"Written: {tmp_path / 'l.csv'} (3 photos)" in done.output
    done = CliRunner().invoke(app, [*command, "--json"])
    found = json.loads(done.stdout)
    assert found["counts"] == {"round": 2, "square": 1} and found["written"] == []
    done = CliRunner().invoke(app, [*command, "--links"])
    assert done.exit_code == 2 and "--links is given without --folders" in done.output


def test_a_classifier_is_trained_from_a_project(
    photo_folder: Path, tiny_backbone: FrozenNetwork, tmp_path: Path
) -> None:
    project = Project.open(tmp_path / "p")
    project.add_source(photo_folder)
    for name, ids in project.folder_classes(photo_folder).items():
        project.labels.assign(ids[:20], name)
    run = train(project.folder, output=tmp_path / "run", reporter=Reporter())
    assert run.photos == project.folder and len(run.split.index) == 40
    assert run.evaluation.accuracy > 0.6
    assert "8 photos of" in run.split.index.warnings[0]
    found = predict(tmp_path / "run", project.folder)
    assert len(found) == 48
    assert evaluate(tmp_path / "run", project.folder, reporter=Reporter())[0].accuracy > 0.6
