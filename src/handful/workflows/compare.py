"""The job behind `handful compare`: every strategy on one frozen split, one after another."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from handful.config import CompareConfig, TrainConfig
from handful.display import job_reporter
from handful.errors import DataError, ModelFileError, OutputError, UsageError
from handful.evaluation.comparison import Comparison, StrategyRun, build_comparison
from handful.features.conversion import count_weights
from handful.features.keras_runtime import require_keras
from handful.files.atomic import MALFORMED, explain_damage, new_folder, write_json
from handful.models.classifier import read_description
from handful.options import changed, command_line
from handful.reporting import Reporter
from handful.reports.comparison_page import write_comparison_report
from handful.run_store.files import MANIFEST_FILE
from handful.run_store.store import RunStore, checkpoint_path, run_name
from handful.run_store.stored_run import StoredRun
from handful.training.custom_objects import Network
from handful.training.jobs import chosen_recipe
from handful.training.strategies import count_body
from handful.workflows.train import freeze_split, train

COMPARISON_JSON = "comparison.json"


def compare(
    photos: str | Path,
    config: CompareConfig | None = None,
    *,
    output: str | Path | None = None,
    network: Network | str | None = None,
    resume: bool = False,
    reporter: Reporter | None = None,
    **options: Any,
) -> Comparison:
    """Train several strategies on one split, and say which is better by how much.

    Nothing is taken from the embedding cache, so that times are those of a first training.

    Args:
        photos: As for `train`.
        config: What to train; None takes the defaults.
        output: Folder to make: a run for each training, the frozen split, comparison.json and
            comparison.html. None takes runs/NAME-compare.
        network: As for `train`, for the strategies "scratch" and "augmented".
        resume: Go on in a folder that an earlier call began: whole runs are kept, a broken one
            goes on from its last epoch.
        reporter: Told what is trained, how long it will take, and how far it is; before the names
            of phases stand strategy and seed; None shows it, see `train`.
        **options: Options of `CompareConfig` by name, instead of a `config` or changing it.

    Returns:
        The comparison.

    Raises:
        DataError: When the photos cannot be used, or the folder is another comparison's.
        MissingExtraError: When Keras, or what it computes with, is not installed.
        OutputError: When the output exists or cannot be written.
        KeyboardInterrupt: When interrupted or canceled; what was trained stays, for `resume`.
    """
    if isinstance(network, str):
        options, network = {**options, "network": network}, None
    config = changed(config or CompareConfig(), options, job=compare)
    folder = RunStore().output(output, photos, "-compare", once=True)
    if folder is None:
        raise UsageError("`output` is False; expected a folder for the runs that are compared.")
    for strategy in config.chosen:
        chosen_recipe(config.train_config(strategy, config.seed))  # refuses before all work
    require_keras("Comparing strategies")
    reporter = job_reporter(reporter)
    if folder.exists() and not resume:
        raise OutputError(
            f"{folder} exists already; choose another `output`, remove it first, or "
            "go on in it with `resume`."
        )
    _freeze_split(photos, config, folder)
    found = []
    for seed in range(config.seed, config.seed + config.seeds):
        for strategy in config.chosen:
            asked, path = config.train_config(strategy, seed), folder / f"{strategy}-{seed}"
            if not _is_whole(path, asked, Path(photos)):
                _train(photos, asked, path, network, resume, reporter)
            found.append(read_strategy_run(path))
            # One that ran out of time, or whose process was killed at its very end, has one left.
            shutil.rmtree(checkpoint_path(path), ignore_errors=True)
    num_train, warnings = _split_metadata(folder / f"{config.chosen[0]}-{config.seed}")
    comparison = build_comparison(
        found,
        photos=run_name(photos),
        recipe=config.recipe,
        num_train=num_train,
        quick=config.quick,
        difference=config.difference,
    )
    comparison = replace(comparison, warnings=warnings, path=folder)
    _write(comparison, config, photos, folder)
    return comparison


def _freeze_split(photos: str | Path, config: CompareConfig, folder: Path) -> None:
    """Make the folder with the split of all trainings, where it is not there from before."""
    first = config.train_config(config.chosen[0], config.seed)
    if not folder.exists():
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder} cannot be made: {error.strerror or error}.") from error
        # The folder appears with the split: nothing unfinished is in the way of the next try.
        with new_folder(folder) as draft:
            freeze_split(photos, first, draft / MANIFEST_FILE)
    elif not (folder / MANIFEST_FILE).is_file():
        freeze_split(photos, first, folder / MANIFEST_FILE)


def _train(
    photos: str | Path,
    asked: TrainConfig,
    path: Path,
    network: Network | None,
    resume: bool,
    reporter: Reporter,
) -> None:
    """Train a strategy on the frozen split beside its run's folder."""
    reporter.log(f"Training {path.name}")
    run = train(
        photos,
        asked,
        output=path,
        split=path.with_name(MANIFEST_FILE),
        network=network if asked.strategy in ("scratch", "augmented") else None,
        resume=resume,
        use_cache=False,
        measure_speed=True,
        reporter=Reporter(reporter, prefix=f"{path.name} "),
    )
    if run.stopped == "interrupted":
        raise KeyboardInterrupt
    _forget_networks()


