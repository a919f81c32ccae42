"""What the report of a run shows: thumbnails, counts and sentences, gathered for the page."""

import itertools
import json
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from handful.cores import available_cores
from handful.data.decoding import thumbnail
from handful.data.splits import Split
from handful.errors import ModelFileError
from handful.evaluation.learning_curve import REACH
from handful.features.devices import device_of
from handful.features.store import EmbeddingStore, SqliteStore
from handful.models.activation_maps import Explainer, overlay_thumbnail
from handful.models.kept_maps import KeptMaps
from handful.models.novelty import FALSE_ALARM_RATE
from handful.reports.charts import learning_curve_chart
from handful.reports.run_page import ReportData, ReportImage, TrustData, write_report
from handful.reports.training_charts import history_charts
from handful.run_store.run import Run
from handful.training.jobs import TrainedNetwork
from handful.training.recipes import Recipe

_PICTURES_A_SECTION = 24
_EXAMPLES_A_CLASS = 6
_CLASSES_WITH_EXAMPLES = 40
_OVERLAY_SIZE = 160


def write_run_report(run: Run, folder: Path, store: EmbeddingStore | None = None) -> None:
    """Write a run's report.html.

    Args:
        run: The run.
        folder: Existing folder.
        store: As for `report_data`.
    """
    write_report(report_data(run, store), folder)


def report_data(run: Run, store: EmbeddingStore | None = None) -> ReportData:
    """Gather what the report page shows.

    Args:
        run: The run.
        store: Where the network's maps of mistakes are looked up and kept; None computes them.

    Returns:
        Scores, thumbnails and texts.
    """
    evaluation, strategy = run.evaluation, run.config.strategy
    history = None if run.trained is None else run.trained.fitted.history
    with ThreadPoolExecutor(available_cores(), "report") as pool:
        # The first explanation waits for its network; meanwhile others make thumbnails.
        wrong = evaluation.mistakes(_PICTURES_A_SECTION).tolist()
        maps = _maps(run, wrong, store)
        explained = partial(_judged, run, maps=maps)
        mistakes = [pool.submit(explained, number) for number in wrong[:1]]
        least_certain = pool.map(
            partial(_judged, run), evaluation.least_certain(_PICTURES_A_SECTION)
        )
        examples = _examples(run, pool)
        trust = _trust(run, pool)
        mistakes += [pool.submit(explained, number) for number in wrong[1:]]
        data = ReportData(
            title=run.photos.resolve().stem,
            evaluation=evaluation,
            evaluated_on="validation photos, which were not used for training",
            counts=_part_counts(run.split),
            examples=examples,
            mistakes=[found.result() for found in mistakes],
            least_certain=list(least_certain),
            problems=_problem_lines(run.problems()),
            settings=_settings(run),
            seconds=run.seconds,
            curves=() if history is None else history_charts({strategy: history}),
            trust=trust,
            attempts=() if run.ladder is None else run.ladder.attempts,
            advice=run.advice.replace("`", ""),
        )
    if maps is not None:
        maps.keep()
    return data


def _examples(run: Run, pool: Executor) -> dict[str, list[ReportImage]]:
    """A few training photos of each class."""
    index, train = run.split.index, run.split.train

    def example(row: int) -> ReportImage:
        name = index.class_names[index.labels[row]]
        return ReportImage(index.paths[row], _small(run, index.read(row)), name, None, None)

    rows = {
        name: train[index.labels[train] == number][:_EXAMPLES_A_CLASS].tolist()
        for number, name in enumerate(index.class_names[:_CLASSES_WITH_EXAMPLES])
    }
    made = pool.map(example, [row for own in rows.values() for row in own])
    return {name: list(itertools.islice(made, len(own))) for name, own in rows.items()}


def _maps(run: Run, wrong: list[int], store: EmbeddingStore | None) -> KeptMaps | None:
    """What tells where the network looked, if there is a mistake to explain and it can be told."""
    if not wrong:
        return None
    index, rows = run.split.index, run.split.validation[wrong].tolist()
    # A network that was trained here is not met again, and one question to Parquet reads all of it.
    if run.trained is not None or not isinstance(store, SqliteStore):
        store = None
    try:
        return KeptMaps(run.classifier, [index.content_hashes[row] for row in rows], store)
    except ModelFileError:
        return None


