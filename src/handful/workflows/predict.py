"""What a classifier says of photos, and where it looked; runs are named as in every command."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Literal, overload

from handful.data.index import load_unlabeled
from handful.data.inputs import Picture, Pictures, is_path, listed, path_of
from handful.engines.choice import open_engine
from handful.engines.engine import Engine
from handful.errors import UsageError
from handful.models import activation_maps
from handful.models.activation_maps import Explanation, overlay_places, save_overlay
from handful.models.calibration import USUAL_ERROR_RATE
from handful.models.classifier import Classifier, Predictions
from handful.run_store.store import AnyRun, RunStore
from handful.workflows.answers import PhotoAnswers, write_answers
from handful.workflows.sorting import check_sorting_folder, sort_photos


@overload
def predict(
    run: Classifier | AnyRun,
    images: Pictures,
    *,
    abstain: bool = ...,
    error_rate: float | None = ...,
    coverage: float | None = ...,
    device: str = ...,
    sort_into: str | Path | None = ...,
    output: None = ...,
    engine: Engine | str = ...,
) -> Predictions: ...
@overload
def predict(
    run: Classifier | AnyRun,
    images: Pictures,
    *,
    abstain: bool = ...,
    error_rate: float | None = ...,
    coverage: float | None = ...,
    device: str = ...,
    output: str | Path,
    engine: Engine | str = ...,
) -> PhotoAnswers: ...
def predict(
    run: Classifier | AnyRun,
    images: Pictures,
    *,
    abstain: bool = False,
    error_rate: float | None = None,
    coverage: float | None = None,
    device: str = "auto",
    sort_into: str | Path | None = None,
    output: str | Path | None = None,
    engine: Engine | str = "local",
) -> Predictions | PhotoAnswers:
    """Classify one photo or several; for many calls, keep a `Classifier`.

    Args:
        run: Folder of a run or of a classifier; the name of a run in `runs/`, its beginning, or
            "latest"; or what `train` gave, or a classifier.
        images: As for `Classifier.predict`.
        abstain: Say of each photo whether its answer is confident, at an error rate of 0.01 where
            none is given.
        error_rate: As for `Classifier.predict`; implies `abstain`.
        coverage: As for `Classifier.predict`.
        device: As for `Classifier.load`.
        sort_into: Folder to copy the photos into, sorted into a folder for each class; with
            `abstain` those that are not sure are in "not sure" and "unusual". Nothing is moved or
            overwritten. The photos must be given by path.
        output: Folder to write the answers to, as Parquet, for any number of photos given by
            path; see `write_answers`. Photos that cannot be read are rows with a reason there.
        engine: Who computes: "local" is this process, "ray" the cluster that `RAY_ADDRESS` names,
            or processes of this machine. For those given by path.

    Returns:
        One prediction a photo, in order; with `output` what was written.

    Raises:
        DataError: When a photo cannot be read, or several runs begin so.
        MissingExtraError: When an engine, or what writes Parquet, is not installed.
        ModelFileError: When the classifier cannot be read.
        OutputError: When `sort_into` or `output` holds other files, or cannot be written.
        UsageError: When something is no run or no photo; when `sort_into` is inside a folder of
            the photos, or a photo has no path.

    Example:
        ```python
        print(handful.predict("latest", "new.jpg")[0].label)
        ```
    """
    if abstain and error_rate is None:
        error_rate = USUAL_ERROR_RATE
    folder = None if sort_into is None else path_of(sort_into, "sort_into", "a folder")
    if folder is not None and output is not None:
        raise UsageError("`sort_into` is given beside `output`; leave one of the two out.")
    sources = [] if folder is None and output is None else _paths(images)
    if folder is not None:
        check_sorting_folder(folder, sources)
    classifier = RunStore().classifier(run, device)
    if output is not None:
        return write_answers(
            classifier,
            sources,
            path_of(output, "output", "a path"),
            error_rate=error_rate,
            coverage=coverage,
            engine=engine,
        )
    with open_engine(engine) as opened:
        found = classifier.predict(images, error_rate=error_rate, coverage=coverage, engine=opened)
    if folder is not None:
        sort_photos(load_unlabeled(sources), found, folder)
    return found


def _paths(images: Pictures) -> list[Path]:
    """Where photos lie, all of which must be files."""
    given = listed(images)
    if not all(map(is_path, given)):
        raise UsageError(
            "`sort_into` and `output` take files, and a photo was given without one; give paths."
        )
    return [Path(os.fspath(image)) for image in given]


def explain(
    run: Classifier | AnyRun,
    image: Picture,
    class_name: str | None = None,
    rival_name: str | None = None,
    *,
    output: str | Path | Literal[False] | None = False,
    device: str = "auto",
) -> Explanation:
    """Show where a classifier looked in one photo.

    Args:
        run: As for `predict`.
        image: As for `Classifier.predict`.
        class_name: Class to explain; None takes the most probable one.
        rival_name: Class to hold it against; None takes the most probable one of the others.
        output: PNG file to make, or a folder for NAME-explained.png; None takes this folder.
            Without one, nothing is written.
        device: As for `Classifier.load`; maps are made on the processor.

    Returns:
        The map, the photo, and the class's probability; a notebook shows them.

    Raises:
        DataError: When the photo cannot be read, or several runs begin so.
        ModelFileError: When the classifier cannot be read, or its network has no such map.
        OutputError: When the output exists or cannot be written.
        UsageError: When something is no run, no photo or no class.
    """
    found = activation_maps.explain(
        RunStore().classifier(run, device), image, class_name, rival_name
    )
    if output is False:
        return found
    place = None if output is None else path_of(output, "output", "a path")
    (picture,) = overlay_places([found.path or "photo"], place)
    save_overlay(found, picture)
    return replace(found, picture=picture)
