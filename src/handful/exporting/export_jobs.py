"""A run's classifier for other programs: one model with all in it, compared with handful."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handful.data.index import ImageIndex
from handful.data.inputs import PHOTOS, path_of
from handful.display import Shown, job_reporter
from handful.errors import DataError, HandfulError, OutputError, UsageError
from handful.exporting.export_card import CARD_FILE, CardContent, write_card
from handful.exporting.export_graph import metadata_texts, whole_graph
from handful.exporting.export_runtime import FILE_NAMES, check_extra, running_export
from handful.exporting.parity import MAX_DIFFERENCE, Parity, compare
from handful.exporting.trial_images import TrialImages, find_images
from handful.exporting.web_page import make_page
from handful.exporting.web_runtime import VERSION, WebRuntime, web_runtime
from handful.features.backbones import efficientnet_loading
from handful.features.conversion import save_graph
from handful.features.extractor import FeatureExtractor
from handful.features.keras_runtime import require_keras
from handful.features.openvino import OpenVinoExtractor
from handful.features.registry import find_backbone, load_extractor
from handful.files.atomic import new_folder, sha256_of
from handful.models.classifier import Classifier
from handful.reporting import Reporter
from handful.run_store.store import AnyRun, RunStore
from handful.run_store.stored_run import StoredRun
from handful.wording import format_share

if TYPE_CHECKING:
    import keras

FORMATS = tuple(FILE_NAMES)
# What each format can compute in.
PRECISIONS = {
    "openvino": ("f32", "bf16", "int8"),
    "onnx": ("f32", "int8"),
    "litert": ("f32",),
    "keras": ("f32",),
    "web": ("int16", "int8"),
}
# Handful's own precision that an export is held against, where it is another.
_REFERENCES = {"int16": "f32"}
# Share of the validation photos that a network made int8 for the export may lose.
MAX_ACCURACY_DROP = 0.003
EXPORT_FILE = "export.json"
FORMAT_VERSION = 1


@dataclass(frozen=True, repr=False)
class Export(Shown):
    """What `export` made.

    Args:
        path: The folder.
        file: The model in it; OpenVINO's has a second file, `model.bin`, beside it.
        format: "openvino", "onnx", "litert", "keras" or "web".
        precision: What it computes in.
        run_precision: What the run's own classifier computes in.
        class_names: In the order of the probabilities.
        num_bytes: Size of the model.
        parity: Its answers compared with handful's.
        accuracy: Share of the run's validation photos that it names right, where int8 was made
            for the export and had to be tried; else None.
        tells_unusual: Whether it tells photos that are unlike those of training.
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
    tells_unusual: bool = False

    def _in_words(self) -> str:
        what = f"{self.format}, {self.precision}, {self.num_bytes / 1e6:,.1f} MB"
        agree = f"probabilities within {self.parity.largest_difference:.2g} of handful's"
        return f"{what}, {agree}; {str(self.file)[-60:]}"

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
            "tells_unusual": self.tells_unusual,
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
    run: AnyRun,
    format: str,
    *,
    precision: str | None = None,
    output: str | Path | None = None,
    photos: str | Path | None = None,
    runtime: str | Path | None = None,
    reporter: Reporter | None = None,
) -> Export:
    """Write a run's classifier in a format that other programs read, and try it out.

    The model takes raw RGB images of any size and gives probabilities: resizing, normalization,
    network, head and temperature are inside. It is opened in its own runtime and compared with
    handful on up to 64 images; where they differ by more than rounding, nothing is left behind.

    Args:
        run: As for `handful.predict`; a run that `train` gave must have been written.
        format: "openvino", "onnx", "litert" or "keras"; or "web", one HTML page that answers in a
            browser, without a network.
        precision: "f32", "int16", "bf16" or "int8"; None takes int16 for a page, int8 for a run in
            int8 that is written for OpenVINO, else f32.
        output: Folder to make; None takes the run's name with the format's behind it.
        photos: Photos to compare on; None takes the run's validation photos.
        runtime: For a page: the package onnxruntime-web, as a `.tgz` or an unpacked folder; None
            takes it from the cache, and fetches it once from npm's registry.
        reporter: Told how far the comparison is; None shows it, see `train`.

    Returns:
        What was made.

    Raises:
        ValueError: For an unknown format or precision, or one that the format has not.
        MissingExtraError: When a package that the format needs is not installed.
        ModelFileError: When the run is damaged.
        OutputError: When the output exists or cannot be written.
        DataError: When the run.json or the photos cannot be read, or what a page needs cannot be
            had.
        HandfulError: When the network has no form of this precision or format, or the model's
            answers differ.
    """
    reporter = job_reporter(reporter)
    _check_names(format, precision)
    check_extra(format)
    place = RunStore().find(run)
    classifier = Classifier.load(place, "cpu")
    read = _Run(place, classifier, RunStore().of(classifier))
    if output is None:
        folder = _default_output(read.path, format, precision)
    else:
        folder = path_of(output, "output", "a path")
    if folder.exists():
        raise OutputError(f"{folder} exists already; choose another `output`, or remove it first.")
    web = _web_runtime(format, runtime, reporter)
    chosen, reference = _with_precision(read, format, precision)
    source = None if photos is None else path_of(photos, "photos", PHOTOS)
    images = find_images(read.stored, source, classifier.settings)
    accuracy = _checked_accuracy(read, reference, images, chosen)
    with new_folder(folder) as temporary:
        metadata = model_metadata(reference, chosen)
        path = temporary / FILE_NAMES[format]
        tells_unusual = False
        if web is None:
            _write(reference, format, chosen, path, metadata)
        else:
            tells_unusual = _write_page(reference, read, chosen, path, metadata, web)
        parity = _compared(path, format, chosen, reference, classifier, images, reporter)
        made = Export(
            path=folder,
            file=folder / FILE_NAMES[format],
            format=format,
            precision=chosen,
            run_precision=read.classifier.extractor.precision,
            class_names=read.classifier.class_names,
            num_bytes=sum(path.stat().st_size for path in temporary.iterdir()),
            parity=parity,
            accuracy=accuracy,
            tells_unusual=tells_unusual,
        )
        _describe(made, read, metadata, temporary)
    return made


