"""The command line: parse, call, print."""

import csv
import io
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from handful.config import TrainConfig, cache_folder
from handful.errors import HandfulError

app = typer.Typer(
    name="handful",
    help="Image classifiers you can trust, from a handful of labelled photos, in seconds.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Compute every embedding, and keep none.")
]
Photos = Annotated[
    Path,
    typer.Argument(
        help="Folder of class folders, or of train/ and validation/; a zip; or a CSV with "
        "path,label[,split]."
    ),
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="Folder that `train` made.")]
Resize = Annotated[
    str, typer.Option(help='"squash" keeps the whole photo, "crop" its proportions.')
]
ImageSize = Annotated[
    int | None, typer.Option(help="Side that photos are decoded to, in pixels [backbone's own].")
]
Megapixels = Annotated[
    float, typer.Option("--max-megapixels", help="Larger pictures are rejected unread.")
]
ValidationFraction = Annotated[
    float, typer.Option(help="Share of each class held out, if the photos bring no split.")
]
Seed = Annotated[int, typer.Option(help="Seed of all that is drawn at random.")]
DropLeaks = Annotated[
    bool, typer.Option("--drop-leaks", help="Leave out training photos that leak.")
]


@app.command()
def train(
    photos: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of class folders, or of train/ and validation/; a zip; or a CSV with "
            "path,label[,split]."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to make [runs/NAME].")
    ] = None,
    backbone: Annotated[
        str,
        typer.Option(
            help="Pretrained network: efficientnet-lite0, -lite1, -lite2, or a Keras "
            "Applications name such as xception."
        ),
    ] = TrainConfig.backbone,
    weights: Annotated[
        Path | None, typer.Option(help="Weights file to use instead of the backbone's own.")
    ] = None,
    image_size: ImageSize = None,
    resize: Resize = TrainConfig.resize,
    precision: Annotated[
        str,
        typer.Option(
            help="auto, int8, bf16 or f32 arithmetic in the network; int8 is efficientnet-lite's."
        ),
    ] = TrainConfig.precision,
    views: Annotated[
        int, typer.Option(help="Augmented views of each training photo, itself included.")
    ] = TrainConfig.views,
    tta: Annotated[
        bool, typer.Option("--tta", help="Average with the mirror image when predicting.")
    ] = TrainConfig.test_time_mirror,
    class_weight: Annotated[
        str, typer.Option(help="auto, balanced or none; auto balances classes skewed past 3:1.")
    ] = TrainConfig.class_weight,
    validation_fraction: ValidationFraction = TrainConfig.validation_fraction,
    drop_leaks: DropLeaks = False,
    split: Annotated[
        Path | None,
        typer.Option(help="split.csv of an earlier run: its photos stay in their parts."),
    ] = None,
    from_run: Annotated[
        Path | None,
        typer.Option("--from", help="run.json to repeat; only --output and the like combine."),
    ] = None,
    seed: Seed = TrainConfig.seed,
    max_megapixels: Megapixels = TrainConfig.max_megapixels,
    no_cache: NoCache = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a classifier from labelled photos, with a report of how good it is."""
    from handful import runs

    with _errors():
        if (photos is None) == (from_run is None):
            raise typer.BadParameter("give either PHOTOS or --from RUN/run.json")
        if from_run is not None:
            photos, config = runs.read_run_config(from_run)
        else:
            config = TrainConfig(
                backbone=backbone,
                weights=str(weights) if weights else None,
                image_size=image_size,
                resize=resize,
                precision=precision,
                views=views,
                test_time_mirror=tta,
                class_weight=class_weight,
                validation_fraction=validation_fraction,
                drop_leaks=drop_leaks,
                seed=seed,
                max_megapixels=max_megapixels,
            )
        assert photos is not None
        with _progress(quiet) as progress:
            run = runs.train(
                photos,
                config,
                output=output or runs.next_run_path(photos),
                manifest=split,
                use_cache=not no_cache,
                progress=progress,
            )
        if as_json:
            _print_json(run.to_dict())
        else:
            _print_run(run)


@app.command()
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
) -> None:
    """Score a classifier on labelled photos it has not seen."""
    from handful import runs
    from handful.classifier import Classifier

    with _errors():
        classifier = Classifier.load(run)
        with _progress(quiet) as progress:
            evaluation, index = runs.evaluate(
                classifier, photos, part=part, use_cache=not no_cache, progress=progress
            )
        if as_json:
            rejected = [{"path": file.path, "reason": file.reason} for file in index.rejected]
            _print_json({**evaluation.to_dict(), "errors": rejected})
        else:
            _print_evaluation(evaluation)
            _warn_rejected(index.rejected)


@app.command()
def predict(
    run: RunPath,
    images: Annotated[list[Path], typer.Argument(help="Photos, folders or zips of photos.")],
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Name what photos show; exits with 1 when some of them could not be read."""
    from handful.classifier import Classifier, name_prediction
    from handful.index import load_unlabelled

    with _errors():
        if as_json and as_csv:
            raise typer.BadParameter("--json and --csv exclude each other")
        classifier = Classifier.load(run)
        index = load_unlabelled(images)
        with _progress(quiet or len(index) < 50) as progress:
            tell = None if progress is None else lambda a, b: progress("embed", a, b)
            result = classifier.predict_index(index, progress=tell)
        predictions = [
            name_prediction(path, classifier.class_names, row)
            for path, row in zip(result.index.paths, result.probabilities, strict=True)
        ]
        rejected = result.index.rejected
        if as_json:
            _print_json(
                {
                    "predictions": [
                        {
                            "path": p.path,
                            "label": p.label,
                            "probability": p.probability,
                            "probabilities": dict(p.probabilities),
                        }
                        for p in predictions
                    ],
                    "errors": [{"path": f.path, "reason": f.reason} for f in rejected],
                }
            )
        elif as_csv:
            _print_csv(
                ("path", "label", "probability", *classifier.class_names),
                [(p.path, p.label, p.probability, *p.probabilities.values()) for p in predictions],
            )
        else:
            _print_predictions(predictions)
        if rejected:
            if not as_json:
                _warn_rejected(rejected)
            raise typer.Exit(1)