def read_strategy_run(path: Path) -> StrategyRun:
    """Read a finished run back.

    Args:
        path: The run's folder.

    Returns:
        Its scores, history and facts.

    Raises:
        DataError: When files are missing or not a run's.
    """
    with _whole_run(path):
        return _read_strategy_run(RunStore().read(path))


def _read_strategy_run(run: StoredRun) -> StrategyRun:
    result, evaluation = run.result, run.predictions
    training = result["training"]
    if training is None:
        training = _head_metadata(run, len(evaluation.class_names))
    seconds = result["seconds"]
    return StrategyRun(
        strategy=run.config.strategy,
        seed=run.config.seed,
        evaluation=evaluation,
        history=run.history,
        # A resumed training's earlier part counts; the one-time conversion and the report do not.
        seconds=seconds["total"]
        - seconds.get("convert", 0.0)
        - seconds.get("report", 0.0)
        + max(training.get("seconds", 0.0) - seconds.get("train", 0.0), 0.0),
        num_parameters=training["num_parameters"],
        num_trainable=training["num_trainable"],
        num_bytes=sum(file.stat().st_size for file in run.classifier_path.iterdir()),
        photos_per_second=result["photos_per_second"] or 0.0,
        epochs=training["epochs"],
        path=run.path,
        note=training.get("note", ""),
    )


def _head_metadata(run: StoredRun, num_classes: int) -> dict[str, Any]:
    """What `training` tells of a network, of a head that was fitted without epochs."""
    network = read_description(run.classifier_path)["backbone"]
    embedding_dim, image_size = int(network["embedding_dim"]), int(network["image_size"])
    head = (embedding_dim + 1) * num_classes
    name, graph = run.result["backbone"], run.classifier_path / "network.xml"
    # A network of the user's own has no other description than what was made of it.
    is_own = "preprocessing" in run.result.get("provenance", {})
    num_body = count_weights(graph) if is_own else count_body(name, image_size)
    num_parameters = num_body + head
    return {"num_parameters": num_parameters, "num_trainable": head, "epochs": 0}


@contextmanager
def _whole_run(path: Path) -> Iterator[None]:
    """Name the run that something is wrong with."""
    try:
        yield
    except (DataError, ModelFileError) as error:
        what = str(error).rstrip(".")
    except MALFORMED as error:
        what = explain_damage(error)
    else:
        return
    raise DataError(f"{path} is not a whole run ({what}); remove it and compare again.")


def _is_whole(path: Path, asked: TrainConfig, photos: Path) -> bool:
    """Whether a run is there and finished; DataError when it is another one."""
    if not path.is_dir():
        return False
    with _whole_run(path):
        run = RunStore().read(path)
        config, source, stopped = run.config, run.photos, run.stopped
    if source != photos.resolve():
        raise DataError(
            f"{path} was trained on other photos, {source}; give the same ones to resume, "
            "or choose another `output`."
        )
    if config != asked:
        raise DataError(
            f"{path} was trained with other options; give the same ones to resume, or choose "
            "another `output`."
        )
    return stopped != "interrupted"


def _split_metadata(path: Path) -> tuple[int, tuple[str, ...]]:
    """Training photos of a run, and what is odd about its photos and their split."""
    with _whole_run(path):
        result = RunStore().read(path).result
        return int(result["num_train"]), tuple(map(str, result["problems"]["warnings"]))


def _forget_networks() -> None:
    """Give back the memory of networks that are finished with."""
    if "keras" in sys.modules:
        sys.modules["keras"].backend.clear_session()


def _write(comparison: Comparison, config: CompareConfig, photos: str | Path, folder: Path) -> None:
    notes = (*NOTES, *comparison.warnings)
    facts = {"format": "handful comparison", "format_version": 1, "config": asdict(config)}
    try:
        write_json(folder / COMPARISON_JSON, {**facts, "result": comparison.to_dict()})
        write_comparison_report(comparison, folder, repeating_command(config, photos), notes)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}.") from error


NOTES = (
    "All strategies learned from the same training photos and are scored on the same validation "
    "photos, which none of them learned from. Times are of a first training, nothing cached, with "
    "the one-time conversion of a pretrained network left out.",
)


def repeating_command(config: CompareConfig, photos: str | Path) -> str:
    """The command that repeats a comparison.

    Args:
        config: What was asked.
        photos: The photos.

    Returns:
        One line for a shell.
    """
    options: dict[str, Any] = {}
    for kind in (config, config.policy):
        for found in () if kind is None else fields(kind):
            value = getattr(kind, found.name)
            if found.name != "policy" and value != found.default:
                is_range = kind is config.policy and isinstance(value, tuple)
                options[found.name] = ",".join(map(str, value)) if is_range else value
    return command_line("compare", str(photos), **{"recipe": config.recipe, **options})
