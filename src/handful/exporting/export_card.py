"""The model card of an exported classifier: what it is, how good, for what, and for what not."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handful.wording import format_rate, format_share, printable

CARD_FILE = "model_card.md"
_USE = {
    "openvino": """\
import openvino, numpy as np
options = {"INFERENCE_PRECISION_HINT": "f32"}
model = openvino.Core().compile_model("model.xml", "CPU", options)
probabilities = model({"images": image[np.newaxis]})[0][0]""",
    "onnx": """\
import onnxruntime, numpy as np
session = onnxruntime.InferenceSession("model.onnx")
probabilities = session.run(None, {"images": image[np.newaxis]})[0][0]""",
    "litert": """\
from ai_edge_litert.interpreter import Interpreter
run = Interpreter("model.tflite").get_signature_runner()
probabilities = run(images=image[None])["probabilities"][0]""",
    "keras": """\
import keras
model = keras.saving.load_model("model.keras", compile=False)
probabilities = model.predict(image[None])[0]""",
}
_USE_PAGE = (
    "Open `classifier.html` in a browser (Chrome, Edge, Firefox or Safari of 2023 or later), from "
    "a disk, a stick, a mail or any web server. Drop photos on it, choose them, or use the camera. "
    "Nothing is loaded from elsewhere and nothing is sent. On iPhones and iPads a page must come "
    "from a web server (https), for their file viewer runs no scripts."
)


@dataclass(frozen=True, eq=False)
class CardContent:
    """What a card tells, in plain values.

    Args:
        name: Name of the run.
        model: Metadata of the model, as `export_jobs.model_metadata` gives it.
        model_format: "openvino", "onnx", "litert", "keras" or "web".
        parity: The comparison with handful, see `export_jobs.Parity`.
        files: File name to "sha256" and "bytes".
        run: The run.json; None for a classifier without its run.
        counts: Part to class to number of photos; empty where they are not known.
        calibration: See `Calibration.to_dict`; None where there is none.
        run_precision: What the run's own classifier computes in.
        tells_unusual: Whether it tells photos that are unlike those of training.
    """

    name: str
    model: Mapping[str, Any]
    model_format: str
    parity: Mapping[str, Any]
    files: Mapping[str, Mapping[str, Any]]
    run: Mapping[str, Any] | None
    counts: Mapping[str, Mapping[str, int]]
    calibration: Mapping[str, Any] | None
    run_precision: str
    tells_unusual: bool = False


def write_card(content: CardContent, path: Path) -> None:
    """Write a model card as Markdown.

    Args:
        content: What it tells.
        path: File to make.
    """
    sections = {
        "What it is": _what(content),
        "How to use it": _use(content),
        "Photos": _photos(content),
        "How good it is": _figures(content),
        "The same as handful?": _parity(content),
        "Meant for": _purpose(content),
        "Limits": _limits(content),
        "License and source of the weights": _license(content),
        "Files": _files(content),
    }
    lines = [f"# {content.name}: an image classifier"]
    for heading, found in sections.items():
        lines += ["", f"## {heading}", "", *found]
    text = "\n".join(map(printable, "\n".join(lines).split("\n")))
    path.write_text(text + "\n", encoding="utf-8")


def _what(content: CardContent) -> Iterator[str]:
    model = content.model
    names = model["class_names"]
    yield f"It names which of {len(names)} classes a photo shows: {', '.join(names)}."
    yield ""
    yield f"- In: {model['input']}."
    yield f"- Out: {model['output']}. They add up to 1."
    yield (
        f"- Inside: resizing to {model['image_size']} x {model['image_size']} pixels "
        f'("{model["resize"]}"), the network {model["backbone"]} in {model["precision"]}, and a '
        "linear head with its temperature."
    )
    made = f"- Made by handful {model['handful_version']}"
    if content.run is not None:
        result = content.run["result"]
        made += f", strategy {result['strategy']}, recipe {result['recipe']}"
    yield made + "."


def _use(content: CardContent) -> Iterator[str]:
    if content.model_format == "web":
        yield _USE_PAGE
        return
    yield "`image` is a NumPy array (height, width, 3), uint8, RGB, upright (turned as EXIF says)."
    yield ""
    yield f"```python\n{_USE[content.model_format]}\n```"


def _photos(content: CardContent) -> Iterator[str]:
    if not content.counts:
        missing = "its run" if content.run is None else "the run's split.csv"
        yield f"Not known: the classifier was exported without {missing}."
        return
    names = content.model["class_names"]
    yield f"| part | photos | {' | '.join(_cell(name) for name in names)} |"
    yield f"|---|---|{'---|' * len(names)}"
    for part, counts in content.counts.items():
        numbers = " | ".join(f"{counts.get(name, 0):,}" for name in names)
        yield f"| {part} | {sum(counts.values()):,} | {numbers} |"


def _figures(content: CardContent) -> Iterator[str]:
    if content.run is None:
        yield "Not known: the classifier was exported without its run."
        return
    found = content.run["result"]["evaluation"]
    low, high = found["accuracy_interval"]
    yield (
        f"Of {found['num_images']:,} validation photos {format_share(found['accuracy'])} are "
        f"classified correctly (95 % interval {format_share(low)} to {format_share(high)}), by the "
        f"run's own classifier, which computes in {content.run_precision}. Balanced accuracy "
        f"{format_share(found['balanced_accuracy'])}, log loss {found['log_loss']:.3f}, expected "
        f"calibration error {format_share(found['expected_calibration_error'])}."
    )
    yield ""
    yield "| class | photos | precision | recall |"
    yield "|---|---|---|---|"
    for row in found["per_class"]:
        numbers = [_number(row[name]) for name in ("precision", "recall")]
        yield f"| {_cell(row['name'])} | {row['support']:,} | {' | '.join(numbers)} |"
    for limitation in content.run["result"].get("limitations", []):
        yield f"\n{limitation}"
    yield from _thresholds(content.calibration)


def _thresholds(calibration: Mapping[str, Any] | None) -> Iterator[str]:
    if calibration is None or not calibration["abstaining"]:
        return
    yield ""
    yield (
        f"Answered from a probability on, no more answers than this are wrong, with "
        f"{format_rate(calibration['confidence'])} confidence (found on "
        f"{calibration['num_photos']:,} photos that the answering head had not seen; it holds for "
        "photos like those of training):"
    )
    yield ""
    yield "| wrong answers | answer from | photos answered |"
    yield "|---|---|---|"
    for row in calibration["abstaining"]:
        yield (
            f"| {format_rate(row['error_rate'])} | {row['threshold']:.4f} | "
            f"{format_share(row['coverage'])} |"
        )


def _parity(content: CardContent) -> Iterator[str]:
    found = content.parity
    yield (
        f"Compared with handful's own classifier, in {_compared_with(content)}, on "
        f"{found['num_pictures']} pictures ({found['pictures']}), by {found['runtime']}. "
        f"Given pixels that handful had "
        f"resized, no probability differs by more than {found['largest_difference_resized']:.2g} "
        f"({found['allowed']:g} is allowed); given the raw pictures, by more than "
        f"{found['largest_difference']:.2g}, and on {found['num_above']} of them by more than "
        f"{found['allowed']:g}: a few pixels are rounded the other way."
    )
    if content.model["precision"] != content.run_precision:
        yield (
            f"From the run's own classifier, in {content.run_precision}, they differ by up to "
            f"{found['largest_difference_from_run']:.2g}, and {found['num_other_answers']} are "
            "named otherwise."
        )
    if found["largest_difference_from_files"] is not None:
        yield (
            "From files handful decodes large JPEGs at a reduced size; that alone moves a "
            f"probability by up to {found['largest_difference_from_files']:.2g}."
        )


def _compared_with(content: CardContent) -> str:
    precision = str(content.model["precision"])
    return "f32 (the page keeps its weights in 16 bits)" if precision == "int16" else precision


def _purpose(content: CardContent) -> Iterator[str]:
    yield (
        f"Photos of {', '.join(content.model['class_names'])} like those it was trained on: the "
        "same kind of subject, camera and light."
    )


def _limits(content: CardContent) -> Iterator[str]:
    yield "- It knows no other classes and answers for every photo, one of nothing it knows too."
    if content.tells_unusual:
        yield "- It says where a photo looks unlike those of training, as `handful predict` does."
    elif content.model_format == "web":
        yield (
            "- It does not tell photos unlike those of training, as `handful predict` does: there "
            "were too few training photos for that, or so many that the page would be too large."
        )
    else:
        yield "- Unlike `handful predict` it does not tell photos unlike those of training."
    yield "- The figures hold for photos like the validation photos, and for no others."
    yield "- It has not been examined for fairness, or against pictures made to deceive it."
    yield "- Not for decisions about people, their health, safety or rights."


def _license(content: CardContent) -> Iterator[str]:
    model = content.model
    yield f"{model['backbone']}: {model['weights_license']}; {model['weights_source']}."
    yield "The head, or all of a network trained from scratch, is made from your photos."


def _files(content: CardContent) -> Iterator[str]:
    yield "| file | bytes | SHA-256 |"
    yield "|---|---|---|"
    for name, found in content.files.items():
        yield f"| {name} | {found['bytes']:,} | {found['sha256']} |"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _cell(text: str) -> str:
    """A class name that does not end a table's cell."""
    return text.replace("|", "\\|")
