"""What the page of use shows, as plain values."""

from typing import Any

from handful.models.classifier import Prediction
from handful.wording import format_share


def answer_of(prediction: Prediction) -> dict[str, Any]:
    """Say what the classifier says of a photo.

    Args:
        prediction: Its answer.

    Returns:
        Plain values: "headline", "is_sure", "unusual" and "bars" of (name, share, text).
    """
    is_sure = prediction.is_confident is not False
    ordered = sorted(prediction.probabilities.items(), key=lambda one: -one[1])
    unusual = "looks unlike the training photos, it may be none of these classes"
    return {
        "headline": prediction.label if is_sure else f"Not sure, perhaps {prediction.label}",
        "is_sure": is_sure,
        "unusual": unusual if prediction.is_out_of_distribution else "",
        "bars": [[name, share, format_share(share)] for name, share in ordered[:5]],
    }
