import json
from pathlib import Path

import pytest

from conftest import draw_photo, write_photo
from handful.projects.project import Project
from handful.studio.check_desk import CheckDesk


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A photo, and a check that found it blurred; that there are few photos is a note."""
    write_photo(tmp_path / "heap" / "round.png", draw_photo("round", 0))
    found = Project.create(tmp_path / "work")
    found.add_source(tmp_path / "heap")
    blurred = {"kind": "blurred", "severity": "warning", "title": "1 photo is blurred"}
    few = {"kind": "few", "severity": "note", "title": "Few photos"}
    rest = {"advice": "", "lines": [], "fixes": [], "groups": []}
    groups = [[found.photos[0].path]]
    (found.folder / "check").mkdir()
    report = {"findings": [{**rest, **blurred, "groups": groups}, {**rest, **few}]}
    (found.folder / "check" / "check.json").write_text(json.dumps(report))
    return found


def test_decisions_are_kept_and_taken_back(project: Project) -> None:
    desk, other, id = CheckDesk(project), CheckDesk(project), project.photos[0].id
    assert desk.num_open == 1 and [card.is_done for card in desk.cards() or ()] == [False, False]
    other.keep("blurred", [id])
    assert desk.num_open == 0 and (desk.cards() or ())[0].is_done
    desk.keep("blurred", [id], is_kept=False)
    assert other.num_open == 1
    # What another process wrote meanwhile is not lost.
    CheckDesk(project).keep("few", ["Few photos"])
    CheckDesk(project).keep("blurred", [id])
    assert all(card.is_done for card in CheckDesk(project).cards() or ())


def test_cards_are_made_anew_when_something_has_changed(project: Project) -> None:
    desk, photo = CheckDesk(project), project.photos[0]
    (desk.job.folder).mkdir(parents=True)
    (desk.job.folder / "labels.json").write_text(json.dumps({photo.id: "Round"}))
    project.labels.assign([photo.id], "Round")
    before = desk.cards()
    assert before is desk.cards() and before is not None
    project.labels.assign([photo.id], "Square")
    (found,) = (desk.cards() or before)[0].photos
    assert found.label == "Round" and found.done == "is now Square" and desk.num_open == 0


def test_before_a_check_there_is_nothing(tmp_path: Path) -> None:
    desk = CheckDesk(Project.create(tmp_path / "work"))
    assert desk.cards() is None and desk.num_open == 0
    (desk.project.folder / "check").mkdir()
    (desk.project.folder / "check" / "check.json").write_text("[")
    assert desk.cards() is None
