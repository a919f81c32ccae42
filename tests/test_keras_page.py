"""The page for users of Keras: its code runs, its tables are whole."""

import inspect
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from conftest import REPOSITORY
from handful.extras import is_installed
from handful.training.batches import batches
from handful.training.networks import NETWORKS

PAGE = (REPOSITORY / "docs" / "keras.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.slow


def logger(told: dict[str, list[Any]], name: str) -> Any:
    """A stand-in for a callback that logs epochs, of a package that is not installed."""
    import keras

    class Logger(keras.callbacks.Callback):  # type: ignore[misc]
        def __init__(self, *_: Any) -> None:
            super().__init__()
            told[name] = []

        def on_train_begin(self, logs: Any = None) -> None:
            told[name].append(("begin", self.model.optimizer.name))

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            told[name].append((epoch, sorted(logs)))

        def on_train_end(self, logs: Any = None) -> None:
            told[name].append(("end", sorted(logs)))

    return Logger


@contextmanager
def opened(*_: Any, **__: Any) -> Iterator[None]:
    yield


def stand_in(patch: pytest.MonkeyPatch, told: dict[str, list[Any]]) -> None:
    """Put modules with the names and calls of MLflow, W&B and TensorBoard where they are not."""
    mlflow, wandb = ModuleType("mlflow"), ModuleType("wandb")
    mlflow.keras = ModuleType("mlflow.keras")  # type: ignore[attr-defined]
    mlflow.keras.MlflowCallback = logger(told, "mlflow")
    mlflow.start_run = wandb.init = opened  # type: ignore[attr-defined]
    wandb.integration = ModuleType("wandb.integration")  # type: ignore[attr-defined]
    wandb.integration.keras = ModuleType("wandb.integration.keras")
    wandb.integration.keras.WandbMetricsLogger = logger(told, "wandb")
    for module in (mlflow, mlflow.keras, wandb, wandb.integration, wandb.integration.keras):
        patch.setitem(sys.modules, module.__name__, module)
    if not is_installed("tensorboard"):
        import keras

        patch.setattr(keras.callbacks, "TensorBoard", logger(told, "tensorboard"))


def plain(shape: tuple[int, int, int], num_classes: int) -> Any:
    """In the place of handful's own network, which takes longer to trace than to train."""
    import keras

    images = keras.Input((None, None, shape[2]))
    x = keras.layers.Conv2D(8, 3, strides=4, activation="relu")(images)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(x))
    assert num_classes == 2
    return keras.Model(images, keras.layers.Dense(1, activation="sigmoid")(x))


def test_every_block_runs(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(photo_folder, tmp_path / "photos")
    shutil.copy(photo_folder / "round" / "000.jpg", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    told: dict[str, list[Any]] = {}
    stand_in(monkeypatch, told)
    monkeypatch.setitem(NETWORKS, "small", plain)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) > 10
    names: dict[str, Any] = {}
    for block in blocks:
        # Two epochs tell whether it works.
        exec(compile(re.sub(r"epochs=\d+", "epochs=2", block), "docs/keras.md", "exec"), names)
    scores = ["accuracy", "loss", "val_accuracy", "val_loss"]
    for name in {"mlflow", "wandb", *told}:
        begin, *epochs, end = told[name]
        assert begin[0] == "begin" and epochs == [(0, scores), (1, scores)], name
        assert end == ("end", scores)
    assert (tmp_path / "filters.png").is_file() and (tmp_path / "best.keras").is_file()
    if is_installed("tensorboard"):
        assert list((tmp_path / "logs").rglob("*tfevents*"))


def test_its_tables_have_every_parameter_of_keras() -> None:
    import keras
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    tables = re.findall(r"^\| `(\w+)` \| here \|\n(.*?)\n\n", PAGE, re.DOTALL | re.MULTILINE)
    functions = {
        "ImageDataGenerator": ImageDataGenerator.__init__,
        "flow_from_directory": ImageDataGenerator.flow_from_directory,
        "image_dataset_from_directory": keras.utils.image_dataset_from_directory,
    }
    assert {name for name, _ in tables} == set(functions)
    for name, table in tables:
        left = " ".join(row.split("|")[1] for row in table.splitlines())
        wanted = set(inspect.signature(functions[name]).parameters) - {"self"}
        missing = wanted - set(re.findall(r"`(\w+)[`=]", left))
        assert missing == set(), name


def test_whoever_searches_finds_it() -> None:
    assert "ImageDataGenerator" in str(inspect.getdoc(batches))
    for page in ("index.md", "questions.md", "coming-from.md"):
        assert "keras.md" in (REPOSITORY / "docs" / page).read_text(encoding="utf-8"), page
