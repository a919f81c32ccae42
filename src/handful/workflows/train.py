"""The jobs behind the commands: from photos to a run, or to an evaluation."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from handful.config import TrainConfig, refuse_objective
from handful.data.fixes import load_fixed_index
from handful.data.index import ImageIndex
from handful.data.inputs import path_of
from handful.data.near_duplicates import near_duplicate_pairs
from handful.data.splits import Split, duplicate_groups, read_manifest, write_manifest
from handful.display import job_reporter
from handful.engines.choice import open_engine
from handful.engines.engine import Engine
from handful.errors import DataError, UsageError
from handful.evaluation.evaluation import Evaluation, score
from handful.features.keras_runtime import require_keras
from handful.features.store import EmbeddingStore, open_store
from handful.features.table import EmbeddingTable
from handful.files.atomic import new_file
from handful.models.classifier import Classifier
from handful.options import changed
from handful.reporting import Reporter
from handful.reports.run_report import write_run_report
from handful.run_store.run import Run
from handful.run_store.store import AnyRun, Output, RunDraft, RunKeeper, RunStore
from handful.run_store.stored_run import StoredRun
from handful.run_store.training_photos import SeenInTraining, seen_in_training, seen_warnings
from handful.training.compiling import check_names
from handful.training.custom_objects import CustomObjects, Network
from handful.training.jobs import EmbeddedImages, Trained, TrainingJob, chosen_recipe
from handful.training.steps import embed_images, scan_images, split_images
from handful.training.strategies import train_strategy

_PHOTOS_TIMED = 256


def train(
    photos: str | Path | Split | None = None,
    config: TrainConfig | None = None,
    *,
    output: Output = None,
    note: str = "",
    from_run: AnyRun | None = None,
    split: str | Path | None = None,
    network: Network | str | None = None,
    loss: Any = None,
    metrics: Sequence[Any] = (),
    callbacks: Sequence[Any] = (),
    resume: bool = False,
    use_cache: EmbeddingStore | bool = True,
    engine: Engine | str = "local",
    measure_speed: bool = False,
    reporter: Reporter | None = None,
    store: RunKeeper | None = None,
    **options: Any,
) -> Run:
    """Make a classifier from labeled photos.

    Args:
        photos: Class folders, `train/` and `validation/` (and `test/`) of them, a zip of
            either, or a CSV with the columns path,label[,split][,group]; folders may lie in a
            bucket, such as "s3://bucket/photos". Or a split of photos, which is taken as it is.
        config: What to make; None takes the defaults.
        output: Folder to write the run to: report, classifier, run.json. None takes runs/NAME, or
            the next that is free; False writes nothing. While a network trains, its state after
            each epoch is kept in the folder of that name with ".checkpoint" added; it goes when
            training has ended.
        note: What you want to remember about the run; `handful.runs()` and the report show it.
        from_run: A run to repeat, as for `handful.predict`: its photos, its options and, where it
            was given one, its split. Instead of `photos`, `config` and options.
        split: split.csv of an earlier run: its photos stay in their parts.
        network: A network of your own for the strategies "scratch" and "augmented":
            `network(input_shape, num_classes)` returns a Keras model that ends in probabilities.
            The function, or "file.py:build".
        loss: What a network is trained with: "focal" or another name that Keras knows, a
            `keras.losses.Loss`, or a function of (labels, probabilities); None is cross-entropy.
        metrics: What is measured in each epoch besides loss and accuracy: names that Keras knows,
            such as "auc", `keras.metrics.Metric`, or functions of (labels, probabilities).
        callbacks: `keras.callbacks.Callback`, for every strategy that trains a network; see
            docs/keras.md.
        resume: Go on from the checkpoint of `output`, where there is one; without `output`, with
            the latest training on these photos that did not end.
        use_cache: Look embeddings up and keep them, in the user's own store; or a store to use.
        engine: Who reads, decodes and embeds the photos: "local" is this process, "ray" the
            cluster that `RAY_ADDRESS` names, or processes of this machine; or an engine. The run is
            the same.
        measure_speed: Time prediction too, see `Run.photos_per_second`.
        reporter: Told how far it is, and how long training will take, before it begins. Cancelled
            once an epoch is done, it gives the run of an interrupted training. None shows bars in
            a notebook and on a terminal, and prints a line a step in a script, on standard error;
            `Reporter()` is silent.
        store: What keeps the run; None takes `RunStore()`, which writes folders into runs/.
        **options: Options of `TrainConfig` by name, instead of a `config` or changing it.

    Returns:
        The run: `run.classifier`, `run.evaluation`, `run.split`.

    Raises:
        DataError: When no classifier can be made of the photos; says why.
        MissingExtraError: When the strategy needs Keras, or what it computes with, or the engine
            Ray, and it is not installed.
        WeightsError: When the backbone's weights are missing or wrong.
        TrainingError: When training diverges.
        OutputError: When the output exists or cannot be written.

    Example:
        ```python
        run = train("photos/", strategy="augmented", epochs=20, note="with the new lamp")
        print(run.path, run.evaluation.accuracy, run.evaluation.accuracy_interval)
        ```
    """
    if isinstance(network, str):
        options, network = {**options, "network": network}, None
    custom = CustomObjects.given(network, loss, metrics, callbacks)
    options = {**options, **custom.options()}
    repeated = _repeated(from_run, photos, config, options)
    if repeated is not None:
        repeated.check_repeatable(custom.names())
        photos, config, split = repeated.photos, repeated.config, split or repeated.split_to_repeat
    assert photos is not None  # one of both is given
    config = changed(config or TrainConfig(), options, job=train)
    # Wrong options are found before the work.
    _check_arguments(photos, config, split, custom)
    reporter = job_reporter(reporter)
    trains_network = chosen_recipe(config) is not None
    # Making the folder first: an output that cannot be written is found before the work.
    begun: AbstractContextManager[RunDraft | None] = nullcontext()
    path = _output_path(photos, output, resume, store)
    if path is not None:
        begun = (store or RunStore()).new(path, resume=resume and trains_network)
    with begun as draft, open_store(use_cache) as kept:
        checkpoint = draft.checkpoint if draft is not None and trains_network else None
        with open_engine(engine) as opened:
            parts, table, embedded = _split(photos, config, split, kept, reporter, opened)
            job = TrainingJob(
                parts, config, checkpoint, resume, kept, reporter, custom, embedded, opened
            )
            run = _make_run(job, train_strategy(job), table)
        if measure_speed:
            run = replace(run, photos_per_second=_prediction_speed(run))
        if repeated is not None:
            run = _say_what_changed(run, repeated)
        given = split is not None or isinstance(photos, Split)
        run = replace(run, split_given=given, note=note)
        return _write(run, draft, path, kept, reporter)


def _write(
    run: Run,
    draft: RunDraft | None,
    path: Path | None,
    kept: EmbeddingStore | None,
    reporter: Reporter,
) -> Run:
    """Write a run where it is to be written, and note what each step took."""
    run = replace(run, seconds=reporter.timings())
    if draft is not None:
        with reporter.phase("report"):
            draft.write(run, partial(write_run_report, store=kept))
        run = replace(run, path=path, seconds=reporter.timings())
        draft.finish(run)
    return run


def _repeated(
    from_run: AnyRun | None, photos: object, config: TrainConfig | None, options: dict[str, Any]
) -> StoredRun | None:
    """The run to repeat; None where photos are given."""
    if (photos is None) == (from_run is None):
        raise UsageError("expected either `photos` or `from_run`, a run to repeat.")
    if from_run is None:
        return None
    if config is not None or options:
        given = ", ".join(f"`{name}`" for name in options) or "the config"
        raise UsageError(
            f"`from_run` repeats a run as it was; leave out {given}, or give `photos`."
        )
    return RunStore().read(RunStore().find(from_run))


def _output_path(
    photos: str | Path | Split, output: Output, resume: bool, store: RunKeeper | None
) -> Path | None:
    """The run's place; None where it is not written."""
    source = photos.index.source if isinstance(photos, Split) else photos
    runs = store if isinstance(store, RunStore) else RunStore()
    if resume and output is None:
        return runs.unfinished(source)
    return runs.output(output, source)


