"""What a classifier says of photos, and where it looked; runs are named as in every command."""

from pathlib import Path

from handful.data.inputs import Picture, Pictures
from handful.models import activation_maps
from handful.models.activation_maps import Explanation
from handful.models.classifier import Classifier, Predictions
from handful.run_store.store import RunStore


def predict(
    run: Classifier | str | Path,
    images: Pictures,
    *,
    error_rate: float | None = None,
    coverage: float | None = None,
) -> Predictions:
    """Classify one photo or several; for many calls, keep a `Classifier`.

    Args:
        run: Folder of a run or of a classifier; the name of a run in `runs/`, its beginning, or
            "latest"; or a classifier.
        images: As for `Classifier.predict`.
        error_rate: As for `Classifier.predict`.
        coverage: As for `Classifier.predict`.

    Returns:
        One prediction a photo, in order.

    Raises:
        DataError: When a photo cannot be read, or several runs begin so.
        ModelFileError: When the classifier cannot be read.

    Example:
        ```python
        print(handful.predict("latest", "new.jpg")[0].label)
        ```
    """
    classifier = RunStore().classifier(run)
    return classifier.predict(images, error_rate=error_rate, coverage=coverage)


def explain(
    run: Classifier | str | Path,
    image: Picture,
    class_name: str | None = None,
    rival_name: str | None = None,
) -> Explanation:
    """Show where a classifier looked in one photo.

    Args:
        run: As for `predict`.
        image: As for `Classifier.predict`.
        class_name: Class to explain; None takes the most probable one.
        rival_name: Class to hold it against; None takes the most probable one of the others.

    Returns:
        The map, the photo, and the class's probability.

    Raises:
        DataError: When the photo cannot be read, or several runs begin so.
        ModelFileError: When the classifier cannot be read, or its network has no such map.
    """
    return activation_maps.explain(RunStore().classifier(run), image, class_name, rival_name)
