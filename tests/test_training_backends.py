"""The exercise's network, trained and deployed on each backend of Keras that is installed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from handful.extras import is_installed
from handful.features.keras_runtime import BACKENDS

pytestmark = pytest.mark.slow

CODE = """
import json, sys
import numpy as np
from handful import Classifier, TrainConfig, train
config = TrainConfig(strategy="scratch", recipe="keras-tutorial", epochs=1, image_size=48)
run = train(sys.argv[1], config, output=sys.argv[2], use_cache=False)
import keras
def build(shape, num_classes):
    ends = keras.layers.Flatten(), keras.layers.Dense(1, "sigmoid")
    return keras.Sequential([keras.Input(shape), *ends])
rates = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / (1 + epoch))
stopping = keras.callbacks.EarlyStopping(patience=1, min_delta=9.0, restore_best_weights=True)
own = train(sys.argv[1], config, output=False, use_cache=False, epochs=4, metrics=["auc"],
    loss=lambda labels, given: keras.ops.square(labels - given), callbacks=[rates, stopping],
    network=build)
held_out = run.split.part("validation")
found = Classifier.load(sys.argv[2]).predict_index(held_out).probabilities
print(json.dumps({
    "backend": keras.backend.backend(),
    "loaded": sorted({"tensorflow", "jax", "torch"} & set(sys.modules)),
    "stopped": [own.stopped, own.trained.fitted.epochs, own.trained.fitted.best_epoch],
    "rates": own.trained.fitted.history["learning_rate"],
    "columns": [name for name in own.trained.fitted.history if "auc" in name],
    "loss": run.trained.fitted.history["loss"],
    "same": np.allclose(found, run.classifier.predict_index(held_out).probabilities, atol=1e-5),
}))
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_network_is_trained_and_deployed(
    backend: str, photo_folder: Path, tmp_path: Path
) -> None:
    if not is_installed(backend):
        pytest.skip(f"{backend} is not installed")
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", CODE]
    done = subprocess.run(
        [*command, str(photo_folder), str(tmp_path / "run")],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["backend"] == backend and backend in found["loaded"]
    assert len(found["loss"]) == 1 and 0 < found["loss"][0] < 10
    assert found["same"]
    # Callbacks, a loss and a metric of the user's.
    assert found["stopped"] == ["callback", 2, 1] and found["columns"] == ["auc", "val_auc"]
    assert found["rates"] == pytest.approx([5e-4, 2.5e-4], rel=1e-5)
