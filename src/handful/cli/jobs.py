"""The commands for what this is about: from photos to classifiers, answers and their grounds."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from handful.augmentation_policy import AugmentationPolicy
from handful.cli import results, terminal
from handful.cli.flags import takes
from handful.cli.frame import (
    EngineName,
    Images,
    Json,
    NoCache,
    Photos,
    PhotosIfAny,
    Quiet,
    RunPath,
    errors,
    makes,
)
from handful.config import (
    CHECK_OPTIONS,
    CURVE_OPTIONS,
    EMBED_OPTIONS,
    CompareConfig,
    DeviceOptions,
    TrainConfig,
)

if TYPE_CHECKING:
    from handful.run_store.run import Run


@errors()
@takes(TrainConfig)
@takes(AugmentationPolicy, into="policy", if_any=True)
def train(
    config: TrainConfig,
    policy: AugmentationPolicy | None,
    context: typer.Context,
    photos: PhotosIfAny = None,
    output: Annotated[Path | None, makes(help="Folder to make [runs/NAME].")] = None,
    note: Annotated[str, typer.Option(help="What to remember about it; `runs` shows it.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted run.")] = False,
    split: Annotated[
        Path | None,
        typer.Option(help="split.csv of an earlier run: its photos stay in their parts."),
    ] = None,
    from_run: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="Repeat a run: its photos, its options and, where it was given one, its split.",
        ),
    ] = None,
    engine: EngineName = "local",
    no_cache: NoCache = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a classifier from labeled photos, with a report of how good it is."""
    from handful.workflows import train as train_workflow

    if (photos is None) == (from_run is None):
        raise typer.BadParameter("give either PHOTOS or --from RUN/run.json")
    if from_run is not None:
        _refuse_beside_from(context)
    elif policy is not None:
        config = replace(config, policy=policy)
    with terminal.watch(quiet) as reporter:
        run = train_workflow.train(
            photos,
            None if from_run else config,
            output=output,
            note=note,
            from_run=from_run,
            split=split,
            resume=resume,
            use_cache=not no_cache,
            engine=engine,
            reporter=reporter,
        )
    results.give(run, as_json, results.print_run)
    _say_how_to_go_on(run)
    if run.stopped == "interrupted":
        raise typer.Exit(130)


# What says where a run goes and how it is shown, not what it is.
_BESIDE_FROM = {
    *("from_run", "output", "note", "split", "resume"),
    *("engine", "no_cache", "as_json", "quiet"),
}


def _refuse_beside_from(context: typer.Context) -> None:
    """Name the options that a repeated run would not heed."""
    ignored = [
        max(option.opts, key=len)
        for option in context.command.params
        if option.name not in _BESIDE_FROM
        and getattr(context.get_parameter_source(option.name or ""), "name", "") == "COMMANDLINE"
    ]
    if ignored:
        raise typer.BadParameter(
            f"--from repeats a run as it was; leave out {', '.join(ignored)}, or give PHOTOS "
            "instead of --from; --output, --note, --split, --resume, --engine, --no-cache, --json "
            "and --quiet combine with it"
        )


def _say_how_to_go_on(run: "Run") -> None:
    if run.trained is not None and run.stopped in ("interrupted", "time"):
        fitted = run.trained.fitted
        terminal.log(
            f"Stopped ({run.stopped}) after epoch {fitted.epochs} of {fitted.planned_epochs}; "
            f"{run.path} holds the classifier as it was then. The same command with --output "
            f"{run.path} --resume goes on."
        )


