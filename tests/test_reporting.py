import math
import re
from contextlib import suppress

import pytest

from handful.reporting import Epoch, PrintReporter, Reporter
from reporters import Recorder, Stopper


def work(reporter: Reporter, *phases: str) -> None:
    for name in phases:
        with reporter.phase(name):
            for done in range(1, 4):
                reporter.progress(done, 3)


def test_a_reporter_of_its_own_is_silent_and_times_phases(capsys: pytest.CaptureFixture) -> None:
    reporter = Reporter()
    work(reporter, "index", "embed", "index")
    reporter.log("nobody hears this")
    assert not reporter.cancelled and capsys.readouterr() == ("", "")
    timings = reporter.timings()
    assert set(timings) == {"index", "embed", "total"}
    assert timings["total"] >= timings["index"] + timings["embed"] > 0


def test_a_job_passes_on_everything_and_times_itself() -> None:
    recorder = Recorder()
    for _ in range(2):
        job = Reporter(recorder, prefix="first ")
        with job.phase("embed"):
            assert recorder.phases == ["first embed"]
            job.progress(1, 2)
        job.log("a line")
        assert set(job.seconds) == {"embed"}
    assert job.seconds["embed"] < recorder.seconds["first embed"]
    ends = recorder.of("end")
    assert recorder.events[:4] == [
        ("begin", "first embed"),
        ("progress", "first embed", 1, 2),
        ("end", *ends[0]),
        ("log", "a line"),
    ]
    assert [name for name, _ in ends] == ["first embed"] * 2 and ends[0][1] < ends[1][1]


def test_a_phase_inside_another_is_part_of_it() -> None:
    recorder = Recorder()
    job = Reporter(recorder)
    with job.phase("train"):
        work(job, "decode")
        job.progress(1, 9)
    assert set(job.seconds) == {"train"}
    assert recorder.of("progress")[-2:] == [("decode", 3, 3), ("train", 1, 9)]


def test_a_phase_that_fails_is_over() -> None:
    job = Reporter()
    with suppress(ZeroDivisionError), job.phase("fit"):
        raise ZeroDivisionError
    assert job.phases == [] and set(job.seconds) == {"fit"}


@pytest.mark.parametrize("depth", [1, 3])
def test_a_cancelled_job_is_interrupted_once(depth: int) -> None:
    """What follows, such as writing what was trained until then, is let be."""
    stopper = Stopper(lambda _phase, done, _total: done == 2, "cancel")
    job: Reporter = stopper
    for _ in range(depth):
        job = Reporter(job)
    with pytest.raises(KeyboardInterrupt):
        work(job, "train")
    assert job.cancelled and stopper.of("progress") == [("train", 1, 3), ("train", 2, 3)]
    work(job, "evaluate")
    assert stopper.of("progress")[-1] == ("evaluate", 3, 3)
    # The next job is another one.
    with pytest.raises(KeyboardInterrupt), Reporter(stopper).phase("index"):
        pytest.fail("a phase was begun")


def test_steps_epochs_and_lines_are_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(100))
    monkeypatch.setattr("time.perf_counter", lambda: next(now))
    job = Reporter(PrintReporter())
    work(job, "embed")
    job.log("About 3 s for \x1b[2J")
    with job.phase("train"):
        work(job, "decode")
        job.epoch(Epoch(1, 12, 0.61, 0.75, math.nan, math.nan, 0.001, 75.2))
        job.epoch(Epoch(12, 12, 0.3, 0.9, 0.41, 0.8549, 0.001, 0.0))
    lines = capsys.readouterr().out.splitlines()
    assert [re.sub(r"\d.* s", "n s", line) for line in (lines[0], lines[-1])] == [
        "embed: n s",
        "train: n s",
    ]
    assert lines[1:-1] == [
        "About 3 s for \\x1b[2J",
        "epoch 1 of 12: loss 0.610, accuracy 75.0 %; 1 min 15 s left",
        "epoch 12 of 12: loss 0.300, accuracy 90.0 %; validation loss 0.410, accuracy 85.5 %",
    ]
