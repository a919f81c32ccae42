"""Figures drawn by a second process, so that loading matplotlib delays nobody."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

import numpy as np

from handful.children import tied
from handful.environment import own_environment
from handful.evaluation.evaluation import ClassScore, Evaluation
from handful.reports.figures import FIGURES, draw_figures, load_matplotlib, save_figures
from handful.statistics.metrics import ReliabilityCurve

# Drawing takes less than a second; much later the other process must be stuck.
_PATIENCE_SECONDS = 60


class FigureProcess:
    """Draws the figures in a second Python process, which loads matplotlib at once.

    Loading takes most of a second, in which this process can do the work that leads to the
    figures. Where no second process can be had, `finish` draws them itself.

    Example:
        ```python
        with FigureProcess() as figures:
            evaluation = score(probabilities, labels, class_names, paths)
            figures.start(evaluation, folder)
            figures.finish()
        ```
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._evaluation: Evaluation | None = None
        self._folder = Path()

    def __enter__(self) -> "FigureProcess":
        # -P: nothing in the user's folder is imported. A session of its own: Ctrl-C is for this
        # process, whose end, however sudden, ends the other.
        command = [sys.executable, "-P", "-m", "handful.reports.figure_process"]
        try:
            self._process = subprocess.Popen(
                tied(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, **own_environment()},
            )
        except OSError:
            self._process = None
        return self

    def start(self, evaluation: Evaluation, folder: Path) -> None:
        """Have the figures drawn.

        Args:
            evaluation: What to draw.
            folder: Existing folder to write to; files of the same names are replaced.
        """
        self._evaluation, self._folder = evaluation, folder
        if self._process is None or self._process.stdin is None:
            return
        curve = evaluation.reliability
        order = {
            "confusion": evaluation.confusion.tolist(),
            "per_class": [asdict(row) for row in evaluation.per_class],
            "curve": {name: part.tolist() for name, part in vars(curve).items()},
            "folder": str(folder.resolve()),
        }
        try:
            with self._process.stdin as stdin:
                # json turns what is no valid text into plain ASCII, and back.
                stdin.write(json.dumps(order).encode("ascii"))
        except OSError:
            self._process.kill()

    def finish(self) -> list[Path]:
        """Wait for the figures.

        Returns:
            The files' paths.

        Raises:
            OSError: When a file cannot be written.
            ValueError: When `start` was not called.
        """
        if self._evaluation is None:
            raise ValueError("FigureProcess.finish was called before start; nothing is drawn.")
        if self._process is not None and self._ended_well(self._process):
            return [self._folder / f"{name}.png" for name in FIGURES]
        # Drawn here, what went wrong there either works or says why.
        return save_figures(self._evaluation, self._folder)

    def _ended_well(self, process: "subprocess.Popen[bytes]") -> bool:
        try:
            return process.wait(_PATIENCE_SECONDS) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            return False

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()


def _draw_as_told() -> None:
    """Work of the second process: get ready, then draw what comes in."""
    load_matplotlib()
    order = sys.stdin.buffer.read()
    if order:
        told = json.loads(order)
        draw_figures(
            np.array(told["confusion"], np.int64),
            [ClassScore(**row) for row in told["per_class"]],
            ReliabilityCurve(**{name: np.array(part) for name, part in told["curve"].items()}),
            Path(told["folder"]),
        )


if __name__ == "__main__":
    _draw_as_told()
