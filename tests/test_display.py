"""How jobs show themselves where nobody has said how."""

import sys
from types import SimpleNamespace

import pytest

from handful.display import job_reporter, kernel_shell
from handful.reporting import Epoch, Reporter
from handful.terminal_progress import TerminalReporter
from reporters import Recorder


def test_a_reporter_that_is_given_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    recorder = Recorder()
    for given in (recorder, Reporter()):
        job_reporter(given).log("a line")
    assert recorder.lines == ["a line"] and capsys.readouterr() == ("", "")


def test_a_script_gets_lines_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    job_reporter(None).log("a \x1b line")
    assert capsys.readouterr() == ("", "a \\x1b line\n")


def test_a_program_without_standard_error_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    job_reporter(None).log("a line")


def test_a_terminal_gets_a_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    job = job_reporter(None)
    assert isinstance(job.outer, TerminalReporter)
    with job.phase("train"):
        job.progress(1, 4)
        job.epoch(Epoch(1, 4, 0.5, 0.75, 0.6, 0.5, 0.001, 3))
    assert not job.outer.bar.live.is_started  # type: ignore[union-attr]
    shown = capsys.readouterr()
    assert "train" in shown.err and "epoch 1 of 4: loss 0.500" in shown.err and shown.out == ""


def test_a_notebook_is_told_by_its_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernel_shell() is None
    for shell, is_notebook in ((None, False), (object(), False), (SimpleNamespace(kernel=1), True)):
        module = SimpleNamespace(get_ipython=lambda shell=shell: shell)
        monkeypatch.setitem(sys.modules, "IPython", module)
        assert (kernel_shell() is not None) == is_notebook
