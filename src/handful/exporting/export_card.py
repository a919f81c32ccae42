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


@dataclass(frozen=True, eq=False)
class CardFacts:
    """What a card tells, in plain values.

    Args:
        name: Name of the run.
        model: Metadata of the model, as `export_jobs.model_facts` gives it.
        model_format: "openvino", "onnx", "litert" or "keras".
        parity: The comparison with handful, see `export_jobs.Parity`.
        files: File name to "sha256" and "bytes".
        run: The run.json; None for a classifier without its run.
        counts: Part to class to number of photos; empty where they are not known.
        calibration: See `Calibration.to_dict`; None where there is none.
        run_precision: What the run's own classifier computes in.
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


def write_card(facts: CardFacts, path: Path) -> None:
    """Write a model card as Markdown.

    Args:
        facts: What it tells.
        path: File to make.
    """
    sections = {
        "What it is": _what(facts),
        "How to use it": _use(facts),
        "Photos": _photos(facts),
        "How good it is": _figures(facts),
        "The same as handful?": _parity(facts),
        "Meant for": _purpose(facts),
        "Limits": _limits(facts),
        "Licence and source of the weights": _licence(facts),
        "Files": _files(facts),
    }
    lines = [f"# {facts.name}: an image classifier"]
    for heading, found in sections.items():
        lines += ["", f"## {heading}", "", *found]
    text = "\n".join(map(printable, "\n".join(lines).split("\n")))
    path.write_text(text + "\n", encoding="utf-8")


def _what(facts: CardFacts) -> Iterator[str]:
    model = facts.model
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
    if facts.run is not None:
        result = facts.run["result"]
        made += f", strategy {result['strategy']}, recipe {result['recipe']}"
    yield made + "."


def _use(facts: CardFacts) -> Iterator[str]:
    yield "`image` is a NumPy array (height, width, 3), uint8, RGB, upright (turned as EXIF says)."
    yield ""
    yield f"```python\n{_USE[facts.model_format]}\n```"


def _photos(facts: CardFacts) -> Iterator[str]:
    if not facts.counts:
        missing = "its run" if facts.run is None else "the run's split.csv"
        yield f"Not known: the classifier was exported without {missing}."
        return
    names = facts.model["class_names"]
    yield f"| part | photos | {' | '.join(_cell(name) for name in names)} |"
    yield f"|---|---|{'---|' * len(names)}"
    for part, counts in facts.counts.items():
        numbers = " | ".join(f"{counts.get(name, 0):,}" for name in names)
        yield f"| {part} | {sum(counts.values()):,} | {numbers} |"


def _figures(facts: CardFacts) -> Iterator[str]:
    if facts.run is None:
        yield "Not known: the classifier was exported without its run."
        return
    found = facts.run["result"]["evaluation"]
    low, high = found["accuracy_interval"]
    yield (
        f"Of {found['num_images']:,} validation photos {format_share(found['accuracy'])} are "
        f"classified correctly (95 % interval {format_share(low)} to {format_share(high)}), by the "
        f"run's own classifier, which computes in {facts.run_precision}. Balanced accuracy "
        f"{format_share(found['balanced_accuracy'])}, log loss {found['log_loss']:.3f}, expected "
        f"calibration error {format_share(found['expected_calibration_error'])}."
    )
    yield ""
    yield "| class | photos | precision | recall |"
    yield "|---|---|---|---|"
    for row in found["per_class"]:
        numbers = [_number(row[name]) for name in ("precision", "recall")]
        yield f"| {_cell(row['name'])} | {row['support']:,} | {' | '.join(numbers)} |"
    for limitation in facts.run["result"].get("limitations", []):
        yield f"\n{limitation}"
    yield from _thresholds(facts.calibration)


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


def _parity(facts: CardFacts) -> Iterator[str]:
    found = facts.parity
    yield (
        f"Compared with handful's own classifier in {facts.model['precision']} on "
        f"{found['num_pictures']} pictures ({found['pictures']}). Given pixels that handful had "
        f"resized, no probability differs by more than {found['largest_difference_resized']:.2g} "
        f"({found['allowed']:g} is allowed); given the raw pictures, by more than "
        f"{found['largest_difference']:.2g}, and on {found['num_above']} of them by more than "
        f"{found['allowed']:g}: a few pixels are rounded the other way."
    )
    if facts.model["precision"] != facts.run_precision:
        yield (
            f"From the run's own classifier, in {facts.run_precision}, they differ by up to "
            f"{found['largest_difference_from_run']:.2g}, and {found['num_other_answers']} are "
            "named otherwise."
        )
    if found["largest_difference_from_files"] is not None:
        yield (
            "From files handful decodes large JPEGs at a reduced size; that alone moves a "
            f"probability by up to {found['largest_difference_from_files']:.2g}."
        )


def _purpose(facts: CardFacts) -> Iterator[str]:
    yield (
        f"Photos of {', '.join(facts.model['class_names'])} like those it was trained on: the same "
        "kind of subject, camera and light."
    )


def _limits(facts: CardFacts) -> Iterator[str]:
    yield (
        "- It knows no other classes and answers for every photo, one of nothing it knows as well; "
        "unlike `handful predict` it does not tell photos unlike those of training."
    )
    yield "- The figures hold for photos like the validation photos, and for no others."
    yield "- It has not been examined for fairness, or against pictures made to deceive it."
    yield "- Not for decisions about people, their health, safety or rights."


def _licence(facts: CardFacts) -> Iterator[str]:
    model = facts.model
    yield f"{model['backbone']}: {model['weights_licence']}; {model['weights_source']}."
    yield "The head, or all of a network trained from scratch, is made from your photos."


def _files(facts: CardFacts) -> Iterator[str]:
    yield "| file | bytes | SHA-256 |"
    yield "|---|---|---|"
    for name, found in facts.files.items():
        yield f"| {name} | {found['bytes']:,} | {found['sha256']} |"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _cell(text: str) -> str:
    """A class name that does not end a table's cell."""
    return text.replace("|", "\\|")