def _judged(run: Run, number: int, maps: KeptMaps | None = None) -> ReportImage:
    """A validation photo with the name it was given, and why that rather than its own."""
    index, evaluation = run.split.index, run.evaluation
    predicted = int(evaluation.predicted[number])
    row = int(run.split.validation[number])
    data = index.read(row)
    label, name = index.class_names[evaluation.labels[number]], index.class_names[predicted]
    overlay = b""
    if maps is not None:
        look = maps.of(index.content_hashes[row])
        explainer = Explainer(run.classifier, _OVERLAY_SIZE, look)
        overlay = overlay_thumbnail(explainer.explain(data, name, label))
    chance = float(evaluation.probabilities[number, predicted])
    return ReportImage(evaluation.paths[number], _small(run, data), label, name, chance, overlay)


def _small(run: Run, data: bytes) -> bytes:
    """A photo's thumbnail; what was large enough to train on is not too large to show."""
    return thumbnail(data, max_megapixels=run.config.max_megapixels)


def _trust(run: Run, pool: Executor) -> TrustData:
    """What the page says on how far its figures can be relied on."""
    unlike, review, curve = run.is_out_of_distribution, run.label_review, run.learning_curve
    doubtful = [] if review is None else review.suspected[:_PICTURES_A_SECTION].tolist()
    return TrustData(
        # The verdict says it.
        limitations=[text for text in run.limitations if text != run.evaluation.chance_note],
        guarantees=run.guarantees,
        resampling=run.resampling,
        num_unlike=None if unlike is None else len(unlike),
        false_alarm_rate=FALSE_ALARM_RATE
        if run.classifier.reference is None
        else run.classifier.reference.false_alarm_rate,
        unlike=[]
        if unlike is None
        else list(pool.map(partial(_judged, run), unlike[:_PICTURES_A_SECTION])),
        num_suspects=0 if review is None else len(review.suspected),
        curve=None if curve is None else learning_curve_chart(curve.to_dict()),
        curve_lines=_curve_lines(run),
        suspects=None if review is None else list(pool.map(partial(_doubtful, run), doubtful)),
    )


def _curve_lines(run: Run) -> list[str]:
    """What to expect of the photos there are, and of 2, 4 and 8 times as many."""
    curve = run.learning_curve
    if curve is None:
        return []
    there = curve.photos_a_class
    return [str(curve.describe(there * factor)["sentence"]) for factor in (1, 2, 4, REACH)]


def _doubtful(run: Run, place: int) -> ReportImage:
    """A training photo with the class that it looks more like."""
    index, review = run.split.index, run.label_review
    assert review is not None
    learned = run.split.train if review.rows is None else run.split.train[review.rows]
    row, suggested = int(learned[place]), int(review.suggested[place])
    return ReportImage(
        index.paths[row],
        _small(run, index.read(row)),
        index.class_names[index.labels[row]],
        index.class_names[suggested],
        float(review.probabilities[place, suggested]),
    )


def _part_counts(split: Split) -> dict[str, dict[str, int]]:
    names = split.index.class_names
    return {
        part: {
            name: int((split.index.labels[getattr(split, part)] == number).sum())
            for number, name in enumerate(names)
        }
        for part in ("train", "validation", "test")
        if len(getattr(split, part))
    }


def _problem_lines(problems: Mapping[str, Any]) -> dict[str, list[str]]:
    """Problems as headings with lines, for people; headings without lines are left out."""
    lines = {
        "Files that could not be used": [
            f"{file['path']} {file['reason']}" for file in problems["rejected"]
        ],
        "Leaks: near-duplicates in different parts": [" = ".join(p) for p in problems["leaks"]],
        "Near-duplicates, kept together": [
            " = ".join(p) for p in problems["near_duplicates"] if p not in problems["leaks"]
        ],
        "Training photos left out because they leaked": problems["dropped"],
        "Warnings": problems["warnings"],
    }
    return {heading: found for heading, found in lines.items() if found}


