from pathlib import Path
from typing import Any

from handful.data.index import RejectedFile
from handful.models.classifier import Prediction
from handful.studio.folder_answers import FolderAnswers
from handful.studio.folder_view import PAGE, folder_view


def prediction(name: str, share: float, sure: bool = True, unusual: bool = False) -> Prediction:
    label, shares = ("Round" if share > 0.5 else "Square"), {"Round": share, "Square": 1 - share}
    return Prediction(f"field/{name}", label, max(share, 1 - share), shares, unusual, sure)


ANSWERS = FolderAnswers(
    "field",
    "first",
    Path("field"),
    (
        prediction("a.jpg", 0.99),
        prediction("more/b.jpg", 0.6, sure=False),
        prediction("c.jpg", 0.9, sure=False, unusual=True),
        prediction("d.jpg", 0.1),
    ),
    ("1", "2", "3", "4"),
    (RejectedFile("field/notes.txt", "is not a photo"),),
)
NOTHING = [None] * 4


def names(view: dict[str, Any]) -> list[str]:
    return [row["name"] for row in view["rows"]]


def test_each_photo_is_in_one_group() -> None:
    view = folder_view(ANSWERS, NOTHING, ["Round", "Other"])
    assert view["title"] == "field: 4 photos, classified by first"
    counts = {chip["name"]: chip["count"] for chip in view["chips"]}
    assert counts == {"All": 4, "Not sure": 1, "Unusual": 1, "Round": 1, "Square": 1, "Not read": 1}
    assert names(view) == ["a.jpg", "more/b.jpg", "c.jpg", "d.jpg"]
    assert view["classes"] == ["Round", "Other", "Square"]
    assert [row["note"] for row in view["rows"]] == [
        "",
        "not sure, perhaps",
        "unusual, perhaps",
        "",
    ]
    assert names(folder_view(ANSWERS, NOTHING, [], "not sure")) == ["more/b.jpg"]
    assert names(folder_view(ANSWERS, NOTHING, [], "class:Square")) == ["d.jpg"]
    unread = folder_view(ANSWERS, NOTHING, [], "unreadable")
    assert unread["rows"] == [] and unread["unreadable"] == [["notes.txt", "is not a photo"]]
    assert folder_view(ANSWERS, NOTHING, [], "nothing known")["shown"] == "all"


def test_what_people_say_counts_for_more() -> None:
    labels = ["Square", "Round", None, None]
    view = folder_view(ANSWERS, labels, ["Round"], "otherwise")
    assert names(view) == ["a.jpg"] and view["rows"][0]["said"] == "Square"
    counts = {chip["name"]: chip["count"] for chip in view["chips"]}
    assert counts["Not sure"] == 0 and counts["Round"] == 1 and counts["Square"] == 2
    found = ANSWERS.corrected(labels)
    assert [one.label for one in found] == ["Square", "Round", "Round", "Square"]
    assert found[0].probability == 1 - 0.99 and found[1].is_confident
    assert found[2] == ANSWERS.predictions[2]
    assert ANSWERS.corrected(["New", None, None, None])[0].probability == 0.0


def test_there_are_pages() -> None:
    many = tuple(prediction(f"{number}.jpg", 0.9) for number in range(PAGE + 5))
    answers = FolderAnswers("field", "first", Path("field"), many, ("0",) * len(many))
    view = folder_view(answers, [None] * len(many), [], first=PAGE)
    assert len(view["rows"]) == 5 and (view["first"], view["total"]) == (PAGE, PAGE + 5)
    assert folder_view(answers, [None] * len(many), [], first=10**6)["first"] == PAGE
    empty = FolderAnswers("field", "first", Path("field"), (), ())
    assert folder_view(empty, [], [], first=3)["rows"] == []
