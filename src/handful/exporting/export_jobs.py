"""A run's classifier for other programs: one model with all in it, compared with handful."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from handful.data.decoding import resize
from handful.data.index import ImageIndex
from handful.errors import DataError, HandfulError, OutputError, UsageError
from handful.exporting.export_card import CARD_FILE, CardFacts, write_card
from handful.exporting.export_graph import metadata, whole_graph
from handful.exporting.export_pictures import TrialPictures, find_pictures
from handful.exporting.export_runtime import FILE_NAMES, check_extra, open_export
from handful.features.backbones.efficientnet_lite import LITE_VARIANTS
from handful.features.conversion import save_graph
from handful.features.registry import find_backbone, frozen_network, int8_digest
from handful.files.atomic import new_folder, sha256_of
from handful.models.classifier import Classifier
from handful.reporting import Progress, Reporter
from handful.runs.store import RunStore
from handful.runs.stored_run import StoredRun
from handful.wording import format_share

FORMATS = tuple(FILE_NAMES)
# What each format can compute in.
PRECISIONS = {
    "openvino": ("f32", "bf16", "int8"),
    "onnx": ("f32", "int8"),
    "litert": ("f32",),
    "keras": ("f32",),
}
# Largest difference of a probability from handful's own.
LARGEST_DIFFERENCE = {"f32": 1e-4, "bf16": 1e-2, "int8": 1e-2}
# Resizing rounds one pixel in some ten thousands the other way, and networks in 8 and 16 bits round
# all the time. One pixel that is 1 brighter moves what an 8-bit network says of a picture between
# two classes by 0.03; on processors without VNNI, OpenVINO and ONNX Runtime add 8-bit numbers up in
# their own ways, and one real photo of 50 moved by 0.12 (by 0.18 from 32 bits). So a few pictures
# may differ by more, and none by a multiple.
LARGEST_SHARE_ABOVE = 0.05
# Drawn pictures are like nothing that was learnt: many of them lie between the classes.
LARGEST_SHARE_OF_DRAWN = 0.25
LARGEST_FACTOR = 25.0
# Share of the validation photos that a network made int8 for the export may lose.
LARGEST_FALL = 0.003
FACTS_FILE = "export.json"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Parity:
    """How an exported model's answers compare with handful's, on the same arrays.

    Args:
        pictures: Where the pictures come from, in words.
        num_pictures: How many there were.
        allowed: Largest difference that is allowed in this precision.
        largest_difference: Of any probability, from handful's classifier of the same precision, on
            the raw pictures: resizing by the model and by handful.
        num_above: Raw pictures on which it is larger than what is allowed; few may be.
        largest_difference_resized: The same, where both were given the pictures that handful had
            resized. In f32 none may be above what is allowed.
        largest_difference_from_run: On raw pictures, from the run's own classifier, whatever it
            computes in.
        num_other_answers: Raw pictures that the run's own classifier names otherwise.
        largest_difference_from_files: Of the run's own classifier, between a photo's file, which
            it decodes at a reduced size where it can, and the same photo as a raw array; None
            for drawn pictures.
        photos_per_second: Speed of the exported model, from raw arrays, one at a time.
        run_photos_per_second: Speed of the run's own classifier, in the same way.
    """

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


@dataclass(frozen=True)
class Export:
    """What `export` made.

    Args:
        path: The folder.
        file: The model in it; OpenVINO's has a second file, `model.bin`, beside it.
        format: "openvino", "onnx", "litert" or "keras".
        precision: What it computes in.
        run_precision: What the run's own classifier computes in.
        class_names: In the order of the probabilities.
        num_bytes: Size of the model.
        parity: Its answers compared with handful's.
        accuracy: Share of the run's validation photos that it names right, where int8 was made
            for the export and had to be tried; else None.
    """

    path: Path
    file: Path
    format: str
    precision: str
    run_precision: str
    class_names: tuple[str, ...]
    num_bytes: int
    parity: Parity
    accuracy: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The export in plain values, as `handful export --json` prints it.

        Returns:
            Names and values are described in docs/serving.md.
        """
        return {
            "path": str(self.path),
            "file": self.file.name,
            "format": self.format,
            "precision": self.precision,
            "run_precision": self.run_precision,
            "class_names": list(self.class_names),
            "bytes": self.num_bytes,
            "accuracy": self.accuracy,
            "parity": asdict(self.parity),
        }


