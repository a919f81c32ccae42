"""Image classifiers you can trust, from a handful of labelled photos, in seconds, on a CPU."""

from handful.augment import AugmentationPolicy
from handful.check_runs import PhotoCheck, check
from handful.classifier import Classifier, Prediction
from handful.compare_runs import compare
from handful.comparison import Comparison
from handful.config import CompareConfig, TrainConfig
from handful.errors import (
    DataError,
    HandfulError,
    MissingExtraError,
    ModelFileError,
    OutputError,
    TrainingError,
    WeightsError,
)
from handful.evaluation import Evaluation
from handful.index import ImageIndex, load_index
from handful.minibatches import batches
from handful.runs import Run, evaluate, train
from handful.splits import Split, split_index

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
    "WeightsError",
    "batches",
    "check",
    "compare",
    "evaluate",
    "load_index",
    "split_index",
    "train",
]
