from pathlib import Path

import pytest

from handful.errors import UsageError
from handful.projects.project import Project
from handful.studio.photos_view import (
    Chip,
    Hint,
    act,
    details,
    photos_view,
    source_name,
    suggestion_hints,
)
from handful.workflows.labeling import PhotoGroup, Suggestion
from studio_projects import ids_of, unsorted_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return unsorted_project(tmp_path)


@pytest.fixture
def ids(project: Project) -> dict[str, str]:
    return ids_of(project)


def names(project: Project, shown: str) -> list[str]:
    return [cell.name for cell in photos_view(project, shown).cells]


def test_chips_count_what_they_show(project: Project, ids: dict[str, str]) -> None:
    assert act(project, "add_class", name=" Round ") == "There is a class Round now"
    said = act(project, "assign", [ids["round0.png"], ids["round1.png"]], "Round")
    assert said == "2 photos are Round now"
    assert act(project, "leave_out", [ids["square0.png"]]) == "1 photo is left out now"
    assert photos_view(project).chips == (
        Chip("all", "All", 6),
        Chip("unsorted", "Unsorted", 3),
        Chip("alike", "Suggestions", None),
        Chip("next", "Label next", None),
        Chip("class:Round", "Round", 2, number=1),
        Chip("left-out", "Left out", 1),
    )
    assert names(project, "class:Round") == ["round0.png", "round1.png"]
    assert names(project, "unsorted") == ["round2.png", "square1.png", "square2.png"]
    assert names(project, "left-out") == ["square0.png"]
    assert photos_view(project, "class:gone").shown == "all"


def test_keys_are_for_nine_classes(project: Project) -> None:
    for number in range(11):
        act(project, "add_class", name=f"kind {number}")
    keys = [chip.number for chip in photos_view(project).chips if chip.key.startswith("class:")]
    assert keys == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0]


def test_everything_can_be_undone_and_is_said(project: Project, ids: dict[str, str]) -> None:
    act(project, "assign", list(ids.values()), "Round")
    act(project, "unsort", [ids["square0.png"]])
    before = photos_view(project)
    assert before.undo == "1 photo is unsorted" and before.redo == ""
    assert act(project, "undo") == "Taken back: 1 photo is unsorted"
    assert names(project, "unsorted") == [] and photos_view(project).redo == before.undo
    assert act(project, "redo") == "Done again: 1 photo is unsorted"
    assert names(project, "unsorted") == ["square0.png"]
    assert act(project, "unsort", [ids["square0.png"]]) == ""
    while act(project, "undo"):
        pass
    assert photos_view(project).undo == "" and photos_view(project).version != before.version


def test_what_cannot_be_done_is_refused_in_words(project: Project) -> None:
    act(project, "add_class", name="Round")
    with pytest.raises(UsageError, match="There is a class"):
        act(project, "add_class", name="round")
    with pytest.raises(UsageError, match="is no photo's id"):
        act(project, "assign", ["../etc/passwd"], "Round")
    with pytest.raises(UsageError, match="'erase' is nothing that can be done"):
        act(project, "erase")  # type: ignore[arg-type]


def test_a_view_is_plain_values(project: Project, ids: dict[str, str]) -> None:
    act(project, "assign", [ids["round0.png"]], "Round")
    values = photos_view(project, "class:Round", busy="busy").to_dict()
    assert values["cells"] == [[ids["round0.png"], "round0.png", "Round", False]]
    assert values["chips"][0] == {"key": "all", "name": "All", "count": 6, "number": 0}
    assert values["busy"] == "busy" and values["shown"] == "class:Round"


def test_suggestions_are_shown_in_groups_and_never_counted(
    project: Project, ids: dict[str, str]
) -> None:
    act(project, "assign", [ids["round0.png"]], "Round")
    act(project, "leave_out", [ids["square2.png"]])
    likely = PhotoGroup(
        (ids["round1.png"], ids["round0.png"], ids["square2.png"]), Suggestion("Round", 0.92)
    )
    hints = suggestion_hints([likely, PhotoGroup((ids["square1.png"], "0" * 32))])
    view = photos_view(project, "alike", hints=hints)
    assert [cell.name for cell in view.cells] == ["round1.png", "square1.png"]
    assert [cell.hint for cell in view.cells] == [Hint("Round? 92.0 %", "Round"), Hint("")]
    assert view.to_dict()["cells"][0][4:] == ["Round? 92.0 %", "Round"]
    assert [chip.count for chip in view.chips if chip.name == "Round"] == [1]
    assert photos_view(project, "next").cells == ()


def test_one_photo_is_shown_with_what_it_may_be(project: Project, ids: dict[str, str]) -> None:
    id = next(iter(ids.values()))
    act(project, "add_class", name="Blight")
    act(project, "assign", [id], "Blight")
    found = details(project, id, {"Blight": 0.915, "Healthy": 0.085})
    assert found["label"] == "Blight" and not found["left_out"]
    assert found["bars"] == [["Blight", 0.915, "91.5 %"], ["Healthy", 0.085, "8.5 %"]]
    act(project, "leave_out", [id])
    assert details(project, id, {}) == {"label": "", "left_out": True, "bars": []}


def test_a_project_is_called_like_its_photos(tmp_path: Path) -> None:
    assert source_name(tmp_path / "field photos") == "field photos"
    assert source_name(tmp_path / "photos.ZIP") == "photos" and source_name(Path("/")) == "photos"