@dataclass(frozen=True, eq=False)
class _Run:
    """A classifier, and the run that it was loaded from; None for one without its run."""

    path: Path
    classifier: Classifier
    stored: StoredRun | None

    @property
    def weights(self) -> Path | None:
        """The weights file that the run was given."""
        given = None if self.stored is None else self.stored.config.weights
        return Path(given) if given else None


def export(
    run: str | Path,
    format: str,
    *,
    precision: str | None = None,
    output: Path | None = None,
    photos: Path | None = None,
    reporter: Reporter | None = None,
) -> Export:
    """Write a run's classifier in a format that other programs read, and try it out.

    The model takes raw RGB pictures of any size and gives probabilities: resizing, normalisation,
    network, head and temperature are inside. It is opened in its own runtime and compared with
    handful on up to 64 pictures; where they differ by more than rounding, nothing is left behind.

    Args:
        run: Folder of a run, or of a classifier.
        format: "openvino", "onnx", "litert" or "keras".
        precision: "f32", "bf16" or "int8"; None takes int8 for a run in int8 that is written for
            OpenVINO, else f32.
        output: Folder to make; None takes the run's name with the format's behind it.
        photos: Photos to compare on; None takes the run's validation photos.
        reporter: Told how far the comparison is.

    Returns:
        What was made.

    Raises:
        ValueError: For an unknown format or precision, or one that the format has not.
        MissingExtraError: When a package that the format needs is not installed.
        ModelFileError: When the run is damaged.
        OutputError: When the output exists or cannot be written.
        DataError: When the run.json or the photos cannot be read.
        HandfulError: When the network has no form of this precision or format, or the model's
            answers differ.
    """
    reporter = Reporter(reporter)
    _check_names(format, precision)
    check_extra(format)
    classifier = Classifier.load(run)
    read = _Run(Path(run), classifier, RunStore().of(classifier))
    chosen = precision or _default_precision(read.classifier, format)
    folder = output or _default_output(read.path, format, precision)
    if folder.exists():
        raise OutputError(f"{folder} exists already; choose another `output`, or remove it first.")
    reference = _in_precision(read, chosen)
    pictures = find_pictures(read.stored, photos, classifier.settings)
    accuracy = _checked_accuracy(read, reference, pictures, chosen)
    with new_folder(folder) as temporary:
        facts = model_facts(reference, chosen)
        _write(reference, format, chosen, temporary / FILE_NAMES[format], facts)
        with reporter.phase("compare"):
            parity = compare(temporary / FILE_NAMES[format], format, chosen, reference,
                             read.classifier, pictures, reporter.progress)  # fmt: skip
        made = Export(
            path=folder,
            file=folder / FILE_NAMES[format],
            format=format,
            precision=chosen,
            run_precision=read.classifier.embedder.precision,
            class_names=read.classifier.class_names,
            num_bytes=sum(path.stat().st_size for path in temporary.iterdir()),
            parity=parity,
            accuracy=accuracy,
        )
        _describe(made, read, facts, temporary)
    return made


def _check_names(format: str, precision: str | None) -> None:
    if format not in FORMATS:
        raise UsageError(f"`format` is {format!r}; expected {', '.join(FORMATS)}.")
    if precision is not None and precision not in LARGEST_DIFFERENCE:
        raise UsageError(f"`precision` is {precision!r}; expected {', '.join(LARGEST_DIFFERENCE)}.")
    if precision is not None and precision not in PRECISIONS[format]:
        others = [name for name in FORMATS if precision in PRECISIONS[name]]
        raise UsageError(
            f"`precision` is {precision!r} and `format` {format!r}; expected "
            f"{' or '.join(PRECISIONS[format])} for it. {precision} is written for "
            f"{' and '.join(others)}."
        )


def _default_precision(classifier: Classifier, format: str) -> str:
    """The run's own for OpenVINO, which computes it as handful does; else f32.

    Other runtimes round 8 bits in other places: with heads fitted to few photos that is too much
    for one picture in twenty. bf16 is a way to compute with f32's weights.
    """
    is_int8 = classifier.embedder.precision == "int8"
    return "int8" if is_int8 and format == "openvino" else "f32"


def _default_output(run: Path, format: str, precision: str | None) -> Path:
    name = "-".join(filter(None, [run.resolve().name, format, precision]))
    # "." and ".." have no parent of their own to name.
    beside = run.parent if run.name not in ("", "..") else run.resolve().parent
    return beside / name


