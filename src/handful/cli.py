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

from handful.config import CompareConfig, TrainConfig, cache_folder
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
    str | None,
    typer.Option(
        help='"squash" keeps the whole photo, "crop" its proportions, "halfway" half of each '
        "[the recipe's own]."
    ),
]
Recipe = Annotated[
    str, typer.Option(help="handful (ours), exercise (the well-known one's), or mnist.")
]
Backbone = Annotated[
    str | None,
    typer.Option(
        help="Pretrained network: efficientnet-lite0, -lite1, -lite2, or a Keras Applications "
        "name such as xception [the recipe's]."
    ),
]
Weights = Annotated[
    Path | None, typer.Option(help="Weights file to use instead of the backbone's own.")
]
Network = Annotated[
    str | None,
    typer.Option(
        metavar="FILE.py:FUNCTION",
        help="A network of your own for scratch and augmented: build(input_shape, num_classes) "
        "returns a Keras model.",
    ),
]
Epochs = Annotated[int | None, typer.Option(help="Passes over the training photos [the recipe's].")]
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
    strategy: Annotated[
        str,
        typer.Option(
            help="transfer (a head on a pretrained network), scratch, augmented, fine-tune or "
            "distilled."
        ),
    ] = TrainConfig.strategy,
    recipe: Recipe = TrainConfig.recipe,
    backbone: Backbone = TrainConfig.backbone,
    weights: Weights = None,
    network: Network = None,
    epochs: Epochs = None,
    batch_size: Annotated[int | None, typer.Option(help="Photos a step [the recipe's].")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Largest learning rate [the recipe's].")
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            help="Stop after so many epochs without a better validation loss, and go back to the "
            "best."
        ),
    ] = None,
    time_budget: Annotated[
        float | None,
        typer.Option(metavar="MINUTES", help="Plan as many epochs as this allows."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an interrupted training ended.")
    ] = False,
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
                strategy=strategy,
                recipe=recipe,
                backbone=backbone,
                weights=str(weights) if weights else None,
                network=network,
                epochs=epochs,
                batch_size=batch_size,
                learning_rate=learning_rate,
                patience=patience,
                time_budget_minutes=time_budget,
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
        if output is None:
            place = runs.unfinished_run_path if resume else runs.next_run_path
            output = place(photos)
        with _progress(quiet) as progress:
            run = runs.train(
                photos,
                config,
                output=output,
                manifest=split,
                resume=resume,
                use_cache=not no_cache,
                progress=progress,
                say=None if quiet else _say,
            )
        if as_json:
            _print_json(run.to_dict())
        else:
            _print_run(run)
        if run.trained is not None and run.stopped in ("interrupted", "time"):
            fitted = run.trained.fitted
            _say(
                f"Stopped ({run.stopped}) after epoch {fitted.epochs} of {fitted.planned_epochs}; "
                f"{output} holds the classifier as it was then. The same command with --output "
                f"{output} --resume goes on."
            )
        if run.stopped == "interrupted":
            raise typer.Exit(130)


@app.command()
def compare(
    photos: Photos,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to make [runs/NAME-compare].")
    ] = None,
    strategy: Annotated[
        list[str] | None,
        typer.Option(help="Strategy to train; once for each. [those of the recipe]"),
    ] = None,
    recipe: Recipe = CompareConfig.recipe,
    seeds: Annotated[
        int, typer.Option(help="Trainings of each strategy, to see how much is luck.")
    ] = CompareConfig.num_seeds,
    quick: Annotated[
        bool, typer.Option("--quick", help="A first look in under three minutes, no fine-tune.")
    ] = CompareConfig.quick,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an interrupted comparison ended.")
    ] = False,
    backbone: Backbone = CompareConfig.backbone,
    weights: Weights = None,
    network: Network = None,
    epochs: Epochs = None,
    validation_fraction: ValidationFraction = CompareConfig.validation_fraction,
    seed: Seed = CompareConfig.seed,
    max_megapixels: Megapixels = CompareConfig.max_megapixels,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train several strategies on one split: table, curves, and which is better by how much."""
    from handful import compare_runs
    from handful.comparison_report import COMPARISON_FILE

    with _errors("what was trained is kept; the same command with --resume goes on"):
        config = CompareConfig(
            strategies=tuple(strategy or ()),
            recipe=recipe,
            num_seeds=seeds,
            quick=quick,
            backbone=backbone,
            weights=str(weights) if weights else None,
            network=network,
            epochs=epochs,
            validation_fraction=validation_fraction,
            seed=seed,
            max_megapixels=max_megapixels,
        )
        output = output or Path("runs") / f"{photos.resolve().stem}-compare"
        with _progress(quiet) as progress:
            comparison = compare_runs.compare(
                photos,
                config,
                output=output,
                resume=resume,
                progress=progress,
                say=None if quiet else _say,
            )
        if as_json:
            _print_json(comparison.to_dict())
        else:
            _print_comparison(comparison)
            print(f"Report: {output / COMPARISON_FILE}")


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


@app.command()
def preview(
    photo: Annotated[Path, typer.Argument(help="The photo.")],
    recipe: Annotated[str, typer.Option(help="Whose views: exercise or handful.")] = "exercise",
    image_size: Annotated[
        int | None, typer.Option(help="Side of what the network sees, in pixels [recipe's own].")
    ] = None,
    seed: Seed = TrainConfig.seed,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="PNG file to make [NAME-preview.png].")
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw what augmentation does to a photo: random views, and each parameter by itself."""
    from handful.plots import save_preview
    from handful.previews import preview_photo

    with _errors():
        shown = preview_photo(photo, recipe, image_size, seed)
        path = output or Path(f"{photo.stem}-preview.png")
        save_preview(shown, path)
        if as_json:
            facts = {"photo": str(photo), "recipe": recipe, "seed": seed, "picture": str(path)}
            _print_json({**facts, **shown.to_dict()})
        else:
            for strip in shown.strips:
                print(f"{strip.name:<20} {strip.range}")
            print(f"Picture: {path}")


