"""What the table of a classified folder shows, as plain values."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from handful.models.classifier import Prediction
from handful.studio.folder_answers import FolderAnswers
from handful.wording import format_share, number_of
from handful.workflows.sorting import NOT_SURE, UNUSUAL

PAGE = 60
_CLASS = "class:"


def folder_view(
    answers: FolderAnswers,
    labels: Sequence[str | None],
    classes: Sequence[str],
    shown: str = "all",
    first: int = 0,
) -> dict[str, Any]:
    """The table's part that is seen.

    Each photo is in one group, the same that `sort_photos` copies it to: its class, "not sure" or
    "unusual"; what people have said counts for more than the classifier.

    Args:
        answers: What the classifier says.
        labels: (N,) what people say that a photo is; None for nothing.
        classes: What a photo may be said to be.
        shown: "all", "not sure", "unusual", "otherwise", "unreadable" or "class:NAME"; an unknown
            one is "all".
        first: The first row of those; it may lie beyond the last.

    Returns:
        Plain values: "title", "chips" (key, name, count), "shown", "rows", "total", "first",
        "page" (rows at once), "classes" and "unreadable" (name, reason).
    """
    groups = [
        _group(one) if label is None else _CLASS + label
        for one, label in zip(answers.predictions, labels, strict=True)
    ]
    chips = _chips(answers, labels, groups)
    shown = shown if any(chip["key"] == shown for chip in chips) else "all"
    rows = _rows_of(shown, answers, labels, groups)
    first = max(0, min(first, (len(rows) - 1) // PAGE * PAGE))
    names = dict.fromkeys([*classes, *_class_names(answers)])
    bad = [[answers.name_of(one.path), one.reason] for one in answers.rejected]
    return {
        "title": f"{answers.title}: {number_of(len(groups))}, classified by {answers.run}",
        "chips": chips,
        "shown": shown,
        "rows": [_row(answers, labels, row) for row in rows[first : first + PAGE]],
        "total": len(rows),
        "first": first,
        "page": PAGE,
        "classes": list(names),
        "unreadable": bad if shown == "unreadable" else [],
    }


def _class_names(answers: FolderAnswers) -> list[str]:
    return list(answers.predictions[0].probabilities) if answers.predictions else []


def _group(one: Prediction) -> str:
    if one.is_confident is False:
        return UNUSUAL if one.is_out_of_distribution else NOT_SURE
    return _CLASS + one.label


def _chips(
    answers: FolderAnswers, labels: Sequence[str | None], groups: Sequence[str]
) -> list[dict[str, Any]]:
    counts = Counter(groups)
    otherwise = sum(map(_is_otherwise, answers.predictions, labels))
    classes = [key for key in counts if key.startswith(_CLASS)]
    found = [
        ("all", "All", len(groups)),
        (NOT_SURE, "Not sure", counts[NOT_SURE]),
        (UNUSUAL, "Unusual", counts[UNUSUAL]),
        *((key, key.removeprefix(_CLASS), counts[key]) for key in sorted(classes)),
        ("otherwise", "Labeled otherwise", otherwise),
        ("unreadable", "Not read", len(answers.rejected)),
    ]
    always = ("all", NOT_SURE, UNUSUAL)
    return [
        {"key": key, "name": name, "count": count}
        for key, name, count in found
        if count or key in always
    ]


def _is_otherwise(one: Prediction, label: str | None) -> bool:
    return label is not None and label != one.label


def _rows_of(
    shown: str, answers: FolderAnswers, labels: Sequence[str | None], groups: Sequence[str]
) -> list[int]:
    if shown == "unreadable":
        return []
    every = range(len(groups))
    if shown == "all":
        return list(every)
    if shown == "otherwise":
        return [row for row in every if _is_otherwise(answers.predictions[row], labels[row])]
    return [row for row in every if groups[row] == shown]


def _row(answers: FolderAnswers, labels: Sequence[str | None], row: int) -> dict[str, Any]:
    one, label = answers.predictions[row], labels[row]
    group = _group(one)
    notes = {UNUSUAL: "unusual, perhaps", NOT_SURE: "not sure, perhaps"}
    return {
        "row": row,
        "name": answers.name_of(one.path),
        "note": "" if label is not None else notes.get(group, ""),
        "label": one.label,
        "share": one.probability,
        "text": format_share(one.probability),
        "said": "" if label is None else label,
    }
