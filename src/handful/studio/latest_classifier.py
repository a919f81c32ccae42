"""The classifier of the latest run, kept open: what it says of a photo, and where it looked."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from handful.data.decoding import shrunken
from handful.data.index import why_no_image
from handful.errors import DataError, ModelFileError
from handful.models.activation_maps import Explainer
from handful.models.classifier import Classifier
from handful.projects.thumbnails import THUMBNAIL_SIDE
from handful.run_store.store import RunStore
from handful.run_store.stored_run import StoredRun
from handful.studio.use_view import answer_of, map_of
from handful.workflows.predict import predict

# A camera asks ten times a second; whether there is a newer run is looked up once.
_LOOK_SECONDS = 1.0
_MAP_SIDE = 64


class LatestClassifier:
    """The classifier of the latest run; safe to use from several threads.

    Args:
        runs: Reads it.
        latest_run: Says which run is the latest.
        error_rate: Says how sure an answer must be, as `predict` has it.
    """

    def __init__(
        self,
        runs: RunStore,
        latest_run: Callable[[], StoredRun | None],
        error_rate: Callable[[], float | None],
    ) -> None:
        self._runs, self._latest_run, self._error_rate = runs, latest_run, error_rate
        self._lock = threading.Lock()
        self._looked = -_LOOK_SECONDS
        self._path: Path | None = None
        self._classifier: Classifier | None = None
        self._explainer: Explainer | None = None

    def get(self) -> Classifier | None:
        """The classifier, opened when it is asked for first.

        Returns:
            It; None where there is no run yet.

        Raises:
            HandfulError: When the run cannot be read.
        """
        with self._lock:
            if time.monotonic() - self._looked < _LOOK_SECONDS:
                return self._classifier
            self._look()
            return self._classifier

    def of(self, path: Path) -> Classifier:
        """The classifier of a run, which is mostly the latest.

        Args:
            path: The run's folder.

        Returns:
            It.

        Raises:
            HandfulError: When it cannot be read.
        """
        with self._lock:
            if path != self._path:
                self._look()
            if path == self._path and self._classifier is not None:
                return self._classifier
        return self._runs.classifier(path)

    def _look(self) -> None:
        run = self._latest_run()
        if run is not None and run.path != self._path:
            self._classifier, self._explainer = self._runs.classifier(run.path), None
            self._path = run.path
        self._looked = time.monotonic()

    def answer(self, name: str, data: bytes, *, with_map: bool = False) -> dict[str, Any]:
        """Classify a photo.

        Args:
            name: Its file's name.
            data: Its bytes.
            with_map: Whether to say where it looked, too.

        Returns:
            See `answer_of`, and "map" as `map_of` has it, or None where the network has none; or
            "error" with a sentence, where there is no answer.

        Raises:
            HandfulError: When the run cannot be read.
        """
        classifier = self.get()
        if classifier is None:
            return {"error": "There is no classifier yet; train one first."}
        try:
            if reason := why_no_image(data):
                raise DataError(reason)
            shrunken(data, THUMBNAIL_SIDE)  # whether it can be decoded, and why not
        except DataError as error:
            return {"error": f"{name} {error}."}
        (answer,) = predict(classifier, data, error_rate=self._error_rate())
        found = answer_of(answer)
        if with_map:
            found["map"] = self._map(classifier, data)
        return found

    def _map(self, classifier: Classifier, data: bytes) -> dict[str, Any] | None:
        with self._lock:
            explainer = self._explainer
        if explainer is None or explainer.classifier is not classifier:
            try:
                explainer = Explainer(classifier, _MAP_SIDE)
            except ModelFileError:
                return None
            with self._lock:
                self._explainer = explainer
        return map_of(explainer.explain(data))
