"""What a served classifier is and how good it was found to be, in plain values."""

from importlib.metadata import version
from typing import Any

from handful.errors import DataError
from handful.files.atomic import MALFORMED, explain_damage
from handful.models.classifier import Classifier
from handful.run_store.store import RunStore

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


def make_card(classifier: Classifier) -> dict[str, Any]:
    """Describe a classifier.

    Args:
        classifier: The one that is served; figures are taken from the run it was loaded from.

    Returns:
        Names and values are described in docs/serving.md. No path of this machine is among them.

    Raises:
        DataError: When there is a run.json that is not this classifier's.
    """
    calibration, reference = classifier.calibration, classifier.reference
    settings = classifier.settings
    return {
        "class_names": list(classifier.class_names),
        "backbone": classifier.provenance.get("backbone"),
        "license": classifier.provenance.get("license"),
        "source": classifier.provenance.get("source"),
        "network_digest": classifier.extractor.digest,
        "precision": classifier.extractor.precision,
        "image_size": settings.image_size,
        "resize": settings.resize,
        "max_megapixels": settings.max_megapixels,
        "test_time_mirror": classifier.test_time_mirror,
        "calibration": None if calibration is None else calibration.to_dict(),
        "tells_unlike_photos": reference is not None,
        "figures": _read_figures(classifier),
        "handful_version": version("handful"),
    }


def _read_figures(classifier: Classifier) -> dict[str, Any] | None:
    """Scores on the validation photos; None where the classifier came without its run."""
    run = RunStore().of(classifier)
    if run is None:
        return None
    result = run.result
    try:
        figures = {name: result["evaluation"][name] for name in _FIGURES}
        return {
            **figures,
            "num_train": result["num_train"],
            "limitations": result.get("limitations", []),
        }
    except MALFORMED as error:
        raise DataError(
            f"{run.path} has a run.json without the figures of a run ({explain_damage(error)}); "
            "restore it from a copy."
        ) from error
