"""What a label is: one class of several. The only place that knows its dtype, loss and answer.

Another kind of label (several classes per image, say) is another class with these methods; index,
splits and heads ask nothing else of a label.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

_NUMPY_SUMS_IN_PAIRS = 8
_LEAST_PROBABILITY = 1e-12


class Target(Protocol):
    """N labels of one kind, among C classes, as an array whose first axis is the images.

    Args:
        is_several: Whether one image may be of several classes.
    """

    is_several: bool

    def class_names(self, texts: Sequence[str]) -> tuple[str, ...]:
        """Names of the classes that occur.

        Args:
            texts: N labels as a folder or a table says them; "" where there is none.

        Returns:
            C names, sorted.
        """

    def encode(self, texts: Sequence[str], class_names: Sequence[str]) -> NDArray[Any]:
        """Labels as numbers.

        Args:
            texts: N labels as a folder or a table says them; "" where there is none.
            class_names: C names, all that occur among them.

        Returns:
            (N, ...) labels.
        """

    def decode(self, labels: NDArray[Any], class_names: Sequence[str]) -> list[str]:
        """The texts of labels, as `encode` takes them.

        Args:
            labels: (N, ...) labels.
            class_names: C names.

        Returns:
            N texts.
        """

    def members(self, labels: NDArray[Any], num_classes: int) -> NDArray[np.bool_]:
        """Which image is of which class.

        Args:
            labels: (N, ...) labels.
            num_classes: C.

        Returns:
            (N, C) bool.
        """

    def strata(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        """What splits and folds are stratified by.

        Args:
            labels: (N, ...) labels.

        Returns:
            (N,) int64, 0 or more.
        """

    def compact(self, labels: NDArray[Any]) -> tuple[NDArray[Any], int]:
        """The same labels among the classes that occur.

        Args:
            labels: (N, ...) labels.

        Returns:
            (N, ...) labels, and the number of those classes.
        """

    def probabilities(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """The link function.

        Args:
            logits: (..., C) float64.

        Returns:
            (..., C) float64 from 0 to 1.
        """

    def loss(
        self, logits: NDArray[np.float32], labels: NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Negative log-likelihood, and its slopes.

        Args:
            logits: (N, F, C) float32 of F heads; their memory may be used for the slopes.
            labels: (N, ...) labels.

        Returns:
            (N, F) losses in nats, and their (N, F, C) derivatives by the logits.
        """

    def log_loss(
        self, probabilities: NDArray[np.float64], labels: NDArray[Any]
    ) -> NDArray[np.float64]:
        """Negative log-likelihood of each image's label.

        Args:
            probabilities: (N, C) float64.
            labels: (N, ...) labels.

        Returns:
            (N,) nats.
        """

    def correct(
        self, probabilities: NDArray[np.float64], labels: NDArray[Any]
    ) -> NDArray[np.bool_]:
        """Whether the answer is the label.

        Args:
            probabilities: (N, C) float64.
            labels: (N, ...) labels.

        Returns:
            (N,) bool.
        """


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normalized exponentials along the last axis, without overflow.

    Args:
        logits: (..., C) float64.

    Returns:
        (..., C) float64, each row summing to 1.
    """
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def _over_classes(combine: np.ufunc, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Largest or sum over the last axis, to the bit as NumPy has it.

    Of a short axis NumPy makes a loop a row, which takes up to 40 times as long as one a class.
    """
    if values.shape[-1] >= _NUMPY_SUMS_IN_PAIRS:
        return np.asarray(combine.reduce(values, axis=-1))
    result = values[..., 0].copy()
    for number in range(1, values.shape[-1]):
        combine(result, values[..., number], out=result)
    return result


class OneClass:
    """Each image is of one class: labels are (N,) int64, -1 where there is none; softmax."""

    is_several = False

    def class_names(self, texts: Sequence[str]) -> tuple[str, ...]:
        """As in `Target`."""
        return tuple(sorted({*texts} - {""}))

    def encode(self, texts: Sequence[str], class_names: Sequence[str]) -> NDArray[np.int64]:
        """As in `Target`."""
        numbers = {"": -1} | {name: number for number, name in enumerate(class_names)}
        return np.array([numbers[text] for text in texts], dtype=np.int64)

    def decode(self, labels: NDArray[np.int64], class_names: Sequence[str]) -> list[str]:
        """As in `Target`."""
        return [class_names[label] if label >= 0 else "" for label in labels.tolist()]

    def members(self, labels: NDArray[np.int64], num_classes: int) -> NDArray[np.bool_]:
        """As in `Target`."""
        return np.asarray(labels[:, np.newaxis] == np.arange(num_classes))

    def strata(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """As in `Target`."""
        return labels

    def compact(self, labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
        """As in `Target`."""
        occurring, dense = np.unique(labels, return_inverse=True)
        return dense, len(occurring)

    def probabilities(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """As in `Target`."""
        return softmax(logits)

    def loss(
        self, logits: NDArray[np.float32], labels: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """As in `Target`."""
        rows = np.arange(len(labels))
        logits -= _over_classes(np.maximum, logits)[:, :, np.newaxis]
        true_logits = logits[rows, :, labels]
        np.exp(logits, out=logits)
        sums = _over_classes(np.add, logits)
        losses = np.log(sums) - true_logits
        logits /= sums[:, :, np.newaxis]
        logits[rows, :, labels] -= 1.0
        return losses, logits

    def log_loss(
        self, probabilities: NDArray[np.float64], labels: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """As in `Target`."""
        true = probabilities[np.arange(len(labels)), labels]
        return np.asarray(-np.log(np.maximum(true, _LEAST_PROBABILITY)))

    def correct(
        self, probabilities: NDArray[np.float64], labels: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """As in `Target`."""
        return np.asarray(probabilities.argmax(axis=1) == labels)


ONE_CLASS = OneClass()