@errors("what was trained is kept; the same command with --resume goes on")
@takes(CompareConfig)
@takes(AugmentationPolicy, into="policy", if_any=True)
def compare(
    config: CompareConfig,
    policy: AugmentationPolicy | None,
    photos: Photos,
    output: Annotated[Path | None, makes(help="Folder to make [runs/NAME-compare].")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume an interrupted comparison.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train several strategies on one split: table, curves, and which is better by how much."""
    from handful.workflows import compare as compare_workflow

    config = replace(config, policy=policy)
    with terminal.watch(quiet) as reporter:
        comparison = compare_workflow.compare(
            photos, config, output=output, resume=resume, reporter=reporter
        )
    results.give(comparison, as_json, results.print_comparison)


@errors()
@takes(TrainConfig, "fixes", "device")
def evaluate(
    config: TrainConfig,
    run: RunPath,
    photos: Photos,
    part: Annotated[
        str | None,
        typer.Option(help="train, validation or test, of photos that come split [test]."),
    ] = None,
    no_cache: NoCache = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a classifier on labeled photos it has not seen."""
    from handful.run_store.training_photos import seen_warnings
    from handful.workflows import train as train_workflow

    with terminal.watch(quiet) as reporter:
        evaluation, index, seen = train_workflow.evaluate_and_compare(
            run,
            photos,
            part=part,
            fixes=config.fixes,
            device=config.device,
            use_cache=not no_cache,
            reporter=reporter,
        )
    if as_json:
        unknown = {"num_seen_in_training": None, "seen_in_training": None}
        known = seen.to_dict() if seen else unknown
        told = {"warnings": index.warnings, "errors": [asdict(file) for file in index.rejected]}
        terminal.print_json({**evaluation.to_dict(), **known, **told})
    else:
        results.print_evaluation(evaluation)
        terminal.warn((*index.warnings, *seen_warnings(seen, len(index))))
        terminal.warn_rejected(index.rejected)
        results.print_verdict(evaluation)


@errors("nothing half-written is left; with --output the same command goes on")
@takes(DeviceOptions)
def predict(
    config: DeviceOptions,
    run: RunPath,
    images: Images,
    abstain: Annotated[
        bool,
        typer.Option(
            "--abstain",
            help='Say "not sure" unless at most --error-rate of the answers would be wrong.',
        ),
    ] = False,
    error_rate: Annotated[
        float | None,
        typer.Option(
            help="Largest fraction of wrong answers with --abstain, which it implies; too few "
            "training photos show a larger one only, which is then named [0.01].",
        ),
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(
            help="Answer with all classes that fit: such a fraction of the sets holds the right "
            "one.",
        ),
    ] = None,
    sort_into: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Copy the photos into a folder for each class in DIR; none is moved or "
            'overwritten. With --abstain also into "not sure" and "unusual".',
        ),
    ] = None,
    output: Annotated[
        Path | None,
        makes(
            help="Folder to write the answers to, as Parquet, for any number of photos; the same "
            "command goes on where it was killed. Bad photos are rows there, and no error."
        ),
    ] = None,
    engine: EngineName = "local",
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Classify photos; exits with 1 when some of them could not be read."""
    from handful.data.index import load_unlabeled
    from handful.engines.choice import open_engine
    from handful.models.calibration import USUAL_ERROR_RATE
    from handful.run_store.store import RunStore
    from handful.workflows.answers import write_answers
    from handful.workflows.prediction_table import prediction_rows
    from handful.workflows.sorting import check_sorting_folder, sort_photos

    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv exclude each other")
    if output is not None and (as_csv or sort_into is not None):
        raise typer.BadParameter("--output writes Parquet; leave out --csv and --sort-into")
    if sort_into is not None:
        check_sorting_folder(sort_into, images)
    if abstain and error_rate is None:
        error_rate = USUAL_ERROR_RATE
    classifier = RunStore().classifier(run, config.device)
    # What is no error rate or coverage is said before the work.
    classifier.check_guarantees(error_rate, coverage)
    if output is not None:
        with terminal.watch(quiet) as reporter:
            written = write_answers(
                classifier,
                images,
                output,
                error_rate=error_rate,
                coverage=coverage,
                engine=engine,
                reporter=reporter,
            )
        return results.give(written, as_json, results.print_photo_answers)
    index = load_unlabeled(images)
    with (
        open_engine(engine) as opened,
        terminal.watch(quiet or len(index) < 50) as reporter,
        reporter.phase("embed"),
    ):
        result = classifier.predict_index(index, progress=reporter.progress, engine=opened)
    predictions = classifier.name_predictions(
        result.index.paths,
        result.probabilities,
        result.is_out_of_distribution,
        error_rate=error_rate,
        coverage=coverage,
    )
    rejected = result.index.rejected
    rule = None if error_rate is None else classifier.abstain_at(error_rate)
    copied = None if sort_into is None else sort_photos(result.index, predictions, sort_into)
    if copied is not None:
        rejected += copied.skipped
    if as_csv:
        terminal.print_csv(*prediction_rows(predictions, classifier.class_names))
    else:
        source = "" if classifier.calibration is None else classifier.calibration.source
        answers = results.Answers(predictions, rejected, rule, source, copied)
        results.give(answers, as_json, results.print_answers)
    if copied is not None and not as_json:
        results.print_sorted(copied)
    if rejected:
        if not as_json:
            terminal.warn_rejected(rejected)
        raise typer.Exit(1)


@errors()
@takes(DeviceOptions)
def explain(
    config: DeviceOptions,
    run: RunPath,
    images: Images,
    output: Annotated[
        Path | None, makes(help="Folder for NAME-explained.png, or a PNG file [this folder].")
    ] = None,
    class_name: Annotated[
        str | None, typer.Option("--class", help="Class to explain [the most probable one].")
    ] = None,
    rival_name: Annotated[
        str | None,
        typer.Option("--rival", help="Class to hold it against [the most probable other one]."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show where in photos the network looked; exits with 1 when some could not be read."""
    from handful.models.activation_maps import write_explanations
    from handful.run_store.store import RunStore

    classifier = RunStore().classifier(run, config.device)
    with terminal.watch(quiet) as reporter, reporter.phase("explain"):
        written = write_explanations(
            classifier, images, output, class_name, rival_name, reporter.progress
        )
    results.give(written, as_json, results.print_explanations)
    if written.rejected:
        raise typer.Exit(1)


@errors("the parts that are done are kept; the same command goes on")
@takes(TrainConfig, *EMBED_OPTIONS)
def embed(
    config: TrainConfig,
    photos: Images,
    output: Annotated[Path, makes(help="Folder to make, or to go on with.")],
    dtype: Annotated[str, typer.Option(help="float32 or float16, for half the space.")] = "float32",
    engine: EngineName = "local",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write photos' embeddings as Parquet, for other tools; the same command goes on after a kill.

    Its columns are path, digest, vector and, for what is no photo, reason.
    """
    from handful.workflows import embed as embed_workflow

    with terminal.watch(quiet) as reporter:
        written = embed_workflow.embed(
            photos, config, output=output, dtype=dtype, engine=engine, reporter=reporter
        )
    results.give(written, as_json, results.print_photo_embeddings)


@errors()
@takes(TrainConfig, *CHECK_OPTIONS)
def check(
    config: TrainConfig,
    photos: Photos,
    output: Annotated[Path | None, makes(help="Folder to make [runs/NAME-check].")] = None,
    fix_list: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help="Write what should be left out or relabeled, for you to go through and for "
            "--fixes.",
        ),
    ] = None,
    no_cache: NoCache = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find what would spoil a classifier: bad files, copies, leaks, wrong labels, shortcuts."""
    from handful.workflows import check as check_workflow

    with terminal.watch(quiet) as reporter:
        found = check_workflow.check(
            photos,
            config,
            output=output,
            fix_list=fix_list,
            use_cache=not no_cache,
            reporter=reporter,
        )
    results.give(found, as_json, results.print_check)


@errors("finished embeddings are cached")
@takes(TrainConfig, *CURVE_OPTIONS)
def curve(
    config: TrainConfig,
    photos: Photos,
    target: Annotated[
        float | None, typer.Option(help="Accuracy wanted, such as 0.95: how many photos it takes.")
    ] = None,
    at: Annotated[
        list[int] | None,
        typer.Option(help="Photos per class to expect an accuracy for; once for each."),
    ] = None,
    output: Annotated[Path | None, makes(help="Folder to make [runs/NAME-curve].")] = None,
    no_cache: NoCache = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show what more photos would bring: accuracy by their number, measured and expected."""
    from handful.workflows import curve as curve_workflow

    with terminal.watch(quiet) as reporter:
        found = curve_workflow.curve(
            photos,
            config,
            target=target,
            at=at or (),
            output=output,
            use_cache=not no_cache,
            reporter=reporter,
        )
    results.give(found, as_json, results.print_curve)