def _say_what_changed(run: Run, repeated: StoredRun) -> Run:
    """Warn where a run was not repeated on the same photos."""
    index = run.split.index
    if index.digest() == repeated.data_digest:
        return run
    line = (
        f"{run.photos} has changed since {repeated.path} was made, which this repeats; compare "
        "their split.csv."
    )
    return replace(
        run, split=replace(run.split, index=replace(index, warnings=(*index.warnings, line)))
    )


def _check_arguments(
    photos: object, config: TrainConfig, split: object, custom: CustomObjects
) -> None:
    """Refuse arguments that do not go together, and what is not installed or not known."""
    if chosen_recipe(config) is not None:
        require_keras(f"Strategy {config.strategy} of recipe {config.recipe}")
    if isinstance(photos, ImageIndex):
        raise UsageError(
            "`photos` is an index; expected a folder, a zip or a CSV of photos, or a split, as "
            "`split_index` makes one of an index."
        )
    if custom.network is not None and config.strategy not in ("scratch", "augmented"):
        raise UsageError(
            f"network is given and strategy {config.strategy!r}; a network of one's own is "
            'trained by the strategies "scratch" and "augmented".'
        )
    if config.fits_head and (custom.callbacks or custom.loss is not None or custom.metrics):
        given = "callbacks" if custom.callbacks else "loss" if custom.loss else "metrics"
        raise UsageError(
            f"`{given}` needs a network that is trained, and `strategy` {config.strategy!r} fits a "
            "head without Keras and without epochs; choose scratch, augmented, fine-tune or "
            "distilled."
        )
    if config.strategy == "distilled":
        refuse_objective(custom.loss, custom.metrics)
    if isinstance(photos, Split) and split is not None:
        raise UsageError("`split` is given beside a split; expected one of the two.")
    if isinstance(photos, Split) and config.fixes is not None:
        raise UsageError(
            f"fixes is {config.fixes!r} beside a split; expected an index that the fixes were "
            "made on, before it was split."
        )
    named = custom.of_config(config)
    check_names(named.loss, named.metrics)