def keras_model(run: Classifier | AnyRun) -> "keras.Model":
    """Build a classifier's network as a Keras model, to look at its layers or go on from.

    It is rebuilt from what a run keeps: its layers compute the same, and may be other ones than
    those that were trained (a batch norm is part of the convolution before it). `run.model` is the
    network as it was trained, in the process that trained it.

    Args:
        run: A run, its folder or name, as for `handful.predict`; or a classifier.

    Returns:
        Functional model from "images", uint8 RGB (N, H, W, 3) of any N, H and W, to
        "probabilities", float32 (N, C), in the order of the classifier's `class_names`.

    Raises:
        MissingExtraError: When Keras, or what it computes with, is not installed.
        ModelFileError: When the run is damaged.
        HandfulError: When the network has an operation that has no like in Keras, or computes in 8
            bits and has no other form.

    Example:
        ```python
        model = handful.keras_model("runs/photos")
        first = next(one for one in model.layers if isinstance(one, keras.layers.Conv2D))
        print(first.get_weights()[0].shape)  # (rows, columns, channels, filters)
        ```
    """
    require_keras("handful.keras_model")
    from handful.exporting.export_keras import whole_model

    classifier = RunStore().classifier(run)
    place = classifier.folder or Path()
    return whole_model(_in_precision(_Run(place, classifier, RunStore().of(classifier)), "f32"))