@app.command()
def check(
    photos: Photos,
    image_size: ImageSize = None,
    resize: Resize = TrainConfig.resize,
    validation_fraction: ValidationFraction = TrainConfig.validation_fraction,
    seed: Seed = TrainConfig.seed,
    max_megapixels: Megapixels = TrainConfig.max_megapixels,
    no_cache: NoCache = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Look for unreadable files, duplicates and leaks, without making a classifier."""
    from handful import runs

    with _errors():
        config = TrainConfig(
            image_size=image_size,
            resize=resize,
            validation_fraction=validation_fraction,
            seed=seed,
            max_megapixels=max_megapixels,
        )
        with _progress(quiet) as progress:
            found = runs.check(photos, config, use_cache=not no_cache, progress=progress)
        if as_json:
            _print_json(found.to_dict())
        else:
            _print_check(found.to_dict())


@app.command()
def cache(
    info: Annotated[bool, typer.Option("--info", help="Say what is cached and where.")] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Remove all of it.")] = False,
    as_json: Json = False,
) -> None:
    """Show or clear the cache of embeddings and converted networks; clearing is always safe."""
    from handful import runs

    with _errors():
        if info == clear:
            raise typer.BadParameter("give --info or --clear")
        if clear:
            runs.clear_cache()
        facts = runs.cache_info()
        if as_json:
            _print_json(facts)
            return
        print(f"{'Cleared' if clear else 'Cache'}: {cache_folder()}")
        print(f"  {facts['embeddings']:,} embeddings of {facts['pictures']:,} decoded pictures")
        print(f"  {len(facts['networks'])} converted networks: {', '.join(facts['networks'])}")
        print(f"  {facts['bytes'] / 1e6:,.1f} MB")


@app.command()
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
    from handful import runs
    from handful.datasets import find_demo_data

    with _errors():
        with _progress(quiet) as progress:
            tell = None if progress is None else lambda a, b: progress("download", a, b)
            found = find_demo_data(data, cache_folder(), tell, None if quiet else _say)
        with _progress(quiet) as progress:
            run = runs.train(
                found.path, output=output or runs.next_run_path(found.path), progress=progress
            )
        if as_json:
            _print_json(run.to_dict())
        else:
            _print_run(run)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(f"handful {version_of('handful')}")
        raise typer.Exit()


def main() -> None:
    """Entry point of the `handful` command."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    # A terminated run tidies up just as an interrupted one does.
    signal.signal(signal.SIGTERM, _interrupt)
    app()


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


@contextmanager
def _errors() -> Iterator[None]:
    """Turn what a user can mend into one line and exit code 1, Ctrl-C into 130."""
    try:
        yield
    except HandfulError as error:
        _fail(" ".join(str(error).split()), 1)
    except ValueError as error:
        _fail(str(error), 2)
    except KeyboardInterrupt:
        _fail("interrupted; nothing half-written is left, finished embeddings are cached", 130)
    except BrokenPipeError:
        # The reader (head, less) has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except MemoryError:
        _fail("out of memory; close other programs or use fewer photos at a time", 1)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _fail(message: str, code: int) -> NoReturn:
    print(f"Error: {message}", file=sys.stderr)
    raise typer.Exit(code)


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """A bar on stderr with photos a second and time left, for people watching."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<9}"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def tell(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                while tasks:
                    bar.remove_task(tasks.popitem()[1])
                tasks[phase] = bar.add_task(phase, total=None, count="")
            speed = bar.tasks[0].speed
            count = f"{done:,}/{total:,}" if total else ""
            count += f"  {speed:,.0f}/s" if speed and total else ""
            bar.update(tasks[phase], completed=done, total=total or None, count=count)

        yield tell


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _print_csv(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    print(text.getvalue(), end="")


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def _print_run(run: Any) -> None:
    low, high = run.evaluation.accuracy_interval
    num = len(run.split.validation)
    print(
        f"{_percent(run.evaluation.accuracy)} of {num:,} validation photos named right "
        f"(95 % interval {_percent(low)} to {_percent(high)})"
    )
    seconds = run.seconds["total"] - run.seconds["convert"]
    print(
        f"{len(run.split.train):,} training photos of {len(run.classifier.class_names)} classes, "
        f"{run.config.backbone}, {seconds:.1f} s"
        + (
            f" and {run.seconds['convert']:.1f} s to convert the network once"
            if run.seconds["convert"] > 1
            else ""
        )
    )
    problems = run.problems()
    for name, what in (
        ("rejected", "Files that could not be used"),
        ("leaks", "Near-duplicate pairs that leak between parts (--drop-leaks leaves them out)"),
        ("near_duplicates", "Pairs of near-duplicates"),
    ):
        if problems[name]:
            print(f"{what}: {len(problems[name]):,}")
    for warning in problems["warnings"]:
        print(f"Warning: {warning}")
    print(f"Report: {run.path / 'report.html'}")


def _print_evaluation(evaluation: Any) -> None:
    low, high = evaluation.accuracy_interval
    print(
        f"{_percent(evaluation.accuracy)} of {len(evaluation.labels):,} photos named right "
        f"(95 % interval {_percent(low)} to {_percent(high)})"
    )
    width = max(len("class"), *(len(row.name) for row in evaluation.per_class))
    print(f"\n{'class':<{width}}  photos  precision  recall     f1")
    for row in evaluation.per_class:
        print(
            f"{row.name:<{width}}  {row.support:>6}  {_cell(row.precision):>9}  "
            f"{_cell(row.recall):>6}  {_cell(row.f1):>5}"
        )


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _print_predictions(predictions: list[Any]) -> None:
    if not predictions:
        return
    width = max(len(p.path) for p in predictions)
    label = max(len(p.label) for p in predictions)
    for p in predictions:
        print(f"{p.path:<{width}}  {p.label:<{label}}  {_percent(p.probability):>7}")


def _warn_rejected(rejected: Any) -> None:
    for file in rejected:
        print(f"Error: {file.path} {file.reason}", file=sys.stderr)


def _print_check(facts: dict[str, Any]) -> None:
    formats = ", ".join(f"{count:,} {name}" for name, count in facts["formats"].items())
    print(f"{facts['num_images']:,} readable photos: {formats}")
    for part, counts in facts["counts"].items():
        inside = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        print(f"  {part or 'all'}: {inside}")
    for name, side in facts["sizes"].items():
        print(f"  {name} {side['smallest']} to {side['largest']}, median {side['median']:.0f}")
    problems = facts["problems"]
    for file in problems["rejected"]:
        print(f"Unusable: {file['path']} {file['reason']}")
    for pair in problems["leaks"]:
        print(f"Leak: {pair[0]} = {pair[1]}")
    for pair in problems["near_duplicates"]:
        if pair not in problems["leaks"]:
            print(f"Near-duplicate: {pair[0]} = {pair[1]}")
    for warning in problems["warnings"]:
        print(f"Warning: {warning}")
    if facts["obstacle"]:
        print(f"No classifier can be made of these: {facts['obstacle']}")
    elif not any(problems.values()):
        print("No problems found")
