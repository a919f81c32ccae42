"""The command line: parse, call, print."""

import errno
import io
import logging
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from handful import __version__
from handful.cli import terminal
from handful.cli.flags import Command, takes
from handful.cli.spelling import with_options
from handful.config import RUNS_FOLDER, CompareConfig, ServeConfig, TrainConfig
from handful.crashes import keep_traceback
from handful.environment import cache_folder, own_environment
from handful.errors import HandfulError, UsageError
from handful.features.keras_runtime import claim_process
from handful.files.atomic import file_of, reason_of
from handful.files.drafts import remove_leftovers
from handful.wording import printable

app = typer.Typer(
    name="handful",
    help="Image classifiers you can trust, from a handful of labeled photos, in seconds.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object instead of text.", rich_help_panel="Output"),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="No progress on stderr.", rich_help_panel="Output"),
]
NoCache = Annotated[
    bool,
    typer.Option(
        "--no-cache", help="Compute every embedding, and keep none.", rich_help_panel="Output"
    ),
]
Photos = Annotated[
    Path,
    typer.Argument(
        help="Folder of class folders, or of train/ and validation/; a zip; or a CSV with "
        "path,label[,split][,group]."
    ),
]
RunPath = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        help="Folder that `train` made; or the name of a run in runs/, its beginning, or latest.",
    ),
]


@app.command(cls=Command)
@takes(TrainConfig)
def train(
    context: typer.Context,
    photos: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of class folders, or of train/ and validation/; a zip; or a CSV with "
            "path,label[,split][,group]."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to make [runs/NAME].")
    ] = None,
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
            help="Repeat a run: its photos, its options and, where it was given one, its split. "
            "--output, --split, --resume, --no-cache, --json and --quiet combine with it.",
        ),
    ] = None,
    no_cache: NoCache = False,
    as_json: Json = False,
    quiet: Quiet = False,
    *,
    asked: dict[str, Any],
) -> None:
    """Make a classifier from labeled photos, with a report of how good it is."""
    with _errors():
        from handful.runs.store import RunStore
        from handful.workflows import train as train_workflow

        store, repeated = RunStore(), None
        if (photos is None) == (from_run is None):
            raise typer.BadParameter("give either PHOTOS or --from RUN/run.json")
        if from_run is not None:
            _refuse_beside_from(context)
            repeated = store.read(store.find(from_run))
            photos, config = repeated.photos, repeated.config
            split = split or repeated.manifest_to_repeat
        else:
            config = TrainConfig(**asked)
        assert photos is not None
        if output is None:
            output = store.unfinished(photos) if resume else store.new_path(photos)
        with terminal.watch(quiet) as reporter:
            run = train_workflow.train(
                photos,
                config,
                output=output,
                split=split,
                resume=resume,
                use_cache=not no_cache,
                reporter=reporter,
            )
        if repeated is not None and run.split.index.digest() != repeated.data_digest:
            terminal.log(
                f"Warning: {photos} has changed since the run that is repeated; compare their "
                "split.csv."
            )
        if as_json:
            terminal.print_json(run.to_dict())
        else:
            terminal.print_run(run)
        if run.trained is not None and run.stopped in ("interrupted", "time"):
            fitted = run.trained.fitted
            terminal.log(
                f"Stopped ({run.stopped}) after epoch {fitted.epochs} of {fitted.planned_epochs}; "
                f"{output} holds the classifier as it was then. The same command with --output "
                f"{output} --resume goes on."
            )
        if run.stopped == "interrupted":
            raise typer.Exit(130)


@app.command(cls=Command)
@takes(CompareConfig)
def compare(
    photos: Photos,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to make [runs/NAME-compare].")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume an interrupted comparison.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    *,
    asked: dict[str, Any],
) -> None:
    """Train several strategies on one split: table, curves, and which is better by how much."""
    with _errors("what was trained is kept; the same command with --resume goes on"):
        from handful.reports.comparison_page import COMPARISON_FILE
        from handful.runs.store import RunStore
        from handful.workflows import compare as compare_workflow

        config = CompareConfig(**asked)
        output = output or RunStore().place(photos, "-compare")
        with terminal.watch(quiet) as reporter:
            comparison = compare_workflow.compare(
                photos,
                config,
                output=output,
                resume=resume,
                reporter=reporter,
            )
        if as_json:
            terminal.print_json(comparison.to_dict())
        else:
            terminal.print_comparison(comparison)
            terminal.show(f"Report: {output / COMPARISON_FILE}")