def _split(
    photos: str | Path | Split,
    config: TrainConfig,
    manifest: str | Path | None,
    store: EmbeddingStore | None,
    reporter: Reporter,
    engine: Engine,
) -> tuple[Split, EmbeddingTable, EmbeddedImages | None]:
    """Split the photos by what they look like; for a head they are embedded in the same pass."""
    given, known = photos if isinstance(photos, Split) else None, {}
    if manifest is not None:
        # What was left out as a leak comes back, to be left out again.
        place = path_of(manifest, "split", "the split.csv of a run")
        known = read_manifest(place, dropped="train" if config.drop_leaks else None)
    with reporter.phase("index"):
        index = (
            photos.index
            if isinstance(photos, Split)
            else load_fixed_index(photos, config.fixes, engine=engine)
        )
    embedded = None
    if chosen_recipe(config) is None:
        index, embedded = embed_images(index, config, store, reporter, given, engine)
        table = embedded.table
    else:
        index, table = scan_images(index, config, store, reporter, given, engine)
    return split_images(index, table, config, known, given, reporter), table, embedded


def _make_run(job: TrainingJob, trained: Trained, table: EmbeddingTable) -> Run:
    """Score what a strategy made on the validation photos."""
    classifier, embeddings, held_out = trained.classifier, trained.held_out, job.split.validation
    assert embeddings is not None  # every strategy gives them
    index, reference = job.split.index, classifier.reference
    with job.reporter.phase("evaluate"):
        evaluation = score(
            classifier.head.predict_proba(embeddings),
            index.labels[held_out],
            index.class_names,
            [index.paths[row] for row in held_out],
            groups=job.split.groups[held_out],
        )
        distances = None if reference is None else reference.distances(embeddings)
    warned = replace(index, warnings=(*index.warnings, *trained.warnings))
    return Run(
        classifier,
        evaluation,
        replace(job.split, index=warned),
        job.config,
        index.source,
        dict(job.reporter.seconds),
        {name: sum(getattr(t, name) for t in trained.tables) for name in ("hits", "misses")},
        trained=trained.network,
        custom_objects=job.custom.names(),
        resampling=trained.resampling,
        distances=distances,
        label_review=trained.label_review,
        learning_curve=trained.learning_curve,
        fingerprints=table.fingerprints,
        ladder=trained.ladder,
    )


def _prediction_speed(run: Run) -> float:
    """Photos a second from files to probabilities, nothing cached."""
    index = run.split.index.select(run.split.validation[:_PHOTOS_TIMED])
    run.classifier.predict_index(index.select([0]))  # the first compiles
    started = time.perf_counter()
    run.classifier.predict_index(index)
    return len(index) / (time.perf_counter() - started)


