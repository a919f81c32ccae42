"""Predictions as a table, the same on the command line and in the studio."""

from collections.abc import Sequence

from handful.models.classifier import Prediction


def prediction_rows(
    predictions: Sequence[Prediction], class_names: tuple[str, ...]
) -> tuple[tuple[str, ...], list[tuple[str | float, ...]]]:
    """Lay predictions out as a table; columns that were not asked for are left out.

    Args:
        predictions: `Prediction`s.
        class_names: C names, in the order of the probabilities.

    Returns:
        Header, and a row for each prediction.
    """
    header = ["path", "label", "probability", *class_names, "is_out_of_distribution"]
    if predictions and predictions[0].is_confident is not None:
        header.append("is_confident")
    if predictions and predictions[0].prediction_set is not None:
        header.append("prediction_set")
    rows = []
    for p in predictions:
        row: list[str | float] = [
            p.path,
            p.label,
            p.probability,
            *p.probabilities.values(),
            _yes(p.is_out_of_distribution),
        ]
        if p.is_confident is not None:
            row.append(_yes(p.is_confident))
        if p.prediction_set is not None:
            row.append(" | ".join(p.prediction_set))
        rows.append(tuple(row))
    return tuple(header), rows


def _yes(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "no"