def _in_precision(run: _Run, precision: str) -> Classifier:
    """The run's classifier with the same head on its network in another precision."""
    own = run.classifier
    if own.embedder.precision == precision:
        return own
    network = own.network
    if "int8" in (own.embedder.precision, precision):
        name = own.about.get("backbone", "")
        backbone = None
        if name in LITE_VARIANTS:
            backbone = find_backbone(name, run.weights, network.image_size)
        digests = {None} if backbone is None else {backbone.digest, int8_digest(backbone)}
        if backbone is None or network.digest not in digests:
            raise HandfulError(
                f"This classifier's network ({name}) computes in {own.embedder.precision} and has "
                f"no {precision} form: handful makes 8-bit networks of EfficientNet-Lite's own "
                f"weights alone. Export it without `precision`, or train with {precision}."
            )
        network = frozen_network(backbone, precision=precision)
    return Classifier(
        own.class_names,
        network,
        own.head,
        own.settings,
        precision=precision,
        test_time_mirror=own.test_time_mirror,
        about=own.about,
        calibration=own.calibration,
        reference=own.reference,
    )


def _checked_accuracy(
    run: _Run, reference: Classifier, pictures: TrialPictures, precision: str
) -> float | None:
    """Accuracy of an 8-bit network that the run was not trained with; None for any other."""
    if precision != "int8" or reference is run.classifier:
        return None
    if pictures.validation is None:
        raise DataError(
            "8 bits can only be kept where they cost no accuracy, and the run's validation photos, "
            "which would show it, are gone. Put them back, or export with `precision` f32."
        )
    before, after = (
        validation_accuracy(classifier, pictures.validation)
        for classifier in (run.classifier, reference)
    )
    if before - after >= LARGEST_FALL:
        raise HandfulError(
            f"In 8 bits {format_share(after)} of {len(pictures.validation):,} validation photos "
            f"are classified correctly, {format_share(before)} in "
            f"{run.classifier.embedder.precision}; expected a fall of less than "
            f"{100 * LARGEST_FALL:.1f} points. Export with `precision` f32, or train with "
            "`precision` int8."
        )
    return after


def validation_accuracy(classifier: Classifier, index: ImageIndex) -> float:
    """Share of labelled photos that a classifier names right.

    Args:
        classifier: The classifier.
        index: Photos of its classes.

    Returns:
        0 to 1.
    """
    found = classifier.predict_index(index.with_class_names(classifier.class_names))
    return float((found.probabilities.argmax(axis=1) == found.index.labels).mean())


def model_facts(classifier: Classifier, precision: str) -> dict[str, Any]:
    """What a model says of itself, in its metadata.

    Args:
        classifier: What it was made of.
        precision: What it computes in.

    Returns:
        Plain values.
    """
    return {
        "class_names": list(classifier.class_names),
        "handful_version": version("handful"),
        "precision": precision,
        "input": "uint8 RGB pictures, (N, height, width, 3), 0 to 255, upright, of any size",
        "output": "probabilities, float32 (N, classes), in the order of class_names",
        "image_size": classifier.settings.image_size,
        "resize": classifier.settings.resize,
        "backbone": classifier.about.get("backbone", ""),
        "weights_licence": classifier.about.get("licence", ""),
        "weights_source": classifier.about.get("source", ""),
        "network_digest": classifier.network.digest,
    }


def _write(
    classifier: Classifier, format: str, precision: str, path: Path, facts: Mapping[str, Any]
) -> None:
    if format in ("openvino", "onnx"):
        graph = whole_graph(classifier, facts, bf16=precision == "bf16")
        if format == "openvino":
            save_graph(graph, path)
        else:
            from handful.exporting.export_onnx import write_onnx

            write_onnx(graph, path, metadata(facts))
        return
    from handful.exporting.export_keras import whole_model, write_keras, write_litert

    model = whole_model(classifier)
    (write_keras if format == "keras" else write_litert)(model, path, metadata(facts))


