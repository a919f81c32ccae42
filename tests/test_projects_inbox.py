"""Corrections wait until somebody decides."""

import io
from pathlib import Path

import pytest
from PIL import Image

from conftest import draw_photo
from handful.errors import DataError, UsageError
from handful.projects.inbox import Inbox
from handful.projects.project import Project

A, B = "a" * 32, "b" * 32


def test_corrections_wait_and_are_closed(tmp_path: Path) -> None:
    inbox, other = Inbox(tmp_path / "inbox.jsonl"), Inbox(tmp_path / "inbox.jsonl")
    inbox.add(A, " dogs ", predicted="cats", origin="serve")
    other.add(B, "cats")
    inbox.add(A, "wolves")  # said again: the last word counts
    found = [(one.id, one.class_name, one.predicted, one.origin) for one in other.waiting]
    assert found == [(B, "cats", "", ""), (A, "wolves", "", "")]
    assert inbox.waiting == other.waiting and inbox.version == other.version
    other.close([A, "c" * 32])
    assert [one.id for one in inbox.waiting] == [B]
    version = inbox.version
    inbox.close([A])
    assert inbox.version == version


def test_wrong_corrections_are_refused(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox.jsonl")
    with pytest.raises(UsageError, match="is no photo's id"):
        inbox.add("../x", "dogs")
    with pytest.raises(UsageError, match="slashes"):
        inbox.add(A, "a/b")
    assert inbox.waiting == () and not (tmp_path / "inbox.jsonl").exists()
    (tmp_path / "inbox.jsonl").write_text('{"op":"suggest"}\n')
    with pytest.raises(DataError, match=r"inbox\.jsonl, line 1 makes no sense: 'id' is not in it"):
        Inbox(tmp_path / "inbox.jsonl")


def test_a_server_s_corrections_become_labels(tmp_path: Path) -> None:
    project = Project.open(tmp_path / "p")
    for seed, class_name in ((1, "round"), (2, "square"), (3, "round")):
        file = io.BytesIO()
        Image.fromarray(draw_photo("round", seed)).save(file, "JPEG")
        given = f"{seed}.jpg", file.getvalue(), class_name
        project.suggest(*given, predicted="square", origin="serve")
    assert len(project.photos) == 3 and project.labels.all() == {}
    with pytest.raises(UsageError, match="slashes"):
        project.suggest("x.jpg", b"", "a/b")
    with pytest.raises(DataError, match=r"x\.jpg is empty"):
        project.suggest("x.jpg", b"", "a")
    project.accept(project.inbox.waiting[:2])
    assert project.labels.counts == {"round": 1, "square": 1}
    assert [one.class_name for one in Project(tmp_path / "p").inbox.waiting] == ["round"]
