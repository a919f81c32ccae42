"""What a project's trainings take: timed once on this computer, and learned from each of them."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from handful.cores import available_cores
from handful.environment import cache_folder
from handful.errors import HandfulError
from handful.features.store import open_store
from handful.files.atomic import MALFORMED, json_text, new_file, read_json
from handful.projects.project import Project
from handful.workflows.forecast import Forecast, NetworkCost, expect, measure_costs

_COSTS_FILE, _EARLIER_FILE = "costs.json", "training-times.json"


class TrainingTimes:
    """What networks cost on a project's photos, and what trainings took here besides.

    The first depends on the photos and is kept in the project; the second in the user's cache.

    Args:
        project: The project's folder.
    """

    def __init__(self, project: Path) -> None:
        self.project = project
        self._files = project / "jobs" / "train" / _COSTS_FILE, cache_folder() / _EARLIER_FILE

    @property
    def version(self) -> tuple[float, ...]:
        """Changes when what is known does."""
        found = []
        for path in self._files:
            with suppress(OSError):
                found.append(os.stat(path).st_mtime)
        return tuple(found)

    @property
    def is_measured(self) -> bool:
        """Whether all networks were timed."""
        try:
            return bool(_read(self._files[0])["is_whole"])
        except MALFORMED:
            return False

    def measure(self) -> None:
        """Time the networks on some of the project's photos; takes seconds, and converts them.

        Raises:
            HandfulError: When the photos cannot be read.
        """
        found: list[dict[str, Any]] = []
        for cost in measure_costs(Project(self.project).photo_index()):
            found.append(cost.to_dict())
            _write(self._files[0], {"costs": found, "is_whole": False})
        _write(self._files[0], {"costs": found, "is_whole": True})

    def learn(self, quality: str, seconds: float, num_photos: int) -> None:
        """Keep what a training took besides looking at the photos.

        Args:
            quality: Its own.
            seconds: The time.
            num_photos: Its photos.
        """
        with suppress(OSError, HandfulError):  # a cache that cannot be written stops nobody
            earlier = {**self._earlier(), quality: (seconds, num_photos)}
            _write(self._files[1], {"earlier": earlier})

    def expect(
        self, quality: str, photos: Sequence[str], time_budget: float | None = None
    ) -> Forecast | None:
        """Tell what a training will take.

        Args:
            quality: "fast", "good" or "best".
            photos: Ids of the photos that have labels.
            time_budget: Minutes that "best" may take.

        Returns:
            The forecast; None before the networks were timed.
        """
        with open_store(True) as store:
            return expect(
                quality,
                photos,
                self._costs(),
                store,
                earlier=self._earlier(),
                time_budget=time_budget,
            )

    def _costs(self) -> list[NetworkCost]:
        try:
            return [NetworkCost(**cost) for cost in _read(self._files[0])["costs"]]
        except MALFORMED:
            return []

    def _earlier(self) -> dict[str, tuple[float, int]]:
        try:
            found = _read(self._files[1])["earlier"].items()
            return {name: (float(seconds), int(number)) for name, (seconds, number) in found}
        except MALFORMED:
            return {}


def _read(path: Path) -> dict[str, Any]:
    """What a file holds; nothing where another version or another computer wrote it."""
    values = read_json(path)
    return values if values["made_by"] == _made_by() else {}


def _write(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path, replace=True) as part:
        part.write_text(json_text({"made_by": _made_by(), **values}), encoding="utf-8")


def _made_by() -> list[Any]:
    """Version and cores: with others, times are others."""
    from handful import __version__

    return [__version__, available_cores()]
