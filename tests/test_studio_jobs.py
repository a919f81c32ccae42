import json
import math
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import draw_photo, write_photo
from handful.errors import DataError, UsageError
from handful.projects.project import Project
from handful.reporting import Epoch, Reporter
from handful.run_store.store import RunStore
from handful.studio.desk import Desk
from handful.studio.jobs import JobFolder, JobState
from handful.studio.server import find_project
from handful.studio.trainer import Asked
from handful.studio.worker import run_job


def test_a_job_says_how_far_it_is_and_how_it_ended(tmp_path: Path) -> None:
    job, seen = JobFolder(tmp_path, "train"), []

    def work(reporter: Reporter) -> None:
        with reporter.phase("embed"):
            reporter.progress(4, 4)
            seen.append(job.read())

    assert job.read() is None
    job.write(JobState("train", asked="fast", started=time.time()))
    assert run_job(job, work).status == "done"
    (during,) = seen
    assert during is not None and during.status == "running" and during.asked == "fast"
    assert (during.what, during.done, during.total) == ("looking at the photos", 4, 4)
    found = job.read()
    assert found is not None and found.status == "done"


def test_a_job_is_canceled_and_what_fails_is_said(tmp_path: Path) -> None:
    job = JobFolder(tmp_path, "check")

    def cancel_and_go_on(reporter: Reporter) -> None:
        job.cancel()
        Reporter(reporter).progress(1, 2)
        pytest.fail("it should have stopped")

    assert run_job(job, cancel_and_go_on).status == "canceled"

    def fail(reporter: Reporter) -> None:
        raise DataError("There is no photo.")

    state = run_job(job, fail)
    assert (state.status, state.message) == ("failed", "There is no photo.")

    def crash(reporter: Reporter) -> None:
        raise RuntimeError("odd")

    state = run_job(job, crash)
    assert state.status == "failed" and "RuntimeError: odd" in state.message


def test_a_killed_process_is_noticed(tmp_path: Path) -> None:
    job = JobFolder(tmp_path, "train")
    job.write(JobState("train"))
    file = job.folder / "state.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "updated": time.time() - 60}))
    found = job.read()
    assert found is not None and found.status == "failed" and "unexpectedly" in found.message
    file.write_text("{")
    assert job.read() is None


def test_epochs_are_kept_and_a_second_training_begins_anew(tmp_path: Path) -> None:
    job = JobFolder(tmp_path, "train")
    assert job.epochs() == []
    epoch = Epoch(1, 3, 0.7, 0.5, math.nan, math.nan, 1e-3, 9.0, {"auc": 0.5})
    epochs = [epoch, replace(epoch, epoch=2, val_loss=0.4, val_accuracy=0.75)]

    def work(reporter: Reporter) -> str:
        for one in [*epochs, *epochs]:
            reporter.epoch(one)
            found = job.read()
            assert found is not None and 0 < (found.seconds_left or 0) <= 9
        return "It was stopped early."

    state = run_job(job, work)
    assert (state.status, state.message) == ("canceled", "It was stopped early.")
    assert state.accuracy == 0.75
    first, second = job.epochs()
    assert (first["epoch"], first["val_loss"], second["val_loss"]) == (1, None, 0.4)