def evaluate(
    run: Classifier | AnyRun,
    photos: str | Path,
    *,
    part: str | None = None,
    fixes: str | Path | None = None,
    device: str = "auto",
    use_cache: EmbeddingStore | bool = True,
    reporter: Reporter | None = None,
) -> tuple[Evaluation, ImageIndex]:
    """Score a classifier on labeled photos.

    Args:
        run: As for `handful.predict`.
        photos: As for `train`; its classes must be among the classifier's.
        part: "train", "validation" or "test" of photos that come split; None takes test, or
            else validation.
        fixes: A fix list of these photos, or None.
        device: As for `Classifier.load`.
        use_cache: Look embeddings up and keep them, in the user's own store; or a store to use.
        reporter: Told how far it is; None shows it, see `train`.

    Returns:
        The scores, and the index of the photos scored, with those rejected; its `warnings` tell
        of photos that a classifier that was loaded from its run has learned from.

    Raises:
        DataError: When the photos or the run cannot be used; says why.
        ModelFileError: When the classifier cannot be read.
    """
    evaluation, index, seen = evaluate_and_compare(
        run,
        photos,
        part=part,
        fixes=fixes,
        device=device,
        use_cache=use_cache,
        reporter=reporter,
    )
    # One that was just trained is known to whoever trained it.
    from_folder = not isinstance(run, Classifier | Run) or getattr(run, "folder", None) is not None
    lines = seen_warnings(seen, len(index)) if seen or from_folder else ()
    return evaluation, replace(index, warnings=(*index.warnings, *lines))


def evaluate_and_compare(
    run: Classifier | AnyRun,
    photos: str | Path,
    *,
    part: str | None = None,
    fixes: str | Path | None = None,
    device: str = "auto",
    use_cache: EmbeddingStore | bool = True,
    reporter: Reporter | None = None,
) -> tuple[Evaluation, ImageIndex, SeenInTraining | None]:
    """Score a classifier on labeled photos, and compare these with those it has learned from.

    Args:
        run: As for `evaluate`.
        photos: As for `evaluate`.
        part: As for `evaluate`.
        fixes: As for `evaluate`.
        device: As for `evaluate`.
        use_cache: As for `evaluate`.
        reporter: As for `evaluate`.

    Returns:
        The scores, the index of the photos scored, and how many of them were learned from; None
        where that is not known.

    Raises:
        DataError: When the photos or the run cannot be used; says why.
        ModelFileError: When the classifier cannot be read.
    """
    classifier = RunStore().classifier(run, device)
    reporter = job_reporter(reporter)
    with reporter.phase("index"):
        index = _part_of(load_fixed_index(photos, fixes, least_classes=1), part)
        index = index.with_class_names(classifier.class_names)
    with reporter.phase("embed"), open_store(use_cache) as store:
        found = classifier.predict_index(index, store=store, progress=reporter.progress, scans=True)
    if not len(found.index):
        raise DataError(f"{photos} has no readable photo to evaluate on; see `handful check`.")
    assert found.fingerprints is not None  # asked for
    groups, _ = duplicate_groups(found.index, near_duplicate_pairs(found.fingerprints))
    labels, names = found.index.labels, classifier.class_names
    evaluation = score(found.probabilities, labels, names, found.index.paths, groups=groups)
    stored = RunStore().of(classifier)
    if isinstance(run, Run) and run.path is not None:
        stored = RunStore().read(run.path)
    seen = None if stored is None else seen_in_training(stored, found.index, found.fingerprints)
    return evaluation, found.index, seen


def freeze_split(photos: str | Path, config: TrainConfig, manifest: Path) -> None:
    """Split photos once, and write down which went where.

    Args:
        photos: As for `train`.
        config: Its split and seed are used.
        manifest: CSV file to write, for `train`.

    Raises:
        DataError: When the photos cannot be split.
        OutputError: When the file exists or cannot be written.
    """
    index = load_fixed_index(photos, config.fixes)
    index, table = scan_images(index, config, None, Reporter())
    split = split_images(index, table, config, {})
    with new_file(manifest) as part:
        write_manifest(split, part)


def _part_of(index: ImageIndex, part: str | None) -> ImageIndex:
    """The photos to evaluate on: test before validation, where they come split."""
    given = set(index.splits) - {""}
    if part is None:
        part = next((name for name in ("test", "validation") if name in given), None)
        if part is None:
            return index
    elif part not in given:
        raise DataError(
            f'{index.source} has no "{part}" part; it has {", ".join(sorted(given)) or "none"}.'
        )
    return index.select([row for row, name in enumerate(index.splits) if name == part])
