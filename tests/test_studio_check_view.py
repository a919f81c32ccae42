from pathlib import Path
from typing import Any

import pytest

from handful.projects.project import Project
from handful.studio.check_view import finding_cards
from handful.studio.photos_view import act
from studio_projects import ids_of, unsorted_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Six photos, all labeled Round: three round ones and three square ones."""
    found = unsorted_project(tmp_path)
    act(found, "assign", [photo.id for photo in found.photos], "Round")
    return found


def places(project: Project) -> dict[str, str]:
    return {photo.name: photo.path for photo in project.photos}


def finding(kind: str, severity: str = "warning", **values: Any) -> dict[str, Any]:
    empty = {"title": f"{kind} found", "advice": "mend it", "groups": [], "lines": [], "fixes": []}
    return {**empty, "kind": kind, "severity": severity, **values}


def test_a_finding_is_a_card_that_knows_what_was_decided(project: Project) -> None:
    labels, paths = project.labels.all(), places(project)
    ids = ids_of(project)
    fix = {"path": paths["square1.png"], "label": "Square", "action": "relabel", "reason": "blue"}
    suspect = {"path": paths["square2.png"], "suggested": "Blue", "probability": 0.8}
    groups = [[paths["square1.png"]], [paths["square2.png"]], ["gone.png"]]
    report = {
        "label_review": {"suspects": [suspect]},
        "findings": [
            finding("label-suspect", groups=groups, fixes=[fix], lines=["a", "b", "c"]),
            finding("few-photos", "error", lines=["Round has 6"]),
        ],
    }
    suspects, few = finding_cards(project, report, labels)
    assert [photo.name for photo in suspects.photos] == ["square1.png", "square2.png"]
    assert [photo.suggested for photo in suspects.photos] == ["Square", "Blue"]
    assert [photo.line for photo in suspects.photos] == ["blue", "looks like Blue (80 %)"]
    assert "fix list" not in suspects.advice and not suspects.is_done and not suspects.is_paired
    assert suspects.may_be_a_class and suspects.heading == "label-suspect found"
    assert few.lines == ("Round has 6",) and few.severity == "error" and not few.photos
    assert few.wants_decision and not few.is_done
    act(project, "assign", [ids["square1.png"]], "Square")
    kept = [("label-suspect", ids["square2.png"]), ("few-photos", "few-photos found")]
    suspects, few = finding_cards(project, report, labels, kept)
    assert [photo.done for photo in suspects.photos] == ["is now Square", "kept"]
    assert suspects.is_done and few.is_done and suspects.heading.endswith(" – done")


def test_copies_stand_side_by_side(project: Project) -> None:
    paths = places(project)
    pair = [paths["round0.png"], paths["square0.png"]]
    three = [paths["round1.png"], paths["round2.png"], paths["square1.png"]]
    choose = [
        {"path": path, "label": "", "action": "keep", "reason": "remove one"} for path in pair
    ]
    said = {"path": three[1], "label": "", "action": "remove", "reason": "others support Square"}
    labels = {**project.labels.all(), project.photos[0].id: "Square"}
    report = {
        "findings": [
            finding("same-photo-two-labels", "error", groups=[pair], fixes=choose),
            finding("near-duplicate", "note", groups=[three, ["gone.png"]], fixes=[said]),
        ]
    }
    two_labels, near = finding_cards(project, report, labels)
    (group,) = two_labels.groups
    assert two_labels.is_paired and group.labels == ("Square", "Round")
    assert [photo.line for photo in group.photos] == ["", ""]
    assert not two_labels.has_one_label_each and near.has_one_label_each
    (group,) = near.groups
    assert group.others == tuple(photo.id for photo in group.photos[1:])
    assert [photo.line for photo in group.photos] == ["", "others support Square", ""]
    assert not near.wants_decision
    # One of the three is kept already: the others are what is left out.
    kept = [("near-duplicate", group.photos[0].id)]
    (group,) = finding_cards(project, report, labels, kept)[1].groups
    assert group.others == tuple(photo.id for photo in group.photos[1:]) and not group.is_done


def test_a_shortcut_is_explained(project: Project) -> None:
    shortcut = {
        "name": "photo dimensions",
        "most_telling": "width",
        "by_class": ["a: b: median 500", "dogs: median 320"],
    }
    title = "Photo dimensions alone tell 80 % of the photos' classes (guessing: 50 %)"
    findings = [finding("shortcut", severity, title=title) for severity in ("warning", "note")]
    strong, weak = finding_cards(project, {"findings": findings, "shortcuts": [shortcut]}, {})
    assert strong.facts == (("a: b", "median 500"), ("dogs", "median 320"))
    assert strong.lines == ("Most telling is: width.",)
    assert "in the same way" in strong.advice and "nothing need be done" in weak.advice
