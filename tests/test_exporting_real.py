"""The real networks: every format and precision, on a run of real photos."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from handful.config import TrainConfig
from handful.data.decoding import DecodeSettings
from handful.exporting import parity, trial_images
from handful.exporting.export_jobs import export
from handful.features.registry import build_body
from handful.models.classifier import Classifier
from handful.workflows import train as train_workflow
from test_exporting_formats import ask_stranger, classifier_on, frozen, pictures, stirred

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("keras_ready")]

SIZES = [(90, 119), (375, 499), (224, 224), (60, 900), (1000, 120), (448, 448)]


@pytest.fixture(scope="module")
def real_runs(shared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run in 8 bits and one in f32, on some of the real photos."""
    root = tmp_path_factory.mktemp("real")
    source = shared_folder / "data" / "cats_and_dogs_filtered.zip"
    with zipfile.ZipFile(source) as archive:
        for name in archive.namelist():
            if name.endswith(".jpg") and int(name.split(".")[-2]) % 20 == 0:
                archive.extract(name, root)
    photos = next(path for path in root.iterdir() if path.is_dir())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HANDFUL_CACHE", str(root / "cache"))
        for precision in ("int8", "f32"):
            config = TrainConfig(precision=precision)
            train_workflow.train(photos, config, output=root / "runs" / precision)
    return {name: root / "runs" / name for name in ("int8", "f32")}


@pytest.mark.real
@pytest.mark.parametrize(
    ("format", "precision"),
    [
        ("openvino", "int8"),
        ("openvino", "f32"),
        ("openvino", "bf16"),
        ("onnx", "int8"),
        ("onnx", "f32"),
        ("litert", "f32"),
        ("keras", "f32"),
    ],
)
def test_every_format_answers_as_handful_does(
    format: str,
    precision: str,
    real_runs: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if (format, precision) in (("openvino", "bf16"), ("onnx", "int8")):
        # A head fitted to 100 photos is sensitive: more than 5 % of the answers move by 1e-2.
        monkeypatch.setattr(parity, "MAX_SHARE_ABOVE", 0.12)
    if format == "keras":  # it computes operation by operation, half a second an image
        monkeypatch.setattr(trial_images, "MAX_IMAGES", 16)
    run = real_runs[precision if precision == "int8" else "f32"]
    made = export(run, format, precision=precision, output=tmp_path / "out")
    images = pictures(SIZES)
    found, names = ask_stranger(format, made.file, images, tmp_path)
    classifier = Classifier.load(run)
    expected = classifier.predict_proba(images)
    assert np.abs(found - expected).max() <= (1e-3 if precision == "f32" else 0.1)
    assert names == list(classifier.class_names)
    limit = 100 if precision == "f32" else 10
    assert made.num_bytes < limit * 1e6


@pytest.mark.real
def test_one_run_gives_the_other_precision(real_runs: dict[str, Path], tmp_path: Path) -> None:
    made = export(real_runs["int8"], "onnx", precision="f32", output=tmp_path / "f32")
    assert made.parity.largest_difference_resized <= 1e-4
    assert made.parity.num_other_answers <= 2
    eight = export(real_runs["f32"], "openvino", precision="int8", output=tmp_path / "int8")
    assert eight.accuracy is not None and eight.accuracy > 0.95
    assert eight.num_bytes < 0.4 * made.num_bytes


@pytest.mark.real
@pytest.mark.parametrize(
    ("backbone", "size"),
    [
        ("efficientnet-lite0", None),
        ("efficientnet-lite0-multilevel", None),
        ("efficientnet-lite-joined", 160),
    ],
)
def test_photos_of_which_a_pixel_moves_the_answer_can_be_exported(
    backbone: str, size: int | None, shared_folder: Path, tmp_path: Path, own_cache: Path
) -> None:
    """Heads on what ImageNet does not show make much of a pixel rounded the other way."""
    photos = tmp_path / "pollen.zip"
    with (
        zipfile.ZipFile(shared_folder / "data" / "pollen.zip") as every,
        zipfile.ZipFile(photos, "w") as other,
    ):
        for name in sorted(every.namelist())[::2]:
            other.writestr(name, every.read(name))
    config = TrainConfig(backbone=backbone, image_size=size)
    train_workflow.train(photos, config, output=tmp_path / "run")
    for format, precision in (("openvino", "int8"), ("onnx", "f32")):
        made = export(tmp_path / "run", format, output=tmp_path / format)
        assert made.parity.largest_difference_resized <= parity.MAX_DIFFERENCE[precision]
        assert made.parity.num_other_answers <= 2


@pytest.fixture(scope="module")
def saved(
    request: pytest.FixtureRequest, keras_ready: None, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A classifier on a network of Keras Applications; read, never changed."""
    size, folder = 96, tmp_path_factory.mktemp(request.param)
    classifier = classifier_on(frozen(stirred(build_body(request.param, size)), folder, size))
    assert classifier.settings == DecodeSettings(size)
    classifier.save(folder / "saved")
    return folder / "saved"


@pytest.mark.real
@pytest.mark.parametrize(
    ("saved", "format"),
    [
        ("mobilenetv3small", "onnx"),
        ("mobilenetv3small", "keras"),
        ("mobilenetv3small", "litert"),
        ("efficientnetv2b0", "onnx"),
        ("efficientnetv2b0", "keras"),
        ("resnet50", "onnx"),
        ("resnet50", "litert"),
        ("xception", "onnx"),
        ("xception", "litert"),
    ],
    indirect=["saved"],
)
def test_keras_applications_can_be_exported(
    saved: Path, format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_images, "NUM_DRAWN", 6)  # each size once
    made = export(saved, format, output=tmp_path / "out")
    assert made.parity.largest_difference_resized <= 1e-4
