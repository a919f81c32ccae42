import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from handful.evaluation.evaluation import Evaluation, score
from handful.reports import figure_process
from handful.reports.figure_process import FigureProcess
from handful.reports.figures import FIGURES, save_figures


@pytest.fixture
def evaluation() -> Evaluation:
    names = ["bad\udce9bytes", "猫", "never seen"]
    probabilities = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.6, 0.4, 0]])
    return score(probabilities, np.array([0, 1, 1]), names, ["x", "y", "z"])


def test_the_figures_are_those_of_this_process(
    tmp_path: Path, evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "here").mkdir()
    # Nothing in the user's folder is imported.
    (tmp_path / "numpy.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    with FigureProcess() as figures:
        figures.start(evaluation, Path("there"))
        there = figures.finish()
        assert figures._process is not None and figures._process.returncode == 0
    here = save_figures(evaluation, tmp_path / "here")
    assert [path.name for path in there] == [f"{name}.png" for name in FIGURES]
    assert [path.read_bytes() for path in there] == [path.read_bytes() for path in here]


@pytest.mark.parametrize("executable", ["/no/such/python", "false"])
def test_without_a_second_process_they_are_drawn_here(
    tmp_path: Path, evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch, executable: str
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    with FigureProcess() as figures:
        figures.start(evaluation, tmp_path)
        paths = figures.finish()
    assert all(path.stat().st_size > 1000 for path in paths) and len(paths) == 4


def test_a_stuck_process_is_not_waited_for(
    tmp_path: Path, evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figure_process, "_PATIENCE_SECONDS", 0.01)
    with FigureProcess() as figures:
        figures.start(evaluation, tmp_path)
        paths = figures.finish()
        process = figures._process
    assert all(path.stat().st_size > 1000 for path in paths)
    assert process is not None and process.returncode != 0


def test_what_cannot_be_written_is_said_here(
    tmp_path: Path, evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    with FigureProcess() as figures, pytest.raises(FileNotFoundError):
        figures.start(evaluation, tmp_path / "absent")
        figures.finish()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_error_leaves_no_process(error: type[BaseException]) -> None:
    with pytest.raises(error), FigureProcess() as figures:
        raise error
    assert figures._process is not None and figures._process.returncode is not None


def test_finish_needs_start() -> None:
    with FigureProcess() as figures:
        with pytest.raises(ValueError, match=r"finish was called before start; nothing is drawn\."):
            figures.finish()


def test_the_other_process_ends_with_its_input(tmp_path: Path) -> None:
    # So it does when this process is killed.
    code = (
        "import handful.reports.figure_process as f; f.load_matplotlib = print; f._draw_as_told()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"\n", b"")
    assert list(tmp_path.iterdir()) == []
