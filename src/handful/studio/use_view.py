"""What the page of use shows, as plain values."""

from typing import Any

import numpy as np

from handful.models.activation_maps import Explanation
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


def map_of(explanation: Explanation) -> dict[str, Any]:
    """Say where a classifier looked.

    Args:
        explanation: Its map.

    Returns:
        Plain values: "rows" of numbers from -1 to 1 (above 0 speaks for "label", below for
        "rival"), and "seen", the part of the photo that they cover: left, top, right, bottom as
        shares.
    """
    largest = float(np.abs(explanation.map).max()) or 1.0
    return {
        "rows": (explanation.map / largest).round(2).tolist(),
        "seen": list(explanation.seen),
        "label": explanation.class_name,
        "rival": explanation.rival_name,
    }
