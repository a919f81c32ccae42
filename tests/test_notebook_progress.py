"""Progress in a notebook, on a display that keeps what it shows."""

import math
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from handful.display import job_reporter
from handful.notebook.progress import NotebookReporter
from handful.reporting import Epoch


class Notebook:
    """Stands in for a kernel: outputs by their identity, and every state that each was in."""

    def __init__(self) -> None:
        self.kernel, self.execution_count = object(), 1
        self.outputs: dict[str, list[str]] = {}

    def display(self, bundle: dict[str, str], raw: bool, display_id: str, update: bool) -> None:
        assert raw and set(bundle) == {"text/html", "text/plain"}
        assert update == (display_id in self.outputs)
        self.outputs.setdefault(display_id, []).append(bundle["text/html"])

    @property
    def last(self) -> list[str]:
        return [states[-1].partition("</style>")[2] for states in self.outputs.values()]


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Notebook:
    made = Notebook()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: made))
    display = SimpleNamespace(display=made.display)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return made


def epoch(number: int, val_loss: float = 0.5, epochs: int = 4) -> Epoch:
    return Epoch(number, epochs, 0.61, 0.75, val_loss, 0.8125, 0.001, 60.0 * (epochs - number))


def test_a_job_in_a_notebook_shows_its_phases_in_one_output(notebook: Notebook) -> None:
    job = job_reporter(None)
    with job.phase("index"):
        pass
    with job.phase("<embed>"):
        job.progress(1, 4)
        with job.phase("decode"):
            job.log("<b>bold</b>")
            (during,) = notebook.last
    (after,) = notebook.last
    assert "index" in during and "&lt;embed&gt;" in during and "25\u202f%" in during
    assert "decode" in during and "&lt;b&gt;bold" in during and "<b>" not in during
    assert 'class="bar' not in after and "&lt;embed&gt; 0.0 s" in after


def test_the_table_grows_with_each_epoch(notebook: Notebook) -> None:
    job = job_reporter(NotebookReporter())
    with job.phase("train"):
        for number in (1, 2, 3):
            job.epoch(epoch(number, math.nan if number == 1 else 0.5))
            assert notebook.last[0].count("<tr>") == number + 1
        (shown,) = notebook.last
        for text in ("3/4", "0.610", "75.0\u202f%", "0.500", "81.2\u202f%", "1 min 00 s", ">–<"):
            assert text in shown
        assert "<svg" not in shown
        job.epoch(epoch(1))  # another training
        assert notebook.last[0].count("<tr>") == 2


@pytest.mark.slow
def test_a_long_training_stays_small(notebook: Notebook) -> None:
    reporter = NotebookReporter()
    for number in range(1, 501):
        reporter.epoch(epoch(number, epochs=500))
    (shown,) = notebook.last
    assert "1–470" in shown and "500/500" in shown and len(shown) < 10_000


def test_curves_are_drawn_on_wish(notebook: Notebook) -> None:
    reporter = NotebookReporter(curves=True)
    for number in (1, 2):
        reporter.epoch(epoch(number))
    assert notebook.last[0].count("<svg") == 2


def test_steps_that_nobody_would_see_are_not_drawn(notebook: Notebook) -> None:
    reporter = NotebookReporter()
    with reporter.phase("embed"):
        for done in range(10_000):
            reporter.progress(done, 10_000)
    (states,) = notebook.outputs.values()
    assert len(states) < 20


def test_another_cell_has_an_output_of_its_own(notebook: Notebook) -> None:
    reporter = NotebookReporter()
    for cell in (1, 1, 2):
        notebook.execution_count = cell
        with reporter.phase(f"step of {cell}"):
            pass
    first, second = notebook.last
    assert first.count("step of 1") == 2 and "step of 1" not in second


def test_a_phase_that_fails_leaves_the_reporter_whole(notebook: Notebook) -> None:
    reporter: Any = NotebookReporter()
    with pytest.raises(ZeroDivisionError), reporter.phase("fit"):
        raise ZeroDivisionError
    with reporter.phase("index"):
        assert notebook.last[0].count('class="bar') == 1


def test_metrics_of_ones_own_are_columns(notebook: Notebook) -> None:
    job = job_reporter(None)
    own = [{"auc": 0.7512}, {"auc": 0.8, "val_auc": 0.9}, {"auc": 0.8, "val_auc": math.nan}]
    for number, metrics in enumerate(own, start=1):
        job.epoch(replace(epoch(number), metrics=metrics))
    (table,) = notebook.last
    assert [cell for cell in ("auc", "val_auc") if f">{cell}</th>" in table] == ["auc", "val_auc"]
    rows = [row.partition("</tr>")[0] for row in table.split("<tr>")[2:]]
    cells = [[cell.partition("<")[0] for cell in row.split('<td class="number">')] for row in rows]
    assert [row[6:8] for row in cells] == [["0.751", "–"], ["0.800", "0.900"], ["0.800", "–"]]