@app.command()
def summary(
    name: Annotated[
        str,
        typer.Argument(
            help="scratch, mnist or small; a pretrained network such as xception or "
            "efficientnet-lite0; or file.py:build."
        ),
    ],
    num_classes: Annotated[int | None, typer.Option(help="Classes to tell [2; mnist 10].")] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side of the pictures, in pixels [network's own].")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print a network's layers, shapes and parameters; no weights are needed."""
    from handful.summaries import summarise

    with _errors():
        found = summarise(name, num_classes, image_size)
        if as_json:
            _print_json(found.to_dict())
        else:
            _print_summary(found)


@app.command()
def data(
    name: Annotated[str, typer.Argument(help="cats-vs-dogs or mnist.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to make [data/NAME].")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Unpack a known data set into a folder, fetched if need be, with a picture of examples."""
    from handful.picture_folders import make_picture_folder

    with _errors():
        with _progress(quiet) as progress:
            found = make_picture_folder(
                name, cache_folder(), output, progress, None if quiet else _say
            )
        if as_json:
            _print_json(found.to_dict())
        else:
            _print_picture_folder(found)


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
def _errors(
    kept: str = "nothing half-written is left; finished embeddings are cached, and finished "
    "epochs kept for --resume",
) -> Iterator[None]:
    """Turn what a user can mend into one line and exit code 1, Ctrl-C into 130."""
    try:
        yield
    except HandfulError as error:
        _fail(" ".join(str(error).split()), 1)
    except ValueError as error:
        _fail(str(error), 2)
    except KeyboardInterrupt:
        _fail(f"interrupted; {kept}", 130)
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
    converting = run.seconds.get("convert", 0.0)
    seconds = run.seconds["total"] - converting
    print(
        f"{len(run.split.train):,} training photos of {len(run.classifier.class_names)} classes, "
        f"{run.classifier.about['backbone']}, {seconds:.1f} s"
        + (f" and {converting:.1f} s to convert the network once" if converting > 1 else "")
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


def _print_comparison(comparison: Any) -> None:
    rows = [("strategy", "accuracy", "95 % interval", "gap", "seconds", "parameters", "photos/s")]
    for found in comparison.summaries:
        low, high = found.accuracy_interval
        spread = found.accuracy_deviation
        rows.append(
            (
                found.name,
                _percent(found.accuracy) + ("" if spread is None else f" ± {100 * spread:.1f}"),
                f"{_percent(low)} to {_percent(high)}",
                "-" if found.overfitting_gap is None else f"{100 * found.overfitting_gap:+.1f}",
                f"{found.seconds:,.0f}",
                f"{found.num_parameters:,}",
                f"{found.photos_per_second:,.0f}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *rest = (f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        print("  ".join([f"{first.strip():<{widths[0]}}", *rest]))
    if comparison.differences:
        print()
    for difference in comparison.differences:
        print(difference.sentence)
    print(f"\n{comparison.verdict}")
    for caution in comparison.cautions:
        print(caution)


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


def _print_summary(found: Any) -> None:
    rows = [("layer", "type", "output", "parameters")]
    for layer in found.layers:
        rows.append((layer.name, layer.type, _size(layer.output_shape), f"{layer.parameters:,}"))
    first, second, third, last = (max(map(len, column)) for column in zip(*rows, strict=True))
    for row in rows:
        print(f"{row[0]:<{first}}  {row[1]:<{second}}  {row[2]:<{third}}  {row[3]:>{last}}")
    print(f"\n{found.name}: {_size(found.input_shape)} in, {_size(found.output_shape)} out")
    print(
        f"{found.parameters:,} parameters: {found.trainable:,} trainable, "
        f"{found.non_trainable:,} not"
    )
    if found.body is not None:
        print(
            f"Frozen in it, {found.body.name} alone: {found.body.parameters:,} parameters, "
            f"{found.body.non_trainable:,} of them not trainable"
        )


def _size(shape: tuple[int | None, ...] | None) -> str:
    return "?" if shape is None else " x ".join("any" if n is None else f"{n}" for n in shape)


def _print_picture_folder(found: Any) -> None:
    before = "" if found.is_new else " It was there already, and is whole."
    print(f"{found.path}: {found.num_images:,} pictures.{before}")
    for part, classes in found.counts.items():
        print(f"  {part}: " + ", ".join(f"{name} ({count:,})" for name, count in classes.items()))
    print(f"Examples: {found.examples}")
    print(found.credit)


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
