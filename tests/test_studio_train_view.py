"""What the page of trainings says, from plain values."""

from dataclasses import replace
from pathlib import Path

import pytest

from handful.projects.project import Project
from handful.studio.jobs import JobState
from handful.studio.photos_view import act
from handful.studio.train_view import (
    estimate_of,
    interrupted_view,
    job_line,
    line_of,
    train_view,
)
from handful.workflows.forecast import Forecast
from studio_projects import ids_of, unsorted_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return unsorted_project(tmp_path)


@pytest.fixture
def ids(project: Project) -> dict[str, str]:
    return ids_of(project)


def test_training_needs_two_classes_of_two_photos(project: Project, ids: dict[str, str]) -> None:
    assert not train_view(project).is_ready
    act(project, "assign", [ids[f"round{number}.png"] for number in range(3)], "Round")
    assert train_view(project).sentence == "Sort photos into two classes or more first."
    act(project, "assign", [ids["square0.png"]], "Square")
    assert train_view(project).sentence.startswith("Square has one photo only")
    act(project, "assign", [ids["square1.png"]], "Square")
    view = train_view(project)
    assert view.is_ready and view.advice.startswith("Round has few photos")
    assert view.sentence == "5 photos to learn from and to test on: 3 Round, 2 Square."


def test_the_line_says_how_far_a_job_is() -> None:
    state = JobState("train", what="looking at the photos", done=3, total=12, asked="good")
    state = replace(state, started=100.0, updated=105.0)
    line = job_line(state, 106.0)
    assert line.text == "Training (good): looking at the photos, 6.0 s"
    assert line.share == 0.25 and line.is_running and not line.is_error
    failed = job_line(replace(state, status="failed", message="No room."), 106.0)
    assert failed.text == "Training (good) stopped: No room." and failed.is_error
    assert job_line(replace(state, status="canceled"), 106.0).text.endswith("was canceled.")
    done = replace(state, status="done")
    assert job_line(done, 106.0).result == "/results"
    assert job_line(done, 1000.0).text == job_line(None, 0.0).text == ""
    check = JobState("check", status="done", updated=105.5)
    assert line_of([state, check, None], 106.0).is_running
    assert line_of([done, check], 106.0).result == "/check" and line_of([], 0.0).text == ""


def test_the_line_says_what_is_left_and_how_good_it_is_by_now() -> None:
    state = JobState("train", what="learning", asked="best", started=100.0, updated=160.0)
    state = replace(state, seconds_left=43.0, accuracy=0.934)
    assert job_line(state, 162.0).text == "Training (best): learning, 41 s left · 93 % so far"
    assert "1 s left" in job_line(state, 300.0).text
    assert "5 min left" in job_line(replace(state, seconds_left=301.0), 160.0).text
    early = replace(state, status="canceled", message="It was stopped early.")
    assert job_line(early, 162.0).text == "Training (best): It was stopped early."
    assert job_line(early, 162.0).result == "/results"


def test_an_estimate_says_what_it_knows() -> None:
    assert estimate_of(None) == estimate_of(Forecast((2.0,))) == ""
    assert estimate_of(Forecast((20.0, 100.0))) == "2 min or more"
    known = Forecast((20.0, 1000.0), 10.0)
    assert estimate_of(known) == "about 17 min"
    assert estimate_of(known, time_budget=1) == "about 1 min"


def test_what_was_interrupted_can_be_gone_on_with() -> None:
    running = JobState("train", asked="augmented")
    assert interrupted_view(None, 0, True, False) is None
    assert interrupted_view(running, 3, True, True) is None
    killed = replace(running, status="failed", was_killed=True)
    view = interrupted_view(killed, 3, True, True)
    assert view is not None and view.button == "Go on"
    assert view.sentence.startswith("The training (augmented) ended unexpectedly after 3 epochs. ")
    view = interrupted_view(killed, 0, True, False)
    assert view is not None and "not looked at again" in view.sentence
    view = interrupted_view(killed, 3, False, True)
    assert view is not None and view.button == "Begin again" and "anew" in view.sentence
    assert interrupted_view(replace(running, status="failed"), 3, True, True) is None
    canceled = replace(running, status="canceled")
    assert interrupted_view(canceled, 0, True, False) is None
    view = interrupted_view(canceled, 1, True, True)
    assert view is not None and "was stopped after 1 epoch. It goes on there" in view.sentence
