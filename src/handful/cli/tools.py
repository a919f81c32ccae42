"""The other commands: runs and caches, figures and networks, data sets, servers and exports."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from handful.augmentation_policy import AugmentationPolicy
from handful.cli import results, terminal
from handful.cli.flags import takes
from handful.cli.frame import Json, Quiet, RunPath, errors, makes
from handful.config import RUNS_FOLDER, ServeConfig, StudioConfig, TrainConfig
from handful.environment import cache_folder


@errors()
def runs(
    folder: Annotated[Path, typer.Argument(help="Folder that the runs lie in.")] = RUNS_FOLDER,
    as_json: Json = False,
) -> None:
    """List the runs there are, the latest first."""
    from handful.run_store import store

    found = store.runs(folder)
    if as_json:
        terminal.print_json({"folder": str(folder), "runs": [row.to_dict() for row in found]})
    else:
        results.print_runs(found, folder)


@errors()
def cache(
    info: Annotated[bool, typer.Option("--info", help="Show what is cached and where.")] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Remove all of it.")] = False,
    as_json: Json = False,
) -> None:
    """Show or clear the cache of embeddings and converted networks; clearing is always safe."""
    from handful.workflows import cache as cached

    if info == clear:
        raise typer.BadParameter("give --info or --clear")
    if clear:
        cached.clear_cache()
    show = partial(results.print_cache, was_cleared=clear)
    results.give(cached.cache_info(), as_json, show)


@errors()
def demo(
    data: Annotated[
        Path | None,
        typer.Option(help="A cats_and_dogs_filtered.zip; else it is looked for, then fetched."),
    ] = None,
    output: Annotated[Path | None, makes(help="Folder to make [runs/NAME].")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run the main job on a default data set, fetched if need be."""
    from handful.datasets.registry import find_demo_data
    from handful.workflows import train as train_workflow

    with terminal.watch(quiet) as reporter:
        found = find_demo_data(data, cache_folder(), reporter)
        run = train_workflow.train(found.path, output=output, reporter=reporter)
    results.give(run, as_json, results.print_run)


@errors("nothing is left behind")
def figures(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="Folder that train, compare or curve made; or a run's name, or latest.",
        ),
    ],
    output: Annotated[Path | None, makes(help="Folder to make [RUN-figures].")] = None,
    as_json: Json = False,
) -> None:
    """Draw a run's charts as PNG files, for slides and theses; needs the extra "figures"."""
    from handful.workflows import figures as figures_workflow

    drawn = figures_workflow.figures(run, output=output)
    results.give(drawn, as_json, results.print_figures)


@errors()
@takes(TrainConfig, "seed")
@takes(AugmentationPolicy, into="policy", if_any=True)
def preview(
    config: TrainConfig,
    policy: AugmentationPolicy | None,
    photo: Annotated[Path, typer.Argument(help="The photo.")],
    recipe: Annotated[str, typer.Option(help="keras-tutorial or handful.")] = "keras-tutorial",
    image_size: Annotated[
        int | None, typer.Option(help="Side of what the network sees, in pixels [recipe's own].")
    ] = None,
    output: Annotated[Path | None, makes(help="PNG file to make [NAME-preview.png].")] = None,
    as_json: Json = False,
) -> None:
    """Draw what augmentation does to a photo: random views, and each parameter by itself.

    Any option of augmentation puts a policy of your own in the place of the recipe's.
    """
    from handful.workflows import preview as preview_workflow

    shown = preview_workflow.preview(
        photo, policy, recipe=recipe, image_size=image_size, seed=config.seed, output=output
    )
    results.give(shown, as_json, results.print_preview)


@errors()
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
    from handful.training import summaries

    found = summaries.summary(name, num_classes, image_size)
    results.give(found, as_json, results.print_summary)


@errors()
def backbones(as_json: Json = False) -> None:
    """List pretrained networks: license, size, features, and what each needs; nothing is fetched.

    Others: --backbone FILE (.onnx, .xml, .tflite, .keras), and hf:OWNER/NAME of a hub.
    """
    from handful.features import catalog

    found = catalog.backbones()
    if as_json:
        terminal.print_json({"backbones": [one.to_dict() for one in found]})
    else:
        results.print_backbones(found)


@errors()
def data(
    name: Annotated[str, typer.Argument(help="cats-vs-dogs or mnist.")],
    output: Annotated[Path | None, makes(help="Folder to make [data/NAME].")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Unpack a known data set into a folder, fetched if need be, with a sheet of examples."""
    from handful.datasets.archives import load_data

    with terminal.watch(quiet) as reporter:
        found = load_data(name, output=output, reporter=reporter)
    results.give(found, as_json, results.print_image_folder)


@errors("labels and trainings are kept")
@takes(StudioConfig)
def studio(
    config: StudioConfig,
    photos: Annotated[
        Path | None,
        typer.Argument(
            help="Folder or zip of photos, sorted or not, which stays as it is; or a project. "
            "Without it, the studio begins empty."
        ),
    ] = None,
) -> None:
    """Sort photos, train and try a classifier on a page in your browser; needs the extra "studio".

    It works offline and for this computer alone. Nothing of yours is moved or changed.
    """
    from handful.studio import server

    server.open_studio(photos, config, announce=partial(terminal.show, flush=True))


@errors("nothing is left behind")
def labels(
    project: Annotated[Path, typer.Argument(metavar="PROJECT", help="The project's folder.")],
    csv: Annotated[
        Path | None, typer.Option(help="CSV file to make: path,label of each sorted photo.")
    ] = None,
    folders: Annotated[
        Path | None, typer.Option(help="Folder to make, with a folder for each class in it.")
    ] = None,
    links: Annotated[
        bool, typer.Option("--links", help="Link to the photos in --folders; do not copy them.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what a project's photos are labeled, and write the labels out."""
    from handful.workflows import labels as labels_workflow

    found = labels_workflow.labels(project, csv=csv, folders=folders, links=links)
    results.give(found, as_json, results.print_labels)


@errors("nothing is left behind")
@takes(ServeConfig)
def serve(
    config: ServeConfig,
    run: RunPath,
) -> None:
    """Classify photos over HTTP, with a page to drop them on; needs the extra "serve".

    The log is JSON lines on stderr. Where HANDFUL_TOKEN is set, requests must bring it.
    """
    from handful.serving import server

    server.serve(run, config, announce=partial(terminal.show, flush=True))


@errors("nothing is left behind")
def export(
    run: RunPath,
    format: Annotated[str, typer.Option("--format", help="web, openvino, onnx, litert or keras.")],
    precision: Annotated[
        str | None,
        typer.Option(
            help="f32, bf16, int16 or int8 [int16 for web; the run's own int8 for openvino; "
            "else f32]."
        ),
    ] = None,
    output: Annotated[Path | None, makes(help="Folder to make [RUN-FORMAT].")] = None,
    photos: Annotated[
        Path | None,
        typer.Option(help="Photos to compare answers on [the run's validation photos]."),
    ] = None,
    runtime: Annotated[
        Path | None,
        typer.Option(
            help="For web: the npm package onnxruntime-web, a .tgz or its folder [fetched once]."
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a classifier for other programs, or as one web page, and compare its answers."""
    from handful.exporting import export_jobs

    with terminal.watch(quiet) as reporter:
        made = export_jobs.export(
            run,
            format,
            precision=precision,
            output=output,
            photos=photos,
            runtime=runtime,
            reporter=reporter,
        )
    results.give(made, as_json, results.print_export)
