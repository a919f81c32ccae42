from pathlib import Path

import cv2

from conftest import draw_photo
from handful.projects.project import Project
from handful.studio.corrections_view import SHOWN, corrections_view, ignore, put_back, take


def suggest(project: Project, number: int, origin: str = "serve") -> None:
    data = cv2.imencode(".png", draw_photo("round", number))[1].tobytes()
    project.suggest(f"{number}.png", data, "Round", predicted="Square", origin=origin)


def test_corrections_are_taken_ignored_and_put_back(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "work")
    assert corrections_view(project) is None
    for number in range(3):
        suggest(project, number)
    view = corrections_view(project)
    assert view is not None and view.title == "3 corrections from the served page"
    assert [name for _, name, _ in view.photos] == [p.name for p in project.photos]
    assert view.photos[0][2] == "Square, said to be Round" and view.more == ""
    first, second, third = (one for one, _, _ in view.photos)
    assert take(project, [first]) == "1 correction taken as labels"
    assert project.labels.counts == {"Round": 1}
    assert ignore(project, [second, third]) == "2 corrections ignored"
    assert corrections_view(project) is None and len(project.photos) == 3
    put_back(project, [second])
    again = corrections_view(project)
    assert again is not None and again.title == "1 correction from the served page"
    assert again.photos[0][0].predicted == "Square"


def test_many_are_counted(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "work")
    for number in range(SHOWN + 2):
        suggest(project, number, "serve" if number else "elsewhere")
    view = corrections_view(project)
    assert view is not None and view.title == f"{SHOWN + 2} corrections"
    assert len(view.photos) == SHOWN and view.more == "and 2 more corrections"