@pytest.mark.slow
def test_a_killed_training_is_noticed_at_once_and_gone_on_with(tmp_path: Path) -> None:
    for kind in ("round", "square"):
        for number in range(4):
            write_photo(tmp_path / "heap" / kind / f"{number}.png", draw_photo(kind, number))
    desk = Desk(Project.create(tmp_path / "work"))
    desk.take(tmp_path / "heap").join()
    trainer, job = desk.trainer, desk.train_job
    with pytest.raises(UsageError, match="quality"):
        trainer.begin({"quality": "perfect"})
    assert job.read() is None
    trainer.begin({})
    trainer.begin({"quality": "best"})  # one is running
    state = _wait(job, lambda state: bool(state.pid))
    os.kill(state.pid, signal.SIGKILL)
    state = _wait(job, lambda state: state.status != "running")
    assert state.was_killed and state.asked == "fast" and not trainer.is_unfinished
    trainer.go_on()
    assert Asked.of(job).goes_on and _wait(job, lambda state: state.status != "running")
    state = job.read()
    assert state is not None and state.status == "done"
    assert [row.name for row in RunStore(desk.project.runs).list()] == ["work"]
    assert trainer.times.version  # it has learned how long the rest takes
    desk.project.labels.assign([desk.project.photos[0].id], "square")
    trainer.go_on()
    asked = Asked.of(job)
    assert not asked.goes_on and asked.run == "work-2"
    job.cancel()
    _wait(job, lambda state: state.status != "running")


def _wait(job: JobFolder, is_over: Callable[[JobState], bool]) -> JobState:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        state = job.read()
        assert state is not None
        if is_over(state):
            return state
        time.sleep(0.05)
    raise AssertionError(f"still {state}")


def test_photos_are_taken_in_place_and_nothing_is_written_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_photo(tmp_path / "heap" / "a.png", draw_photo("round", 0))
    (tmp_path / "heap" / "notes.txt").write_text("milk")
    project, source = find_project(Path("heap"), None)
    assert project.folder == Path("heap.handful") and source == Path("heap")
    desk = Desk(project)
    desk.take(source).join()
    view = desk.photos_view("all")
    assert [cell.name for cell in view.cells] == ["a.png"] and view.busy == ""
    assert sorted(file.name for file in (tmp_path / "heap").iterdir()) == ["a.png", "notes.txt"]
    desk.take(source).join()  # as when it is opened again
    assert desk.photos_view("all").busy == ""
    again, source = find_project(Path("heap.handful"), None)
    assert source is None and len(again.photos) == 1
    empty, source = find_project(None, None)
    assert empty.folder == Path("studio.handful") and source is None and not empty.photos


def test_class_folders_are_labels_that_can_be_undone(tmp_path: Path) -> None:
    for kind in ("round", "square"):
        write_photo(tmp_path / "heap" / kind / "a.png", draw_photo(kind, 0))
    desk = Desk(Project.create(tmp_path / "work"))
    desk.take(tmp_path / "heap").join()
    labels = desk.project.labels
    assert labels.counts == {"round": 1, "square": 1}
    while labels.undo():
        pass
    desk.take(tmp_path / "heap").join()  # what was taken back stays so
    assert labels.counts == {}


def test_photos_are_suggested_and_the_next_ones_have_reasons(
    tmp_path: Path, tiny_backbone: object
) -> None:
    for kind in ("round", "square"):
        for number in range(8):
            write_photo(tmp_path / "heap" / f"{kind}{number}.png", draw_photo(kind, number))
    desk = Desk(Project.create(tmp_path / "work"))
    desk.take(tmp_path / "heap").join()
    for photo in desk.project.photos:
        if photo.name[-5] in "01234":
            desk.project.labels.assign([photo.id], photo.name[:-5])
    assert desk.photos_view("next").busy == "Looking at the photos"
    deadline = time.monotonic() + 300
    while desk.busy and time.monotonic() < deadline:
        time.sleep(0.01)
    reasons = [cell.hint for cell in desk.photos_view("next").cells]
    assert len(reasons) == 6 and all(hint and hint.text for hint in reasons)
    assert len(desk.photos_view("alike").cells) == 6


def test_trouble_with_photos_is_shown(tmp_path: Path) -> None:
    (tmp_path / "heap").mkdir()
    desk = Desk(Project.create(tmp_path / "work"))
    desk.take(tmp_path / "heap").join()
    assert "has no photo that can be used" in desk.photos_view("all").busy
    assert desk.results.latest() is None and desk.check.cards() is None
    assert desk.classifier.answer("a.jpg", b"")["error"].startswith("There is no classifier yet")
