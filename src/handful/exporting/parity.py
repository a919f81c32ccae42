"""An exported model's answers held against handful's own."""

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from handful.data.decoding import resize
from handful.errors import DataError, HandfulError
from handful.exporting.export_runtime import Runner
from handful.exporting.trial_images import TrialImages
from handful.models.classifier import Classifier
from handful.reporting import Progress

# Largest difference of a probability from handful's own.
MAX_DIFFERENCE = {"f32": 1e-4, "int16": 1e-2, "bf16": 1e-2, "int8": 1e-2}
# Networks in 8 and 16 bits round all the time, so that a few images may differ by more, and none by
# a multiple.
MAX_SHARE_ABOVE = 0.05
# Resizing rounds one pixel in some ten thousands the other way. One that is 1 brighter moves what
# an 8-bit network says of an image between two classes by 0.03; of 64 photos of pollen, 16 moved by
# more than 0.01 (the most 0.12) in 8 bits, and by more than 0.0001 (the most 0.0009) in 32, where
# on images resized by handful hardly any did. So on raw images, which show whether a model's own
# resizing is right, a few may differ by more than this many times what is allowed.
RAW_FACTOR = 10.0
# Drawn images are like nothing that was learned: many of them lie between the classes.
MAX_SHARE_OF_DRAWN = 0.25
MAX_FACTOR = 25.0


@dataclass(frozen=True)
class Parity:
    """How an exported model's answers compare with handful's, on the same arrays.

    Args:
        runtime: What computed the model's answers, in words.
        pictures: Where the images come from, in words.
        num_pictures: How many there were.
        allowed: Largest difference that is allowed in this precision.
        largest_difference: Of any probability, from handful's classifier of the same precision, on
            the raw images: resizing by the model and by handful.
        num_above: Raw images on which it is larger than what is allowed; few may be.
        largest_difference_resized: The same, where both were given the images that handful had
            resized. In f32 none may be above what is allowed.
        largest_difference_from_run: On raw images, from the run's own classifier, whatever it
            computes in.
        num_other_answers: Raw images that the run's own classifier names otherwise.
        largest_difference_from_files: Of the run's own classifier, between a photo's file, which
            it decodes at a reduced size where it can, and the same photo as a raw array; None
            for drawn images.
        photos_per_second: Speed of the exported model, from raw arrays, one at a time.
        run_photos_per_second: Speed of the run's own classifier, in the same way.
    """

    runtime: str
    pictures: str
    num_pictures: int
    allowed: float
    largest_difference: float
    num_above: int
    largest_difference_resized: float
    largest_difference_from_run: float
    num_other_answers: int
    largest_difference_from_files: float | None
    photos_per_second: float
    run_photos_per_second: float


def compare(
    run: Runner,
    runtime: str,
    precision: str,
    reference: Classifier,
    own: Classifier,
    images: TrialImages,
    progress: Progress | None = None,
) -> Parity:
    """Hold an exported model's answers against handful's.

    Args:
        run: The model, opened.
        runtime: What computes it, in words.
        precision: What it computes in.
        reference: Handful's classifier of the same precision.
        own: The run's classifier.
        images: What to compare on.
        progress: Called with (images done, images in all).

    Returns:
        The comparison.

    Raises:
        HandfulError: When they differ by more than the precision explains.
        DataError: When no image could be read.
    """
    answers = _Answers()
    for number, (name, image) in enumerate(images):
        if not number:
            # The first one sets things up.
            run(image), own.predict_proba([image])
        answers.names.append(name)
        start = time.perf_counter()
        answers.found.append(run(image))
        middle = time.perf_counter()
        answers.own.append(own.predict_proba([image])[0])
        answers.seconds.append((middle - start, time.perf_counter() - middle))
        same = answers.own[-1] if reference is own else reference.predict_proba([image])[0]
        answers.expected.append(same)
        # Handful's answer to both is the same.
        answers.found_resized.append(run(resize(image, own.settings)))
        if progress is not None:
            progress(number + 1, len(images))
    if not answers.names:
        raise DataError(f"None of the {images.source} can be read; give others as `photos`.")
    parity = _judge(answers, own, images, precision, runtime)
    share = MAX_SHARE_OF_DRAWN if images.index is None else MAX_SHARE_ABOVE
    _check_parity(parity, answers, precision, share)
    return parity


@dataclass(frozen=True)
class _Answers:
    """Of each image: its name, its probabilities (C,) by whom, and the seconds they took."""

    names: list[str] = field(default_factory=list)
    found: list[Any] = field(default_factory=list)
    found_resized: list[Any] = field(default_factory=list)
    expected: list[Any] = field(default_factory=list)
    own: list[Any] = field(default_factory=list)
    seconds: list[tuple[float, float]] = field(default_factory=list)


def _judge(
    answers: _Answers, own: Classifier, images: TrialImages, precision: str, runtime: str
) -> Parity:
    found, expected, run_answers = map(np.array, (answers.found, answers.expected, answers.own))
    allowed = MAX_DIFFERENCE[precision]
    seconds = np.median(np.array(answers.seconds), axis=0)
    within = np.abs(found - expected).max(axis=1) <= allowed
    return Parity(
        runtime=runtime,
        pictures=images.source,
        num_pictures=len(found),
        allowed=allowed,
        largest_difference=_largest(found, expected),
        num_above=int((~within).sum()),
        largest_difference_resized=_largest(np.array(answers.found_resized), expected),
        largest_difference_from_run=_largest(found, run_answers),
        num_other_answers=int((found.argmax(axis=1) != run_answers.argmax(axis=1)).sum()),
        largest_difference_from_files=_from_files(own, images, answers.names, run_answers),
        photos_per_second=1 / float(seconds[0]),
        run_photos_per_second=1 / float(seconds[1]),
    )


def _largest(first: Any, second: Any) -> float:
    return float(np.abs(first - second).max())


def _check_parity(parity: Parity, answers: _Answers, precision: str, share: float) -> None:
    allowed, expected = parity.allowed, np.array(answers.expected)
    for found, how in ((answers.found_resized, " resized by handful"), (answers.found, "")):
        # What is no number is further off than any.
        off = np.nan_to_num(np.abs(np.array(found) - expected).max(axis=1), nan=np.inf)
        few = max(1.0, share * len(off))
        if how and precision == "f32":
            few = 0.0
        limit = allowed if how else RAW_FACTOR * allowed
        num_above = int((off > limit).sum())
        if num_above <= few and off.max() <= MAX_FACTOR * allowed:
            continue
        advice = {
            "f32": "another `format` may do",
            "int16": "another `format` may do",
        }.get(precision, "export with `precision` f32, or int16 for a page")
        raise HandfulError(
            f"The exported model differs from `handful predict` by {off.max():.2g} in a "
            f"probability of {answers.names[int(off.argmax())]}{how}, and by more than {limit:g} "
            f"on {num_above} of {len(off)} pictures; expected {int(few)} at most in {precision}, "
            f"and none by {MAX_FACTOR * allowed:g}. Nothing is kept; {advice}."
        )


def _from_files(
    own: Classifier, images: TrialImages, names: list[str], arrays: Any
) -> float | None:
    """Largest difference between photos' files and the same photos as arrays."""
    if images.index is None:
        return None
    found = own.predict_index(images.index)
    row_of = {path: row for row, path in enumerate(found.index.paths)}
    pairs = [(row_of[name], place) for place, name in enumerate(names) if name in row_of]
    if not pairs:
        return None
    rows, places = (list(numbers) for numbers in zip(*pairs, strict=True))
    return _largest(found.probabilities[rows], arrays[places])