def _check_names(format: str, precision: str | None) -> None:
    if format not in FORMATS:
        raise UsageError(f"`format` is {format!r}; expected {', '.join(FORMATS)}.")
    if precision is not None and precision not in MAX_DIFFERENCE:
        raise UsageError(f"`precision` is {precision!r}; expected {', '.join(MAX_DIFFERENCE)}.")
    if precision is not None and precision not in PRECISIONS[format]:
        others = [name for name in FORMATS if precision in PRECISIONS[name]]
        raise UsageError(
            f"`precision` is {precision!r} and `format` {format!r}; expected "
            f"{' or '.join(PRECISIONS[format])} for it. {precision} is written for "
            f"{', '.join(others)}."
        )


def _default_precision(classifier: Classifier, format: str) -> str:
    """The run's own for OpenVINO, which computes it as handful does; else f32.

    Other runtimes round 8 bits in other places: with heads fitted to few photos that is too much
    for one image in twenty. bf16 is a way to compute with f32's weights.
    """
    if format == "web":
        # In a browser 8 bits are the slower ones, and a page must work for heads on few photos.
        return "int16"
    is_int8 = classifier.extractor.precision == "int8"
    return "int8" if is_int8 and format == "openvino" else "f32"


def _default_output(run: Path, format: str, precision: str | None) -> Path:
    name = "-".join(filter(None, [run.resolve().name, format, precision]))
    # "." and ".." have no parent of their own to name.
    beside = run.parent if run.name not in ("", "..") else run.resolve().parent
    return beside / name


def _with_precision(run: _Run, format: str, asked: str | None) -> tuple[str, Classifier]:
    """What an export computes in, and handful's classifier that it should equal."""
    chosen = asked or _default_precision(run.classifier, format)
    try:
        return chosen, _in_precision(run, _REFERENCES.get(chosen, chosen))
    except HandfulError:
        own = run.classifier.extractor.precision
        if asked is None and own in PRECISIONS[format]:
            return own, run.classifier
        raise


def _in_precision(run: _Run, precision: str) -> Classifier:
    """The run's classifier with the same head on its network in another precision."""
    own = run.classifier
    if own.extractor.precision == precision:
        return own
    if "int8" in (own.extractor.precision, precision):
        extractor = _other_form(run, precision)
    else:
        extractor = OpenVinoExtractor(own.network, precision)
    return Classifier(
        own.class_names,
        extractor,
        own.head,
        own.settings,
        test_time_mirror=own.test_time_mirror,
        provenance=own.provenance,
        calibration=own.calibration,
        reference=own.reference,
    )


def _other_form(run: _Run, precision: str) -> FeatureExtractor:
    """The run's network made anew from its weights, with as many bits as another precision has."""
    own = run.classifier
    name, found = own.provenance.get("backbone", ""), own.extractor.precision
    if name in efficientnet_loading.BACKBONES:
        backbone = find_backbone(name, run.weights, own.extractor.image_size)
        # A network under that name may have been trained on since, or be too small for 8 bits.
        with suppress(HandfulError):
            known = load_extractor(backbone, "int8" if found == "int8" else "f32")
            if known.digest == own.extractor.digest:
                return load_extractor(backbone, precision)
    raise HandfulError(
        f"This classifier's network ({name}) computes in {found} and has no {precision} form: "
        "handful makes 8-bit networks of EfficientNet-Lite's own weights alone. Export it without "
        f"`precision`, or train with {precision}."
    )


def _checked_accuracy(
    run: _Run, reference: Classifier, images: TrialImages, precision: str
) -> float | None:
    """Accuracy of an 8-bit network that the run was not trained with; None for any other."""
    if precision != "int8" or reference is run.classifier:
        return None
    if images.validation is None:
        raise DataError(
            "8 bits can only be kept where they cost no accuracy, and the run's validation photos, "
            "which would show it, are gone. Put them back, or export with `precision` f32."
        )
    before, after = (
        validation_accuracy(classifier, images.validation)
        for classifier in (run.classifier, reference)
    )
    if before - after >= MAX_ACCURACY_DROP:
        raise HandfulError(
            f"In 8 bits {format_share(after)} of {len(images.validation):,} validation photos "
            f"are classified correctly, {format_share(before)} in "
            f"{run.classifier.extractor.precision}; expected a fall of less than "
            f"{100 * MAX_ACCURACY_DROP:.1f} points. Export with `precision` f32, or train with "
            "`precision` int8."
        )
    return after