@app.command(cls=Command)
@takes(TrainConfig, "fixes")
def evaluate(
    run: RunPath,
    photos: Photos,
    part: Annotated[
        str | None,
        typer.Option(help="train, validation or test, of photos that come split [test]."),
    ] = None,
    no_cache: NoCache = False,
    as_json: Json = False,
    quiet: Quiet = False,
    *,
    asked: dict[str, Any],
) -> None:
    """Score a classifier on labeled photos it has not seen."""
    with _errors():
        from handful.runs.training_photos import seen_warnings
        from handful.workflows import train as train_workflow

        with terminal.watch(quiet) as reporter:
            evaluation, index, seen = train_workflow.evaluate_and_compare(
                _find(run),
                photos,
                part=part,
                fixes=asked["fixes"],
                use_cache=not no_cache,
                reporter=reporter,
            )
        if as_json:
            rejected = [{"path": file.path, "reason": file.reason} for file in index.rejected]
            known = {"num_seen_in_training": None, "seen_in_training": None}
            known = seen.to_dict() if seen else known
            told = {"warnings": list(index.warnings), "errors": rejected}
            terminal.print_json({**evaluation.to_dict(), **known, **told})
        else:
            terminal.print_evaluation(evaluation)
            terminal.warn((*index.warnings, *seen_warnings(seen, len(index))))
            terminal.warn_rejected(index.rejected)
            terminal.print_verdict(evaluation)


