"""The trainings of a project: what they will take; begun, and gone on with after a break."""

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from handful.children import tied
from handful.config import QUALITIES, train_config
from handful.errors import UsageError
from handful.files.atomic import MALFORMED
from handful.projects.project import Project
from handful.run_store.store import RunStore, checkpoint_path
from handful.studio.jobs import JobFolder
from handful.studio.photos_view import version_of
from handful.studio.training_times import TrainingTimes
from handful.training.jobs import chosen_recipe
from handful.workflows.forecast import Forecast


@dataclass(frozen=True)
class Asked:
    """What a training was asked to do.

    Args:
        options: Those of `TrainConfig` that are not as by default, as plain values.
        run: Name of the run that is to be made; "" leaves it to `train`.
        goes_on: Whether a training that was interrupted is gone on with.
        photos: Identity of the photos with their labels.
        forecast: What it was expected to take; None where that was not known.
    """

    options: dict[str, Any] = field(default_factory=dict)
    run: str = ""
    goes_on: bool = False
    photos: str = ""
    forecast: Forecast | None = None

    @classmethod
    def of(cls, job: JobFolder) -> "Asked":
        """Read what a job's folder says.

        Args:
            job: The folder.

        Returns:
            It; what nobody could have asked is nothing.
        """
        try:
            values = dict(job.asked)
            if values.get("forecast") is not None:
                told = values["forecast"]
                values["forecast"] = Forecast(tuple(told["embed"]), told["other"])
            return cls(**values)
        except MALFORMED:
            return cls()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        forecast = None if self.forecast is None else self.forecast.to_dict()
        return {**self.__dict__, "forecast": forecast}


class Trainer:
    """What the page of trainings works with; safe to use from several threads.

    Args:
        project: The project.
        job: Where its trainings say how far they are.
    """

    def __init__(self, project: Project, job: JobFolder) -> None:
        self.project, self.job = project, job
        self.times = TrainingTimes(project.folder)
        self._runs = RunStore(project.runs)
        self._lock = threading.Lock()
        self._measuring: threading.Thread | None = None
        self._summaries: dict[tuple[str, int, int], dict[str, Any]] = {}
        self._expected: tuple[object, dict[str, Forecast]] = (None, {})

    @property
    def labeled(self) -> list[str]:
        """Ids of the photos that have labels, in order."""
        labels = self.project.labels.all()
        return [photo.id for photo in self.project.photos if photo.id in labels]

    @property
    def digest(self) -> str:
        """Identity of the photos with their labels."""
        labels = self.project.labels.all()
        pairs = [(id, labels[id]) for id in self.labeled]
        return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()

    def measure(self) -> None:
        """Have the networks timed in the background, once, where they were not before."""
        state = self.job.read()
        if state is not None and state.status == "running":
            return  # both would be slow
        with self._lock:
            if self._measuring is None and not self.times.is_measured:
                self._measuring = threading.Thread(target=self._measure, daemon=True)
                self._measuring.start()

    def _measure(self) -> None:
        # A process of its own: networks take memory that the pages' process does not give back.
        command = [sys.executable, "-P", "-m", "handful.studio.worker", "measure"]
        subprocess.run(
            tied([*command, str(self.project.folder)]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )

    def estimates(self) -> dict[str, Forecast]:
        """What a training of each quality will take.

        Returns:
            Quality to forecast; empty before the networks were timed.
        """
        state = self.job.read()
        status = None if state is None else (state.status, state.started)
        version = self.times.version, version_of(self.project), status
        if self._expected[0] != version:
            ids = self.labeled
            found = {name: self.times.expect(name, ids) for name in QUALITIES}
            self._expected = (version, {k: one for k, one in found.items() if one is not None})
        return self._expected[1]

    @property
    def is_unfinished(self) -> bool:
        """Whether the state after an epoch of the last training is kept."""
        run = Asked.of(self.job).run
        return bool(run) and checkpoint_path(self.project.runs / run).is_dir()

    def begin(self, options: Mapping[str, Any]) -> None:
        """Begin a training.

        Args:
            options: Of `TrainConfig`, as plain values.

        Raises:
            UsageError: When they are refused.
        """
        config = train_config(options)
        chosen_recipe(config)
        forecast = None
        if config.fits_head and config.backbone is None and config.image_size is None:
            forecast = self.times.expect(config.quality, self.labeled, config.time_budget)
        run = self._runs.new_path(self.project.folder).name
        asked = Asked(dict(options), run, False, self.digest, forecast)
        # A head that is fitted is known by its quality.
        name = config.quality if config.fits_head and config.backbone is None else config.strategy
        self.job.begin(name, asked=asked.to_dict())

    def summarize(self, network: str, image_size: int) -> dict[str, Any]:
        """Count a network's layers and parameters; takes seconds, for it is built in Keras.

        Args:
            network: As `handful.training.summaries` names it.
            image_size: Side of its photos.

        Returns:
            As `NetworkSummary.to_dict`.

        Raises:
            UsageError: When it cannot be built; says why.
        """
        counts = [name for name, number in self.project.labels.counts.items() if number]
        key = network, image_size, max(len(counts), 2)
        if key not in self._summaries:
            # A process of its own: Keras would stay in that of the pages.
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "handful", "summary", network, "--json"),
                    *("--image-size", str(image_size), "--num-classes", str(key[2])),
                ],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise UsageError(done.stderr.strip().removeprefix("Error: "))
            self._summaries[key] = json.loads(done.stdout)
        return self._summaries[key]

    def go_on(self) -> None:
        """Go on with the training that was interrupted; where labels have changed, begin it anew.

        Raises:
            UsageError: When what was asked is refused.
        """
        asked, state = Asked.of(self.job), self.job.read()
        if not asked.run or asked.photos != self.digest:
            self.begin(asked.options)
            return
        again = Asked(asked.options, asked.run, True, asked.photos, asked.forecast)
        name = "" if state is None else state.asked
        self.job.begin(name, asked=again.to_dict(), goes_on=True)
