"""Image classifiers you can trust, from a handful of labelled photos, in seconds, on a CPU."""

from handful.classifiers.classifier import Classifier, Prediction
from handful.classifiers.evaluation import Evaluation
from handful.config import CompareConfig, TrainConfig
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
from handful.jobs.check_runs import PhotoCheck, check
from handful.jobs.compare_runs import compare
from handful.jobs.job_steps import split_index
from handful.jobs.runs import Run, evaluate, train
from handful.photos.augment import AugmentationPolicy
from handful.photos.index import ImageIndex, load_index
from handful.photos.splits import Split
from handful.training.minibatches import batches
from handful.trust.comparison import Comparison

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
