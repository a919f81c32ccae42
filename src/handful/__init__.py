"""Image classifiers you can trust, from a handful of labeled photos, in seconds, on a CPU."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from handful.augmentation_policy import AugmentationPolicy
    from handful.config import CompareConfig, TrainConfig
    from handful.data.index import ImageIndex, load_index
    from handful.data.splits import Split
    from handful.datasets.archives import ImageFolder, load_data
    from handful.errors import (
        DataError,
        DeviceError,
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
    from handful.exporting.export_jobs import Export, export, keras_model
    from handful.features.catalog import BackboneInfo, backbones
    from handful.models.activation_maps import Explanation
    from handful.models.classifier import Classifier, Prediction
    from handful.notebook.progress import NotebookReporter
    from handful.projects.project import Project
    from handful.reporting import Epoch, PrintReporter, Reporter
    from handful.run_store.run import Run
    from handful.run_store.store import RunStore, runs
    from handful.serving.server import serve
    from handful.training.batches import batches
    from handful.training.previews import Preview
    from handful.training.steps import split_index
    from handful.training.summaries import NetworkSummary, summary
    from handful.workflows.answers import PhotoAnswers
    from handful.workflows.check import PhotoCheck, check
    from handful.workflows.compare import compare
    from handful.workflows.curve import CurveRun, curve
    from handful.workflows.embed import PhotoEmbeddings, embed
    from handful.workflows.figures import Figures, figures
    from handful.workflows.labels import labels
    from handful.workflows.predict import explain, predict
    from handful.workflows.preview import preview
    from handful.workflows.train import evaluate, train

__version__ = "0.1.0"

__all__ = [
    "AugmentationPolicy",
    "BackboneInfo",
    "Classifier",
    "CompareConfig",
    "Comparison",
    "CurveRun",
    "DataError",
    "DeviceError",
    "Epoch",
    "Evaluation",
    "Explanation",
    "Export",
    "Figures",
    "HandfulError",
    "ImageFolder",
    "ImageIndex",
    "MissingExtraError",
    "ModelFileError",
    "NetworkSummary",
    "NotebookReporter",
    "OutputError",
    "PhotoAnswers",
    "PhotoCheck",
    "PhotoEmbeddings",
    "Prediction",
    "Preview",
    "PrintReporter",
    "Project",
    "Reporter",
    "Run",
    "RunStore",
    "Split",
    "TrainConfig",
    "TrainingError",
    "UsageError",
    "WeightsError",
    "backbones",
    "batches",
    "check",
    "compare",
    "curve",
    "embed",
    "evaluate",
    "explain",
    "export",
    "figures",
    "keras_model",
    "labels",
    "load_data",
    "load_index",
    "predict",
    "preview",
    "runs",
    "serve",
    "split_index",
    "summary",
    "train",
]

# Where each public name stands: it is imported when it is first asked for, so that `import handful`
# takes no time and Ctrl-C finds somebody who heeds it.
_HOMES = {
    "AugmentationPolicy": "augmentation_policy",
    "BackboneInfo": "features.catalog",
    "Classifier": "models.classifier",
    "CompareConfig": "config",
    "Comparison": "evaluation.comparison",
    "CurveRun": "workflows.curve",
    "DataError": "errors",
    "DeviceError": "errors",
    "Epoch": "reporting",
    "Evaluation": "evaluation.evaluation",
    "Explanation": "models.activation_maps",
    "Export": "exporting.export_jobs",
    "Figures": "workflows.figures",
    "HandfulError": "errors",
    "ImageFolder": "datasets.archives",
    "ImageIndex": "data.index",
    "MissingExtraError": "errors",
    "ModelFileError": "errors",
    "NetworkSummary": "training.summaries",
    "NotebookReporter": "notebook.progress",
    "OutputError": "errors",
    "PhotoAnswers": "workflows.answers",
    "PhotoCheck": "workflows.check",
    "PhotoEmbeddings": "workflows.embed",
    "Prediction": "models.classifier",
    "Preview": "training.previews",
    "PrintReporter": "reporting",
    "Project": "projects.project",
    "Reporter": "reporting",
    "Run": "run_store.run",
    "RunStore": "run_store.store",
    "Split": "data.splits",
    "TrainConfig": "config",
    "TrainingError": "errors",
    "UsageError": "errors",
    "WeightsError": "errors",
    "backbones": "features.catalog",
    "batches": "training.batches",
    "check": "workflows.check",
    "compare": "workflows.compare",
    "curve": "workflows.curve",
    "embed": "workflows.embed",
    "evaluate": "workflows.train",
    "explain": "workflows.predict",
    "export": "exporting.export_jobs",
    "figures": "workflows.figures",
    "labels": "workflows.labels",
    "load_data": "datasets.archives",
    "keras_model": "exporting.export_jobs",
    "load_index": "data.index",
    "predict": "workflows.predict",
    "preview": "workflows.preview",
    "runs": "run_store.store",
    "serve": "serving.server",
    "split_index": "training.steps",
    "summary": "training.summaries",
    "train": "workflows.train",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