def validation_accuracy(classifier: Classifier, index: ImageIndex) -> float:
    """Share of labeled photos that a classifier names right.

    Args:
        classifier: The classifier.
        index: Photos of its classes.

    Returns:
        0 to 1.
    """
    found = classifier.predict_index(index.with_class_names(classifier.class_names))
    return float((found.probabilities.argmax(axis=1) == found.index.labels).mean())


def model_metadata(classifier: Classifier, precision: str) -> dict[str, Any]:
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
        "backbone": classifier.provenance.get("backbone", ""),
        "weights_license": classifier.provenance.get("license", ""),
        "weights_source": classifier.provenance.get("source", ""),
        "network_digest": classifier.extractor.digest,
    }


def _write(
    classifier: Classifier, format: str, precision: str, path: Path, metadata: Mapping[str, Any]
) -> None:
    if format in ("openvino", "onnx"):
        graph = whole_graph(classifier, metadata, bf16=precision == "bf16")
        if format == "openvino":
            save_graph(graph, path)
        else:
            from handful.features.onnx_graph import write_onnx

            write_onnx(graph, path, metadata_texts(metadata))
        return
    from handful.exporting.export_keras import whole_model, write_keras, write_litert

    model = whole_model(classifier)
    (write_keras if format == "keras" else write_litert)(model, path, metadata_texts(metadata))


def _compared(
    path: Path,
    format: str,
    precision: str,
    reference: Classifier,
    classifier: Classifier,
    images: TrialImages,
    reporter: Reporter,
) -> Parity:
    """Open what was written as a stranger would, and compare its answers."""
    with (
        reporter.phase("compare"),
        running_export(path, format, classifier.settings) as (model, computed_by),
    ):
        return compare(
            model, computed_by, precision, reference, classifier, images, reporter.progress
        )


def _web_runtime(format: str, given: str | Path | None, reporter: Reporter) -> WebRuntime | None:
    """What a page runs on; None for other formats."""
    if format == "web":
        return web_runtime(None if given is None else Path(given), reporter)
    if given is not None:
        raise UsageError("`runtime` is for `format` web alone; leave it out.")
    return None


def _write_page(
    classifier: Classifier,
    run: _Run,
    precision: str,
    path: Path,
    metadata: Mapping[str, Any],
    runtime: WebRuntime,
) -> bool:
    """Write a page; whether it tells unusual photos."""
    figures = None if run.stored is None else run.stored.result["evaluation"]
    described = {**metadata, "runtime_version": VERSION}
    page = make_page(classifier, precision, described, figures, runtime)
    path.write_bytes(page.html)
    return page.tells_unusual


def _describe(made: Export, run: _Run, metadata: Mapping[str, Any], folder: Path) -> None:
    """Write export.json and the model card."""
    files = {
        path.name: {"sha256": sha256_of(path), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
    }
    described = {"format": "handful export", "format_version": FORMAT_VERSION}
    plain = {name: value for name, value in made.to_dict().items() if name != "path"}
    plain["model_format"] = plain.pop("format")
    text = json.dumps({**described, **plain, "model": dict(metadata), "files": files}, indent=2,
                      ensure_ascii=False)  # fmt: skip
    (folder / EXPORT_FILE).write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
    calibration = run.classifier.calibration
    card = CardContent(
        name=run.path.resolve().name,
        model=metadata,
        model_format=made.format,
        parity=asdict(made.parity),
        files=files,
        run=None if run.stored is None else run.stored.metadata,
        counts={} if run.stored is None else run.stored.counts,
        calibration=None if calibration is None else calibration.to_dict(),
        run_precision=made.run_precision,
        tells_unusual=made.tells_unusual,
    )
    write_card(card, folder / CARD_FILE)