def _strength_origin(run: Run) -> str:
    """Where the head's C comes from."""
    if run.classifier.head.scores:
        return "chosen by cross-validation on the training photos"
    return "the default: a class has too few different training photos for cross-validation"


_STOPPED = {
    "interrupted": "interrupted",
    "time": "out of time",
    "patience": "no better validation loss",
    "callback": "by a callback",
}


def _schedule(recipe: Recipe) -> str:
    """How the learning rate changes."""
    if recipe.rate_callback:
        return f", set by {recipe.rate_callback}"
    return ", warm-up and cosine" if recipe.cosine else ""


def _custom_settings(run: Run, trained: TrainedNetwork) -> dict[str, str]:
    """The user's own loss, metrics and callbacks, where there are any."""
    names, values = run.custom_objects, trained.metrics()
    settings = {
        "Loss": run.config.loss or names.get("loss", ""),
        "Metrics, of validation": ", ".join(
            f"{name.removeprefix('val_')} {value:.3f}"
            for name, value in values.items()
            if name.startswith("val_") and value is not None
        ),
        "Callbacks": ", ".join(names.get("callbacks", ())),
    }
    return {name: words for name, words in settings.items() if words}


def _settings(run: Run) -> dict[str, str]:
    config, extractor, decoding = run.config, run.classifier.extractor, run.classifier.settings
    settings = {"Note": run.note} if run.note else {}
    settings |= {
        "Strategy": f"{config.strategy}, recipe {config.recipe}",
        **({"Quality": config.quality} if config.fits_head else {}),
        "Image size": f"{decoding.image_size} x {decoding.image_size} pixels, {decoding.resize}",
        "Precision": extractor.precision,
        **({"Device": device} if (device := device_of(extractor)) not in ("", "cpu") else {}),
    }
    made = _head_settings(run) if run.trained is None else _network_settings(run, run.trained)
    return (
        settings
        | made
        | {
            "Flip at prediction (TTA)": "yes" if run.classifier.test_time_mirror else "no",
            "Seed": str(config.seed),
            "handful": version("handful"),
        }
    )


def _head_settings(run: Run) -> dict[str, str]:
    """How a head on a frozen network was made."""
    config, extractor, provenance = (
        run.config,
        run.classifier.extractor,
        run.classifier.provenance,
    )
    settings = {
        "Backbone": f"{provenance['backbone']}, frozen, {extractor.embedding_dim} features",
        "Head": f"logistic regression, C = {run.classifier.head.C:.2g}, " + _strength_origin(run),
        "Augmented copies per photo": str(config.views)
        + ("" if config.policy is None else f", drawn from {config.policy.in_words()}"),
    }
    if "preprocessing" in provenance:
        said = json.loads(provenance["preprocessing"])
        settings["Preprocessing"] = ", ".join(f"{name} {value}" for name, value in said.items())
        source = provenance["source"], provenance.get("revision")
        settings["Source"] = " @ ".join(filter(None, source))
    return settings


def _network_settings(run: Run, trained: TrainedNetwork) -> dict[str, str]:
    """How a network was trained."""
    fitted, recipe = trained.fitted, trained.recipe
    settings = {
        "Network": f"{run.classifier.provenance['backbone']}, {trained.num_parameters:,} "
        f"parameters, {trained.num_trainable:,} trained",
        "Epochs": f"{fitted.epochs} of {fitted.planned_epochs}"
        + (f", stopped early: {_STOPPED[fitted.stopped]}" if fitted.stopped else ""),
        "Optimizer": f"{recipe.optimizer}, learning rate {recipe.learning_rate:g}"
        + _schedule(recipe),
        "Batch size": str(recipe.batch_size),
        "Augmentation": "none"
        if recipe.policy is None
        else recipe.policy.in_words() + ("" if run.config.policy is None else " (your own policy)"),
        **_custom_settings(run, trained),
    }
    if recipe.patience is not None or fitted.best_epoch < fitted.epochs:
        chooser = "the loss" if recipe.patience is not None else "a callback"
        settings["Weights"] = (
            f"of epoch {fitted.best_epoch}, chosen by {chooser} on the photos scored here, "
            "which flatters the scores a little"
        )
    return settings
