"""What a project's trainings take: timed once on this computer, and learned from each of them."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handful.cores import available_cores
from handful.errors import HandfulError
from handful.features.store import open_store
from handful.files.atomic import MALFORMED, json_text, new_file, read_json
from handful.projects.project import Project
from handful.workflows.forecast import Forecast, NetworkCost, expect, measure_costs

_FILE = "times.json"


@dataclass(frozen=True)
class _Known:
    """What the file holds; of another version or computer, nothing."""

    costs: tuple[NetworkCost, ...] = ()
    earlier: dict[str, tuple[float, int]] = field(default_factory=dict)


class TrainingTimes:
    """A project's file of times.

    Args:
        project: The project's folder.
    """

    def __init__(self, project: Path) -> None:
        self.project = project
        self.path = project / "jobs" / "train" / _FILE

    @property
    def version(self) -> float:
        """Changes when the file does."""
        try:
            return os.stat(self.path).st_mtime
        except OSError:
            return 0.0

    @property
    def is_measured(self) -> bool:
        """Whether the networks were timed."""
        return bool(self._read().costs)

    def measure(self) -> None:
        """Time the networks on some of the project's photos; takes seconds, and converts them.

        Raises:
            HandfulError: When the photos cannot be read.
        """
        costs = measure_costs(Project(self.project).photo_index())
        self._write(costs, self._read().earlier)

    def learn(self, quality: str, seconds: float, num_photos: int) -> None:
        """Keep what a training took besides looking at the photos.

        Args:
            quality: Its own.
            seconds: The time.
            num_photos: Its photos.
        """
        known = self._read()
        self._write(known.costs, known.earlier | {quality: (seconds, num_photos)})

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
        known = self._read()
        with open_store(True) as store:
            return expect(
                quality,
                photos,
                known.costs,
                store,
                earlier=known.earlier,
                time_budget=time_budget,
            )

    def _read(self) -> _Known:
        with suppress(HandfulError, *MALFORMED):
            values = read_json(self.path)
            if values["made_by"] == _made_by():
                costs = tuple(NetworkCost(**cost) for cost in values["costs"])
                earlier = {
                    name: (float(seconds), int(number))
                    for name, (seconds, number) in values["earlier"].items()
                }
                return _Known(costs, earlier)
        return _Known()

    def _write(self, costs: Sequence[NetworkCost], earlier: dict[str, tuple[float, int]]) -> None:
        values: dict[str, Any] = {
            "made_by": _made_by(),
            "costs": [cost.to_dict() for cost in costs],
            "earlier": earlier,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with new_file(self.path, replace=True) as part:
            part.write_text(json_text(values), encoding="utf-8")


def _made_by() -> list[Any]:
    """Version and cores: with others, times are others."""
    from handful import __version__

    return [__version__, available_cores()]
