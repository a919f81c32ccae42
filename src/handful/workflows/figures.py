"""The job behind `handful figures`: a run's charts as PNG files, for slides and theses."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handful.data.inputs import path_of
from handful.display import Shown
from handful.evaluation.comparison import Comparison
from handful.reports.figures import write_figures
from handful.run_store.store import AnyRun, RunStore
from handful.wording import number_of
from handful.workflows.curve import CurveRun


@dataclass(frozen=True, repr=False)
class Figures(Shown):
    """Charts as PNG files.

    Args:
        path: Their folder.
        files: The files, by name.
    """

    path: Path
    files: tuple[Path, ...]

    def _in_words(self) -> str:
        names = ", ".join(file.name for file in self.files)
        return f"{number_of(len(self.files), 'figure')} in {str(self.path)[-60:]}: {names}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `handful figures --json` prints them.

        Returns:
            Names and values are described in docs/file-formats.md.
        """
        return {"path": str(self.path), "figures": [str(file) for file in self.files]}


def figures(run: AnyRun | Comparison | CurveRun, *, output: str | Path | None = None) -> Figures:
    """Draw a run's charts as PNG files, for slides and theses; needs the extra "figures".

    Args:
        run: What `train`, `compare` or `curve` made: its folder, its name in `runs/`, or what
            they gave; of a run also the beginning of its name, or "latest".
        output: Folder to make; None takes the run's with "-figures" added.

    Returns:
        The files; a notebook shows them.

    Raises:
        DataError: When there is nothing to draw, or a file is damaged.
        MissingExtraError: When Matplotlib is not installed.
        OutputError: When the output exists or cannot be written.
        UsageError: When it is no run, or one that was not written.

    Example:
        ```python
        handful.figures("latest", output="thesis/figures")
        ```
    """
    folder = RunStore().find(run)
    # "." and ".." have no name to add to.
    whole = folder if folder.name not in ("", "..") else folder.resolve()
    default = whole.with_name(f"{whole.name}-figures")
    path = default if output is None else path_of(output, "output", "a path")
    return Figures(path, tuple(write_figures(folder, path)))
