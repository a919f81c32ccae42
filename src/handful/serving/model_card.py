"""What a served classifier is and how good it was found to be, in plain values."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from handful.classifiers.classifier import Classifier
from handful.errors import DataError

RUN_FILE = "run.json"
# Of a run's figures, those that say something to a user of the classifier.
_FIGURES = (
    "accuracy",
    "accuracy_interval",
    "num_images",
    "balanced_accuracy",
    "roc_auc",
    "log_loss",
    "expected_calibration_error",
    "per_class",
)
_MAX_RUN_BYTES = 50_000_000


def make_card(classifier: Classifier, path: Path) -> dict[str, Any]:
    """Describe a classifier.

    Args:
        classifier: The one that is served.
        path: Folder of its run, or its own; figures are taken from the run.json found there.

    Returns:
        Names and values are described in docs/serving.md. No path of this machine is among them.

    Raises:
        DataError: When there is a run.json that is not a run's.
    """
    calibration, reference = classifier.calibration, classifier.reference
    network, settings = classifier.network, classifier.settings
    return {
        "class_names": list(classifier.class_names),
        "backbone": classifier.about.get("backbone"),
        "licence": classifier.about.get("licence"),
        "source": classifier.about.get("source"),
        "network_digest": network.digest,
        "precision": classifier.embedder.precision,
        "image_size": settings.image_size,
        "resize": settings.resize,
        "max_megapixels": settings.max_megapixels,
        "test_time_mirror": classifier.test_time_mirror,
        "calibration": None if calibration is None else calibration.to_dict(),
        "tells_unlike_photos": reference is not None,
        "figures": _read_figures(path),
        "handful_version": version("handful"),
    }


def _read_figures(path: Path) -> dict[str, Any] | None:
    """Scores on the validation photos; None where the classifier came without its run."""
    places = (path / RUN_FILE, path.resolve().parent / RUN_FILE)
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        return None
    try:
        if found.stat().st_size > _MAX_RUN_BYTES:
            raise ValueError(f"more than {_MAX_RUN_BYTES:,} bytes")
        result = json.loads(found.read_text(encoding="utf-8"))["result"]
        evaluation = result["evaluation"]
        figures = {name: evaluation[name] for name in _FIGURES}
        figures["num_train"] = result["num_train"]
        figures["cautions"] = result.get("cautions", [])
        return figures
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{found} is not a run's ({error!r}); restore it from a copy, or serve the folder "
            "classifier/ by itself elsewhere."
        ) from error
