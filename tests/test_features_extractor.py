"""A network that handful knows nothing of, brought by a package, goes all the way."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from handful.config import TrainConfig
from handful.errors import ModelFileError, UsageError
from handful.features.registry import backbone_names, build_network, find_backbone, load_extractor
from handful.models.activation_maps import Explainer
from handful.models.classifier import Classifier
from handful.workflows.train import train

MODULE = """
import numpy as np
from handful.features.extractor import Backbone, BackboneMetadata


class Colours:
    digest, precision, image_size, embedding_dim = "colours", "f64", 16, 12
    key = "colours:f64:numpy"

    def embed(self, images):
        parts = images.reshape(len(images), 2, 8, 2, 8, 3).mean(axis=(2, 4))
        return (parts.reshape(len(images), 12) / 255).astype(np.float32)


backbone = Backbone(
    BackboneMetadata("colours", 16, 12, "MIT", "a test's"), lambda metadata, precision: Colours()
)
broken = "no backbone"
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of an installed package with a backbone; nothing of handful is changed."""
    folder = tmp_path / "site-packages"
    (folder / "colours-2.0.dist-info").mkdir(parents=True)
    (folder / "colours.py").write_text(MODULE)
    (folder / "colours-2.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: colours\nVersion: 2.0\n"
    )
    (folder / "colours-2.0.dist-info" / "entry_points.txt").write_text(
        "[handful.backbones]\ncolours = colours:backbone\nbroken = colours:broken\n"
    )
    monkeypatch.syspath_prepend(folder)
    yield folder
    sys.modules.pop("colours", None)


def test_an_installed_package_brings_a_backbone(packages: Path) -> None:
    assert "colours" in backbone_names() and backbone_names()[0] == "efficientnet-lite0"
    backbone = find_backbone("Colours")
    assert backbone.metadata.provenance == {
        "backbone": "colours",
        "license": "MIT",
        "source": "a test's",
    }
    assert load_extractor(backbone).embedding_dim == 12
    with pytest.raises(UsageError, match="can embed images and cannot be trained on"):
        build_network(backbone)
    with pytest.raises(UsageError, match=r"'int8' and the backbone colours; expected one of effic"):
        load_extractor(backbone, "int8")
    with pytest.raises(UsageError, match="'broken' of colours:broken is a str; expected a"):
        find_backbone("broken")


def test_it_trains_is_saved_and_predicts(
    packages: Path, photo_folder: Path, tmp_path: Path
) -> None:
    run = train(photo_folder, TrainConfig(backbone="colours", views=2), output=tmp_path / "run")
    assert run.evaluation.accuracy > 0.8
    names = {path.name for path in (tmp_path / "run" / "classifier").iterdir()}
    assert names == {"classifier.json", "head.safetensors", "confidence.safetensors"}
    classifier = Classifier.load(tmp_path / "run")
    photos = sorted((photo_folder / "round").iterdir())[:3]
    expected = run.classifier.predict_proba(photos)
    assert np.array_equal(classifier.predict_proba(photos), expected)
    with pytest.raises(ModelFileError, match="colours comes from an installed package"):
        _ = classifier.network
    with pytest.raises(ModelFileError, match="does not end in the average"):
        Explainer(classifier)


@pytest.mark.slow
def test_the_command_line_finds_it(packages: Path, photo_folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "handful", "train", str(photo_folder), "--backbone", "colours"]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": str(packages)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "run" / "classifier" / "classifier.json").read_text())
    assert facts["provenance"]["backbone"] == "colours"


def test_what_is_no_longer_installed_is_named(
    packages: Path, photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(photo_folder, TrainConfig(backbone="colours"), output=tmp_path / "run")
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(packages)])
    with pytest.raises(ModelFileError, match="needs the backbone colours, which no installed"):
        Classifier.load(tmp_path / "run")
