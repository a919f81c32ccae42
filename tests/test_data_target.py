"""A second kind of label, two per image, goes through index, split and head as the first does."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import draw_photo, write_photo
from handful.data.index import load_index
from handful.data.splits import assign_parts, read_manifest, write_manifest
from handful.data.target import ONE_CLASS
from handful.errors import DataError
from handful.models.heads import fit_head


class SeveralClasses:
    """Each image is of any of the classes, named with a + between: labels are (N, C) bool."""

    is_several = True

    def class_names(self, texts: Sequence[str]) -> tuple[str, ...]:
        return tuple(sorted({name for text in texts for name in text.split("+")} - {""}))

    def encode(self, texts: Sequence[str], class_names: Sequence[str]) -> NDArray[np.bool_]:
        return np.array([[name in text.split("+") for name in class_names] for text in texts])

    def decode(self, labels: NDArray[np.bool_], class_names: Sequence[str]) -> list[str]:
        names = np.array(class_names)
        return ["+".join(names[row]) for row in labels]

    def members(self, labels: NDArray[np.bool_], num_classes: int) -> NDArray[np.bool_]:
        assert labels.shape[1] == num_classes
        return labels

    def strata(self, labels: NDArray[np.bool_]) -> NDArray[np.int64]:
        return labels @ (2 ** np.arange(labels.shape[1]))

    def compact(self, labels: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], int]:
        return labels, labels.shape[1]

    def probabilities(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        return 1 / (1 + np.exp(-logits))

    def loss(self, logits: NDArray[Any], labels: NDArray[np.bool_]) -> tuple[Any, Any]:
        signs = np.where(labels, 1.0, -1.0).astype(np.float32)[:, np.newaxis]
        losses = np.logaddexp(0, -signs * logits)
        return losses.sum(axis=2), -signs * (1 - np.exp(-losses))

    def log_loss(
        self, probabilities: NDArray[np.float64], labels: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        said = np.where(labels, probabilities, 1 - probabilities)
        return -np.log(np.maximum(said, 1e-12)).sum(axis=1)

    def correct(
        self, probabilities: NDArray[np.float64], labels: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        return np.all((probabilities > 0.5) == labels, axis=1)


def table_of(folder: Path, labels: Sequence[str], each: int) -> Path:
    rows = ["path,label"]
    for number, label in enumerate(labels * each):
        path = folder / f"{number:02d}.png"
        write_photo(path, draw_photo(("round", "square")[number % 2], number))
        rows.append(f"{path.name},{label}")
    table = folder / "photos.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


def test_two_labels_per_image_go_through_index_split_and_head(tmp_path: Path) -> None:
    texts = ["red", "blue", "blue+red", "round", "red+round"]
    index = load_index(table_of(tmp_path, texts, 10), target=SeveralClasses())
    assert index.class_names == ("blue", "red", "round")
    assert index.labels.shape == (50, 3) and set(index.label_names()) == set(texts)
    assert index.counts() == {"all": {"blue": 20, "red": 30, "round": 20}}
    with pytest.raises(DataError, match="seems to be several"):
        load_index(tmp_path / "photos.csv")
    renamed = index.with_class_names(("round", "blue", "green", "red"))
    assert [{*text.split("+")} for text in renamed.label_names()] == [
        {*text.split("+")} for text in index.label_names()
    ]

    split = assign_parts(index, (), seed=3)
    # Each combination is spread over both parts.
    for part in (split.train, split.validation):
        assert {index.label_names()[row] for row in part} == set(texts)
    write_manifest(split, tmp_path / "split.csv")
    again = assign_parts(index, (), manifest=read_manifest(tmp_path / "split.csv"))
    assert np.array_equal(again.validation, split.validation)

    rng = np.random.default_rng(0)
    directions = rng.normal(size=(3, 24))
    vectors = (index.labels @ directions + rng.normal(0, 0.3, (50, 24))).astype(np.float32)
    head = fit_head(vectors[split.train], index.labels[split.train], 3, target=SeveralClasses())
    probabilities = head.predict_proba(vectors[split.validation])
    assert head.scores and head.scores[0].log_loss > 0
    assert np.abs(probabilities.sum(axis=1) - 1).max() > 0.5  # no softmax
    assert SeveralClasses().correct(probabilities, index.labels[split.validation]).mean() >= 0.9


def test_slopes_of_the_loss_are_its_derivatives() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, 6)
    logits = rng.normal(0, 2, (6, 2, 4))
    _, slopes = ONE_CLASS.loss(logits.copy(), labels)
    for row, head, column in [(0, 0, 0), (3, 1, 2), (5, 0, 3)]:
        step = np.zeros_like(logits)
        step[row, head, column] = 1e-5
        more, less = (ONE_CLASS.loss(logits + sign * step, labels)[0] for sign in (1, -1))
        assert np.isclose((more - less)[row, head] / 2e-5, slopes[row, head, column], atol=1e-6)
    probabilities = ONE_CLASS.probabilities(logits[:, 0])
    losses, _ = ONE_CLASS.loss(logits[:, :1].copy(), labels)
    assert np.allclose(losses[:, 0], ONE_CLASS.log_loss(probabilities, labels))


def test_labels_are_texts_and_numbers() -> None:
    texts = ["b", "", "a", "b"]
    names = ONE_CLASS.class_names(texts)
    labels = ONE_CLASS.encode(texts, names)
    assert names == ("a", "b") and labels.tolist() == [1, -1, 0, 1]
    assert ONE_CLASS.decode(labels, names) == texts
    assert ONE_CLASS.members(labels, 2).sum(axis=0).tolist() == [1, 2]
    dense, number = ONE_CLASS.compact(np.array([4, 0, 4]))
    assert dense.tolist() == [1, 0, 1] and number == 2


@pytest.mark.parametrize("num_classes", [2, 3, 7, 8, 20])
def test_the_loss_of_one_class_is_numpys_to_the_bit(num_classes: int) -> None:
    rng = np.random.default_rng(num_classes)
    logits = rng.normal(0, 4, (50, 3, num_classes)).astype(np.float32)
    labels = np.arange(50) % num_classes
    losses, slopes = ONE_CLASS.loss(logits.copy(), labels)
    lowered = logits - logits.max(axis=2, keepdims=True)
    exponentials = np.exp(lowered)
    sums = exponentials.sum(axis=2)
    assert np.array_equal(losses, np.log(sums) - lowered[np.arange(50), :, labels])
    expected = exponentials / sums[:, :, np.newaxis]
    expected[np.arange(50), :, labels] -= 1.0
    assert np.array_equal(slopes, expected)