def compare(
    path: Path,
    format: str,
    precision: str,
    reference: Classifier,
    own: Classifier,
    pictures: TrialPictures,
    progress: Progress | None = None,
) -> Parity:
    """Hold an exported model's answers against handful's.

    Args:
        path: The model's file.
        format: Its format.
        precision: What it computes in.
        reference: Handful's classifier of the same precision.
        own: The run's classifier.
        pictures: What to compare on.
        progress: Called with (pictures done, pictures in all).

    Returns:
        The comparison.

    Raises:
        HandfulError: When they differ by more than the precision explains.
        DataError: When no picture could be read.
    """
    run, answers = open_export(path, format), _Answers()
    for number, (name, image) in enumerate(pictures):
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
            progress(number + 1, len(pictures))
    if not answers.names:
        raise DataError(f"None of the {pictures.source} can be read; give others as `photos`.")
    parity = _judge(answers, own, pictures, precision)
    share = LARGEST_SHARE_OF_DRAWN if pictures.index is None else LARGEST_SHARE_ABOVE
    _check_parity(parity, answers, precision, share)
    return parity


@dataclass(frozen=True)
class _Answers:
    """Of each picture: its name, its probabilities (C,) by whom, and the seconds they took."""

    names: list[str] = field(default_factory=list)
    found: list[Any] = field(default_factory=list)
    found_resized: list[Any] = field(default_factory=list)
    expected: list[Any] = field(default_factory=list)
    own: list[Any] = field(default_factory=list)
    seconds: list[tuple[float, float]] = field(default_factory=list)


def _judge(answers: _Answers, own: Classifier, pictures: TrialPictures, precision: str) -> Parity:
    found, expected, run_answers = map(np.array, (answers.found, answers.expected, answers.own))
    allowed = LARGEST_DIFFERENCE[precision]
    seconds = np.median(np.array(answers.seconds), axis=0)
    within = np.abs(found - expected).max(axis=1) <= allowed
    return Parity(
        pictures=pictures.source,
        num_pictures=len(found),
        allowed=allowed,
        largest_difference=_largest(found, expected),
        num_above=int((~within).sum()),
        largest_difference_resized=_largest(np.array(answers.found_resized), expected),
        largest_difference_from_run=_largest(found, run_answers),
        num_other_answers=int((found.argmax(axis=1) != run_answers.argmax(axis=1)).sum()),
        largest_difference_from_files=_from_files(own, pictures, answers.names, run_answers),
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
        num_above = int((off > allowed).sum())
        if num_above <= few and off.max() <= LARGEST_FACTOR * allowed:
            continue
        advice = "another `format` may do" if precision == "f32" else "export with `precision` f32"
        raise HandfulError(
            f"The exported model differs from `handful predict` by {off.max():.2g} in a "
            f"probability of {answers.names[int(off.argmax())]}{how}, and by more than {allowed:g} "
            f"on {num_above} of {len(off)} pictures; expected {int(few)} at most in {precision}, "
            f"and none by {LARGEST_FACTOR * allowed:g}. Nothing is kept; {advice}."
        )


def _from_files(
    own: Classifier, pictures: TrialPictures, names: list[str], arrays: Any
) -> float | None:
    """Largest difference between photos' files and the same photos as arrays."""
    if pictures.index is None:
        return None
    found = own.predict_index(pictures.index)
    row_of = {path: row for row, path in enumerate(found.index.paths)}
    pairs = [(row_of[name], place) for place, name in enumerate(names) if name in row_of]
    if not pairs:
        return None
    rows, places = (list(numbers) for numbers in zip(*pairs, strict=True))
    return _largest(found.probabilities[rows], arrays[places])


def _describe(made: Export, run: _Run, facts: Mapping[str, Any], folder: Path) -> None:
    """Write export.json and the model card."""
    files = {
        path.name: {"sha256": sha256_of(path), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
    }
    described = {"format": "handful export", "format_version": FORMAT_VERSION}
    plain = {name: value for name, value in made.to_dict().items() if name != "path"}
    plain["model_format"] = plain.pop("format")
    text = json.dumps({**described, **plain, "model": dict(facts), "files": files}, indent=2,
                      ensure_ascii=False)  # fmt: skip
    (folder / FACTS_FILE).write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    calibration = run.classifier.calibration
    card = CardFacts(
        name=run.path.resolve().name,
        model=facts,
        model_format=made.format,
        parity=asdict(made.parity),
        files=files,
        run=None if run.stored is None else run.stored.metadata,
        counts={} if run.stored is None else run.stored.counts,
        calibration=None if calibration is None else calibration.to_dict(),
        run_precision=made.run_precision,
    )
    write_card(card, folder / CARD_FILE)