@app.command(cls=Command)
def predict(
    run: RunPath,
    images: Annotated[list[Path], typer.Argument(help="Photos, folders or zips of photos.")],
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
    sets: Annotated[
        float | None,
        typer.Option(
            metavar="COVERAGE",
            help="Answer with all classes that fit: this fraction of the sets holds the right one.",
        ),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Classify photos; exits with 1 when some of them could not be read."""
    with _errors():
        from handful.data.index import load_unlabelled
        from handful.models.classifier import Classifier

        if as_json and as_csv:
            raise typer.BadParameter("--json and --csv exclude each other")
        if abstain and error_rate is None:
            error_rate = 0.01
        classifier = Classifier.load(_find(run))
        # What is no error rate or coverage is said before the work.
        classifier.check_guarantees(error_rate, sets)
        index = load_unlabelled(images)
        with terminal.watch(quiet or len(index) < 50) as reporter, reporter.phase("embed"):
            result = classifier.predict_index(index, progress=reporter.progress)
        predictions = classifier.name_predictions(
            result.index.paths,
            result.probabilities,
            result.is_out_of_distribution,
            error_rate=error_rate,
            coverage=sets,
        )
        rejected = result.index.rejected
        if as_json:
            facts: dict[str, Any] = {
                "predictions": [prediction.to_dict() for prediction in predictions],
                "errors": [{"path": f.path, "reason": f.reason} for f in rejected],
            }
            if error_rate is not None:
                facts["abstaining"] = asdict(classifier.abstain_at(error_rate))
            terminal.print_json(facts)
        elif as_csv:
            terminal.print_csv(*terminal.prediction_rows(predictions, classifier.class_names))
        else:
            terminal.print_predictions(predictions)
            if error_rate is not None:
                terminal.print_abstention(classifier, predictions, error_rate)
        if rejected:
            if not as_json:
                terminal.warn_rejected(rejected)
            raise typer.Exit(1)


@app.command(cls=Command)
def explain(
    run: RunPath,
    images: Annotated[list[Path], typer.Argument(help="Photos, folders or zips of photos.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder for NAME-explained.png, or a PNG file [this folder]."
        ),
    ] = None,
    class_name: Annotated[
        str | None, typer.Option("--class", help="Class to explain [the most probable one].")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show where in photos the network looked; exits with 1 when some could not be read."""
    with _errors():
        from handful.models.activation_maps import write_explanations
        from handful.models.classifier import Classifier

        classifier = Classifier.load(_find(run))
        with terminal.watch(quiet) as reporter, reporter.phase("explain"):
            written = write_explanations(classifier, images, output, class_name, reporter.progress)
        if as_json:
            terminal.print_json(written.to_dict())
        else:
            terminal.print_explanations(written)
            terminal.warn_rejected(written.rejected)
        if written.rejected:
            raise typer.Exit(1)


@app.command(cls=Command)
@takes(
    *(TrainConfig, "fixes", "image_size", "resize", "validation_fraction", "seed", "max_megapixels")
)
def check(
    photos: Photos,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to make [runs/NAME-check].")
    ] = None,
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
    *,
    asked: dict[str, Any],
) -> None:
    """Find what would spoil a classifier: bad files, copies, leaks, wrong labels, shortcuts."""
    with _errors():
        from handful.runs.store import RunStore
        from handful.workflows import check as check_workflow

        config = TrainConfig(**asked)
        with terminal.watch(quiet) as reporter:
            found = check_workflow.check(
                photos,
                config,
                output=output or RunStore().place(photos, "-check"),
                fix_list=fix_list,
                use_cache=not no_cache,
                reporter=reporter,
            )
        if as_json:
            terminal.print_json(found.to_dict())
        else:
            terminal.print_check(found)


@app.command(cls=Command)
@takes(TrainConfig, "fixes", "seed", "max_megapixels")
def curve(
    photos: Photos,
    target: Annotated[
        float | None, typer.Option(help="Accuracy wanted, such as 0.95: how many photos it takes.")
    ] = None,
    at: Annotated[
        list[int] | None,
        typer.Option(help="Photos per class to expect an accuracy for; once for each."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to make [runs/NAME-curve].")
    ] = None,
    no_cache: NoCache = False,
    as_json: Json = False,
    quiet: Quiet = False,
    *,
    asked: dict[str, Any],
) -> None:
    """Show what more photos would bring: accuracy by their number, measured and expected."""
    with _errors("finished embeddings are cached"):
        from handful.runs.store import RunStore
        from handful.workflows import curve as curve_workflow

        config = TrainConfig(**asked)
        if output is None:
            output = RunStore().new_path(photos, "-curve")
        with terminal.watch(quiet) as reporter:
            found = curve_workflow.curve(
                photos,
                config,
                target=target,
                sizes=at or (),
                output=output,
                use_cache=not no_cache,
                reporter=reporter,
            )
        if as_json:
            terminal.print_json(found.to_dict())
        else:
            terminal.print_curve(found)


@app.command(cls=Command)
def runs(
    folder: Annotated[Path, typer.Argument(help="Folder that the runs lie in.")] = RUNS_FOLDER,
    as_json: Json = False,
) -> None:
    """List the runs there are, the latest first."""
    with _errors():
        from handful.runs.store import RunStore

        found = RunStore(folder).list()
        if as_json:
            terminal.print_json({"folder": str(folder), "runs": [row.to_dict() for row in found]})
        else:
            terminal.print_runs(found, folder)


@app.command(cls=Command)
def cache(
    info: Annotated[bool, typer.Option("--info", help="Show what is cached and where.")] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Remove all of it.")] = False,
    as_json: Json = False,
) -> None:
    """Show or clear the cache of embeddings and converted networks; clearing is always safe."""
    with _errors():
        from handful.workflows import train as train_workflow

        if info == clear:
            raise typer.BadParameter("give --info or --clear")
        if clear:
            train_workflow.clear_cache()
        facts = train_workflow.cache_info()
        if as_json:
            terminal.print_json(facts)
            return
        terminal.show(f"{'Cleared' if clear else 'Cache'}: {cache_folder()}")
        terminal.show(
            f"  {facts['embeddings']:,} embeddings of {facts['pictures']:,} decoded photos"
        )
        terminal.show(
            f"  {len(facts['networks'])} converted networks: {', '.join(facts['networks'])}"
        )
        terminal.show(f"  {facts['bytes'] / 1e6:,.1f} MB")


@app.command(cls=Command)
def demo(
    data: Annotated[
        Path | None,
        typer.Option(help="A cats_and_dogs_filtered.zip; else it is looked for, then fetched."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to make [runs/NAME].")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run the main job on a default data set, fetched if need be."""
    with _errors():
        from handful.datasets.registry import find_demo_data
        from handful.runs.store import RunStore
        from handful.workflows import train as train_workflow

        with terminal.watch(quiet) as reporter:
            found = find_demo_data(data, cache_folder(), reporter)
            run = train_workflow.train(
                found.path,
                output=output or RunStore().new_path(found.path),
                reporter=reporter,
            )
        if as_json:
            terminal.print_json(run.to_dict())
        else:
            terminal.print_run(run)


@app.command(cls=Command)
def figures(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="Folder that train, compare or curve made; or a run's name, or latest.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to make [RUN-figures].")
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw a run's charts as PNG files, for slides and theses; needs the extra "figures"."""
    with _errors("nothing is left behind"):
        from handful.reports.figures import write_figures

        run = _find(run)
        whole = run if run.name not in ("", "..") else run.resolve()
        paths = write_figures(run, output or whole.with_name(f"{whole.name}-figures"))
        if as_json:
            terminal.print_json({"figures": [str(path) for path in paths]})
        else:
            for path in paths:
                terminal.show(f"Figure: {path}")


@app.command(cls=Command)
@takes(TrainConfig, "seed")
def preview(
    photo: Annotated[Path, typer.Argument(help="The photo.")],
    recipe: Annotated[str, typer.Option(help="keras-tutorial or handful.")] = "keras-tutorial",
    image_size: Annotated[
        int | None, typer.Option(help="Side of what the network sees, in pixels [recipe's own].")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="PNG file to make [NAME-preview.png].")
    ] = None,
    as_json: Json = False,
    *,
    asked: dict[str, Any],
) -> None:
    """Draw what augmentation does to a photo: random views, and each parameter by itself."""
    with _errors():
        from handful.reports.sheets import preview_sheet
        from handful.training.previews import preview_photo

        shown = preview_photo(photo, recipe, image_size, asked["seed"])
        path = output or Path(f"{photo.stem}-preview.png")
        preview_sheet(shown).save(path)
        if as_json:
            facts = {
                "photo": str(photo),
                "recipe": recipe,
                "seed": asked["seed"],
                "picture": str(path),
            }
            terminal.print_json({**facts, **shown.to_dict()})
        else:
            for strip in shown.strips:
                terminal.show(f"{strip.name:<20} {strip.range}")
            terminal.show(f"Image: {path}")


@app.command(cls=Command)
def summary(
    name: Annotated[
        str,
        typer.Argument(
            help="scratch, mnist or small; a pretrained network such as xception or "
            "efficientnet-lite0; or file.py:build."
        ),
    ],
    num_classes: Annotated[int | None, typer.Option(help="Classes [2; mnist 10].")] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Image side in pixels [network's own].")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print a network's layers, shapes and parameters; no weights are needed."""
    with _errors():
        from handful.training.summaries import summarise

        found = summarise(name, num_classes, image_size)
        if as_json:
            terminal.print_json(found.to_dict())
        else:
            terminal.print_summary(found)


@app.command(cls=Command)
def data(
    name: Annotated[str, typer.Argument(help="cats-vs-dogs or mnist.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to make [data/NAME].")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Unpack a known data set into a folder, fetched if need be, with a sheet of examples."""
    with _errors():
        from handful.datasets.archives import make_picture_folder

        with terminal.watch(quiet) as reporter:
            found = make_picture_folder(name, cache_folder(), output, reporter)
        if as_json:
            terminal.print_json(found.to_dict())
        else:
            terminal.print_picture_folder(found)


@app.command(cls=Command)
@takes(ServeConfig)
def serve(
    run: RunPath,
    *,
    asked: dict[str, Any],
) -> None:
    """Classify photos over HTTP, with a page to drop them on; needs the extra "serve".

    The log is JSON lines on stderr. Where HANDFUL_TOKEN is set, requests must bring it.
    """
    with _errors("nothing is left behind"):
        from handful.serving.server import serve as serve_run

        serve_run(_find(run), ServeConfig(**asked), partial(terminal.show, flush=True))


@app.command(cls=Command)
def export(
    run: RunPath,
    format: Annotated[str, typer.Option("--format", help="openvino, onnx, litert or keras.")],
    precision: Annotated[
        str | None, typer.Option(help="f32, bf16 or int8 [f32; the run's own int8 for openvino].")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to make [RUN-FORMAT].")
    ] = None,
    photos: Annotated[
        Path | None,
        typer.Option(help="Photos to compare answers on [the run's validation photos]."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a classifier for other programs, preprocessing inside, and compare its answers."""
    with _errors("nothing is left behind"):
        from handful.exporting import export_jobs

        with terminal.watch(quiet) as reporter:
            made = export_jobs.export(
                _find(run),
                format,
                precision=precision,
                output=output,
                photos=photos,
                reporter=reporter,
            )
        if as_json:
            terminal.print_json(made.to_dict())
        else:
            terminal.print_export(made)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        terminal.show(f"handful {__version__}")
        raise typer.Exit()


def main() -> None:
    """Entry point of the `handful` command."""
    _log_printable()
    # Photos are decoded in threads; OpenCV's own would only compete. Pillow warns of harmless
    # oddities of files that it then reads. Both are for this process alone to decide, not for
    # the library.
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")
    os.environ.update(own_environment())
    warnings.filterwarnings("ignore", module=r"PIL\.")
    # A terminated run tidies up just as an interrupted one does, and so does one whose terminal
    # was closed, but for what `nohup` keeps from hearing of it.
    signal.signal(signal.SIGTERM, _interrupt)
    hangup = getattr(signal, "SIGHUP", None)
    if hangup is not None and signal.getsignal(hangup) is signal.SIG_DFL:
        signal.signal(hangup, _interrupt)
    # A file name need not be valid text, and no result is lost over that.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    claim_process()
    with suppress(OSError):  # no folder for temporary files
        # What killed commands left where this one may make nothing itself.
        for folder in (Path(tempfile.gettempdir()), cache_folder() / "networks", RUNS_FOLDER):
            remove_leftovers(folder)
    try:
        with _errors():
            if "" in sys.argv[1:]:  # it would be taken for the current folder
                raise UsageError(
                    "an argument is empty, perhaps a variable without a value; give a path or a "
                    "value there, or take it away."
                )
            app()
    except typer.Exit as ended:  # before a command had begun
        raise SystemExit(ended.exit_code) from None


def _find(run: Path) -> Path:
    """The folder of a run that is called by its path, its name, its beginning, or "latest"."""
    from handful.runs.store import RunStore

    return RunStore().find(run)


class _Printable(logging.Formatter):
    """One line for each thing that is logged, whatever names are in it."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        return "\n".join(map(printable, super().formatException(ei).splitlines()))


def _log_printable() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_Printable("%(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    make_record = logging.getLogRecordFactory()

    def name_options(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make_record(*args, **kwargs)
        record.msg = with_options(record.msg) if isinstance(record.msg, str) else record.msg
        return record

    logging.setLogRecordFactory(name_options)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


@contextmanager
def _errors(
    kept: str = "nothing half-written is left; finished embeddings are cached, and finished "
    "epochs kept for --resume",
) -> Iterator[None]:
    """End in one line and an exit code: 2 for wrong usage, 130 for Ctrl-C, 1 for all else.

    What nobody foresaw keeps its traceback in a file, which the line names.
    """
    try:
        yield
        terminal.flush_output()
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except UsageError as error:
        _fail(str(error), 2)
    except HandfulError as error:
        _fail(str(error), 1)
    except terminal.ReaderGoneError:
        raise typer.Exit(0) from None
    except KeyboardInterrupt:
        _fail(f"interrupted; {kept}", 130)
    except MemoryError:
        _fail("out of memory; close other programs or use fewer photos at a time", 1)
    except OSError as error:
        _fail(_refused(error), 1)
    except Exception as error:
        _fail(_unforeseen(error), 1)


def _refused(error: OSError) -> str:
    """What the system refused, in words, and of which file."""
    if (file := file_of(error)) is not None:
        return f"{file} cannot be used: {reason_of(error)}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"a file cannot be written: {reason_of(error)}; make room, and try again"
    return _unforeseen(error)


def _unforeseen(error: Exception) -> str:
    place = keep_traceback(error)
    lines = str(error).strip().splitlines() or [""]
    what = type(error).__name__ + (f": {lines[0][:300]}" if lines[0] else "")
    details = "No details could be kept" if place is None else f"The details are in {place}"
    return f"this was not foreseen and is a fault of handful's ({what}). {details}."


# What says where a run goes and how it is shown, not what it is.
_BESIDE_FROM = {"from_run", "output", "split", "resume", "no_cache", "as_json", "quiet"}


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
            "instead of --from"
        )


def _fail(message: str, code: int) -> NoReturn:
    with suppress(OSError):  # the reader of standard error has left
        terminal.log(f"Error: {message}")
    raise typer.Exit(code) from None
