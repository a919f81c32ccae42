"""Image classifiers you can trust, from a handful of labelled photos, in seconds, on a CPU."""

from handful.config import CompareConfig, TrainConfig
from handful.data.augmentation import AugmentationPolicy
from handful.data.index import ImageIndex, load_index
from handful.data.splits import Split
from handful.errors import (
    DataError,
    HandfulError,
    MissingExtraError,
    ModelFileError,
    OutputError,
    TrainingError,
    UsageError,
    WeightsError,
)
from handful.evaluation.comparison import Comparison
from handful.evaluation.evaluation import Evaluation
from handful.models.classifier import Classifier, Prediction
from handful.training.batches import batches
from handful.training.steps import split_index
from handful.workflows.check import PhotoCheck, check
from handful.workflows.compare import compare
from handful.workflows.train import Run, evaluate, train

__version__ = "0.1.0"

__all__ = [
    "AugmentationPolicy",
    "Classifier",
    "CompareConfig",
    "Comparison",
    "DataError",
    "Evaluation",
    "HandfulError",
    "ImageIndex",
    "MissingExtraError",
    "ModelFileError",
    "OutputError",
    "PhotoCheck",
    "Prediction",
    "Run",
    "Split",
    "TrainConfig",
    "TrainingError",
    "UsageError",
    "WeightsError",
    "batches",
    "check",
    "compare",
    "evaluate",
    "load_index",
    "split_index",
    "train",
]
