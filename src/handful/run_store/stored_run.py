"""A run's folder, read."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.augmentation_policy import AugmentationPolicy
from handful.config import TrainConfig
from handful.data.splits import count_manifest, read_manifest
from handful.errors import DataError, UsageError
from handful.evaluation.evaluation import Evaluation
from handful.files.atomic import MALFORMED
from handful.models.classifier import CLASSIFIER_FOLDER
from handful.run_store.files import (
    MANIFEST_FILE,
    REPORT_FILE,
    RUN_FILE,
    no_run,
    read_history,
    read_metadata,
    read_predictions,
    read_training_photos,
)

# Why a training stopped that can be gone on with.
UNFINISHED = ("interrupted", "time")
# Names of options in runs that handful 0.1 made.
_RENAMED = {
    "learning_curve": "curve",
    "num_folds": "folds",
    "num_seeds": "seeds",
    "test_time_mirror": "tta",
    "time_budget_minutes": "time_budget",
}


@dataclass(frozen=True)
class StoredRun:
    """A run's folder; each of its files is read when it is first asked for.

    What is missing or not a run's raises `DataError`, and says which file it is.

    Args:
        path: The folder.
    """

    path: Path

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """The run.json, described in docs/file-formats.md."""
        return read_metadata(self.path)

    @property
    def result(self) -> dict[str, Any]:
        """The figures among the metadata."""
        result: dict[str, Any] = self.metadata["result"]
        return result

    @cached_property
    def config(self) -> TrainConfig:
        """What was asked."""
        try:
            config = {_RENAMED.get(k, k): value for k, value in self.metadata["config"].items()}
            if config.get("recipe") == "exercise":
                config["recipe"] = "keras-tutorial"
            if config.get("policy") is not None:
                config["policy"] = AugmentationPolicy(**config["policy"])
            return TrainConfig(**config)
        except MALFORMED as error:
            raise no_run(self.path / RUN_FILE, error) from error

    @property
    def photos(self) -> Path:
        """Where the photos were."""
        return Path(self.metadata["photos"])

    @property
    def note(self) -> str:
        """What its maker wrote about it; "" in older runs."""
        return str(self.metadata.get("note", ""))

    @property
    def data_digest(self) -> str:
        """Identity of the photos, as `ImageIndex.digest` tells it; "" where it is not kept."""
        return str(self.metadata.get("data_digest", ""))

    @property
    def stopped(self) -> str:
        """Why training ended early, see `Run.stopped`."""
        try:
            return str((self.result.get("training") or {}).get("stopped", ""))
        except MALFORMED as error:
            raise no_run(self.path / RUN_FILE, error) from error

    @property
    def custom_objects(self) -> dict[str, Any]:
        """Names of what was given from Python, see `Run.custom_objects`; empty in older runs."""
        return dict(self.metadata.get("custom_objects", {}))

    def check_repeatable(self, given: Collection[str] = ()) -> None:
        """Refuse to repeat a run without the objects that it was made with.

        Args:
            given: Kinds of objects that are given again, such as "loss".

        Raises:
            UsageError: When there are others.
        """
        missing = {
            kind: named if isinstance(named, str) else ", ".join(named)
            for kind, named in self.custom_objects.items()
            if kind not in given
        }
        if missing:
            listed = "; ".join(f"{kind}: {named}" for kind, named in missing.items())
            again = ", ".join(f"{kind}=..." for kind in self.custom_objects)
            raise UsageError(
                f"{self.path} was trained with objects of Python's, of which a run keeps the names "
                f"alone ({listed}). Give them again, in Python: handful.train(from_run="
                f"{str(self.path)!r}, {again})."
            )

    @property
    def manifest(self) -> Path | None:
        """The table that tells which photo went where, for `read_manifest`; None without it."""
        file = self.path / MANIFEST_FILE
        return file if file.is_file() else None

    @property
    def split_to_repeat(self) -> Path | None:
        """The split that the run has to be given when it is repeated.

        None where photos, configuration and seed give the same split again, and for runs that do
        not tell.
        """
        if not self.metadata.get("split_given", False):
            return None
        if self.manifest is None:
            raise DataError(
                f"{self.path} has no {MANIFEST_FILE}, and was made on a split that it was given; "
                "restore the file from a copy, or give a split as `split`."
            )
        return self.manifest

    @cached_property
    def parts(self) -> dict[str, str]:
        """Content hash of the photos to their part; empty where the split is not kept."""
        return {} if self.manifest is None else read_manifest(self.manifest)

    @cached_property
    def counts(self) -> dict[str, dict[str, int]]:
        """Part to class to number of photos; empty where the split is not kept."""
        return {} if self.manifest is None else count_manifest(self.manifest)

    @cached_property
    def predictions(self) -> Evaluation:
        """The probabilities of the validation photos, and how good they are."""
        return read_predictions(self.path)

    @cached_property
    def history(self) -> dict[str, list[float]] | None:
        """Column name to a network's values by epoch; None for a head fitted without epochs."""
        return read_history(self.path)

    @cached_property
    def training_photos(self) -> tuple[NDArray[np.uint8], frozenset[str]] | None:
        """Thumbnails (n, 1024) and groups of what was learned from; None in older runs."""
        return read_training_photos(self.path)

    @property
    def classifier_path(self) -> Path:
        """The classifier's folder, for `Classifier.load`."""
        return self.path / CLASSIFIER_FOLDER

    @property
    def report(self) -> Path:
        """The page about the run."""
        return self.path / REPORT_FILE
