"""The jobs behind the commands: from photos to a run, a check, or an evaluation."""

import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from handful.backbones import DEFAULT_BACKBONE, find_backbone, frozen_network
from handful.cache import ContentCache
from handful.classifier import Classifier
from handful.config import TrainConfig, cache_folder
from handful.efficientnet_lite import LITE_VARIANTS
from handful.embeddings import (
    Embedder,
    EmbeddingTable,
    View,
    embed_index,
    scan_index,
)
from handful.errors import DataError
from handful.evaluation import Evaluation, score
from handful.figure_process import FigureProcess
from handful.files import new_folder
from handful.heads import fit_head
from handful.index import ImageIndex, load_index
from handful.pixels import DecodeSettings, read_header
from handful.run_files import (
    Run,
    next_run_path,
    read_run_config,
    split_problems,
    write_facts,
    write_run,
)
from handful.splits import (
    Split,
    near_duplicate_pairs,
    read_manifest,
    split_index,
    write_manifest,
)
from handful.strategies import TrainingJob, chosen_recipe, train_strategy

__all__ = [
    "PhotoCheck",
    "Run",
    "check",
    "evaluate",
    "next_run_path",
    "read_run_config",
    "train",
]

PhaseProgress = Callable[[str, int, int], None]
_PHOTOS_TIMED = 256


@dataclass(frozen=True, eq=False)
class PhotoCheck:
    """What `check` found in a set of photos.

    Args:
        index: Readable photos; the others are in its `rejected`.
        split: Near-duplicate groups and leaks between given splits; None where the photos
            cannot be split, for the reason in `obstacle`.
        obstacle: Why no classifier can be made of these photos, or "".
        sizes: (N, 2) width and height of each photo in pixels.
        formats: Number of photos of each format.
    """

    index: ImageIndex
    split: Split | None
    obstacle: str
    sizes: np.ndarray[Any, np.dtype[np.int64]]
    formats: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """The findings in plain values, as `handful check --json` prints them.

        Returns:
            Names and values are described in docs/file-formats.md.
        """
        sides = {"width": self.sizes[:, 0], "height": self.sizes[:, 1]}
        return {
            "num_images": len(self.index),
            "class_names": list(self.index.class_names),
            "counts": self.index.counts(),
            "formats": self.formats,
            "sizes": {
                name: {
                    "smallest": int(side.min()),
                    "median": float(np.median(side)),
                    "largest": int(side.max()),
                }
                for name, side in sides.items()
                if len(side)
            },
            "obstacle": self.obstacle,
            "problems": split_problems(self.split)
            if self.split
            else {
                "rejected": [asdict(file) for file in self.index.rejected],
                "near_duplicates": [],
                "leaks": [],
                "dropped": [],
                "warnings": list(self.index.warnings),
            },
        }


@dataclass
class _Clock:
    """Phase seconds, told to whoever watches."""

    progress: PhaseProgress | None
    seconds: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    def tell(self, name: str) -> Callable[[int, int], None]:
        def told(done: int, total: int) -> None:
            if self.progress is not None:
                self.progress(name, done, total)

        return told

    @contextmanager
    def phase(self, name: str) -> Iterator[Callable[[int, int], None]]:
        begun = time.perf_counter()
        tell = self.tell(name)
        tell(0, 0)
        yield tell
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begun


def train(
    photos: str | Path | Split,
    config: TrainConfig | None = None,
    *,
    output: str | Path | None = None,
    manifest: str | Path | None = None,
    network: Callable[..., Any] | None = None,
    resume: bool = False,
    use_cache: bool = True,
    measure_speed: bool = False,
    progress: PhaseProgress | None = None,
    say: Callable[[str], None] | None = None,
) -> Run:
    """Make a classifier from labelled photos.

    Args:
        photos: Class folders, `train/` and `validation/` (and `test/`) of them, a zip of
            either, or a CSV with the columns path,label[,split]. Or a split of photos, which is
            taken as it is.
        config: What to make; None takes the defaults.
        output: Folder to write the run to: report, figures, classifier, run.json. None writes
            nothing. While a network trains, its state after each epoch is kept in the folder of
            that name with ".checkpoint" added; it goes when training has ended.
        manifest: split.csv of an earlier run: its photos stay in their parts.
        network: Builds a network of your own for the strategies "scratch" and "augmented":
            `network(input_shape, num_classes)` returns a Keras model that ends in probabilities.
        resume: Go on from the checkpoint of `output`, where there is one.
        use_cache: Look embeddings up and keep them.
        measure_speed: Time prediction too, see `Run.photos_per_second`.
        progress: Called with (phase, photos done, photos in all).
        say: Told how long training will take, before it begins.

    Returns:
        The run: `run.classifier`, `run.evaluation`, `run.split`.

    Raises:
        DataError: When no classifier can be made of the photos; says why.
        WeightsError: When the backbone's weights are missing or wrong.
        TrainingError: When training diverges.
        OutputError: When the output exists or cannot be written.

    Example:
        ```python
        run = train("photos/", output="runs/photos")
        print(run.evaluation.accuracy, run.evaluation.accuracy_interval)
        ```
    """
    config = config or TrainConfig()
    recipe = chosen_recipe(config)  # Wrong options are found before the work.
    if network is not None and config.strategy not in ("scratch", "augmented"):
        raise ValueError(
            f"network is given and strategy {config.strategy!r}; a network of one's own is "
            'trained by the strategies "scratch" and "augmented".'
        )
    clock = _Clock(progress)
    if isinstance(photos, Split) and manifest is not None:
        raise ValueError("manifest is given beside a split; expected one of the two.")
    given = photos if isinstance(photos, Split) else None
    source = photos.index.source if isinstance(photos, Split) else Path(photos)
    task = _Task(source, config, manifest, given, use_cache, measure_speed, network, say)
    if output is None:
        return _train(task, clock, None, resume)
    checkpoint = checkpoint_path(Path(output)) if recipe is not None else None
    goes_on = resume and checkpoint is not None and checkpoint.is_dir()
    # Making the folder first: an output that cannot be written is found before the work.
    with (
        new_folder(Path(output), replace=goes_on) as folder,
        FigureProcess() as figures,
    ):
        run = _train(task, clock, checkpoint, resume)
        with clock.phase("report"):
            figures.start(run.evaluation, folder)
            write_run(run, folder)
            figures.finish()
        clock.seconds["total"] = time.perf_counter() - clock.started
        run = replace(run, path=Path(output))
        write_facts(run, folder)
    if checkpoint is not None and run.stopped not in ("interrupted", "time"):
        shutil.rmtree(checkpoint, ignore_errors=True)
    return run


def checkpoint_path(output: Path) -> Path:
    """Folder that keeps the state of the training of a run.

    Args:
        output: The run's folder.

    Returns:
        A folder beside it.
    """
    return output.with_name(output.name + ".checkpoint")


def unfinished_run_path(photos: str | Path, folder: Path = Path("runs")) -> Path:
    """Place of the latest run on these photos whose training did not end.

    Args:
        photos: Path of the photos.
        folder: Folder of all runs.

    Returns:
        The run's place, such as runs/photos-2.

    Raises:
        DataError: When there is none.
    """
    name = Path(photos).resolve().stem or "photos"
    found = [
        path.with_name(path.name.removesuffix(".checkpoint"))
        for path in folder.glob("*.checkpoint")
        if re.fullmatch(re.escape(name) + r"(-\d+)?\.checkpoint", path.name)
    ]
    if not found:
        raise DataError(
            f"There is no unfinished training on {photos} in {folder}; give its place with "
            "--output, or leave --resume out."
        )
    return max(found, key=lambda path: checkpoint_path(path).stat().st_mtime)


def evaluate(
    classifier: Classifier,
    photos: str | Path,
    *,
    part: str | None = None,
    use_cache: bool = True,
    progress: PhaseProgress | None = None,
) -> tuple[Evaluation, ImageIndex]:
    """Score a classifier on labelled photos.

    Args:
        classifier: The classifier.
        photos: As for `train`; its classes must be among the classifier's.
        part: "train", "validation" or "test" of photos that come split; None takes test, or
            else validation.
        use_cache: Look embeddings up and keep them.
        progress: Called with (phase, photos done, photos in all).

    Returns:
        The scores, and the index of the photos scored, with those rejected.

    Raises:
        DataError: When the photos cannot be used; says why.
    """
    clock = _Clock(progress)
    with clock.phase("index"):
        index = _part_of(load_index(photos, least_classes=1), part)
        index = index.with_class_names(classifier.class_names)
    with clock.phase("embed") as tell, _open_cache(use_cache) as cache:
        result = classifier.predict_index(index, cache=cache, progress=tell)
    if not len(result.index):
        raise DataError(f"{photos} has no readable photo to evaluate on; see `handful check`.")
    evaluation = score(
        result.probabilities, result.index.labels, classifier.class_names, result.index.paths
    )
    return evaluation, result.index


def check(
    photos: str | Path,
    config: TrainConfig | None = None,
    *,
    use_cache: bool = True,
    progress: PhaseProgress | None = None,
) -> PhotoCheck:
    """Look for what would spoil a classifier, without making one.

    Args:
        photos: As for `train`.
        config: Its decoding, split and seed are used.
        use_cache: Look results up and keep them.
        progress: Called with (phase, photos done, photos in all).

    Returns:
        Counts, sizes, unreadable files, exact and near-duplicates, leaks between splits.

    Raises:
        DataError: When there are no labelled photos to look at.
    """
    config = config or TrainConfig()
    clock = _Clock(progress)
    with clock.phase("index"):
        index = load_index(photos)
    settings = DecodeSettings(config.image_size or 224, config.decode_resize, config.max_megapixels)
    with clock.phase("decode") as tell, _open_cache(use_cache) as cache:
        table = scan_index(index, settings, cache=cache, progress=tell)
    index, table = _readable(index, table)
    headers = [read_header(index.read(row)) for row in range(len(index))]
    formats = [header.format for header in headers]
    pairs = near_duplicate_pairs(table.fingerprints)
    try:
        split, obstacle = _split(index, pairs, config, {}), ""
    except DataError as error:
        split, obstacle = None, str(error)
    return PhotoCheck(
        index,
        split,
        obstacle,
        np.array([(header.width, header.height) for header in headers], np.int64).reshape(-1, 2),
        {name: formats.count(name) for name in sorted(set(formats))},
    )


@dataclass(frozen=True, eq=False)
class _Task:
    """The arguments of `train`."""

    photos: Path
    config: TrainConfig
    manifest: str | Path | None
    split: Split | None
    use_cache: bool
    measure_speed: bool
    network: Callable[..., Any] | None
    say: Callable[[str], None] | None


def _train(task: _Task, clock: _Clock, checkpoint: Path | None, resume: bool) -> Run:
    known = read_manifest(Path(task.manifest)) if task.manifest is not None else {}
    with clock.phase("index"):
        index = load_index(task.photos) if task.split is None else task.split.index
    if chosen_recipe(task.config) is None:
        run = _fit_head(task, index, known, clock)
    else:
        run = _train_network(task, index, known, clock, checkpoint, resume)
    if task.measure_speed:
        run = replace(run, photos_per_second=_prediction_speed(run))
    clock.seconds["total"] = time.perf_counter() - clock.started
    return run


def _prediction_speed(run: Run) -> float:
    """Photos a second from files to probabilities, nothing cached."""
    index = run.split.index.select(run.split.validation[:_PHOTOS_TIMED])
    run.classifier.predict_index(index.select([0]))  # the first compiles
    started = time.perf_counter()
    run.classifier.predict_index(index)
    return len(index) / (time.perf_counter() - started)


def _train_network(
    task: _Task,
    index: ImageIndex,
    known: Mapping[str, str],
    clock: _Clock,
    checkpoint: Path | None,
    resume: bool,
) -> Run:
    """Train a network in epochs; near-duplicates are found by thumbnails alone."""
    config = task.config
    with _open_cache(task.use_cache) as cache:
        with clock.phase("decode") as tell:
            settings = DecodeSettings(224, config.decode_resize, config.max_megapixels)
            table = scan_index(index, settings, cache=cache, progress=tell)
        index, table = _readable(index, table, task.split)
        split = task.split or _split(index, near_duplicate_pairs(table.fingerprints), config, known)
        with clock.phase("train"):
            trained = train_strategy(
                TrainingJob(
                    split, config, checkpoint, resume, cache, clock.tell, task.say, task.network
                )
            )
    held_out = split.part("validation")
    with clock.phase("evaluate") as tell:
        probabilities = trained.probabilities
        if probabilities is None:
            probabilities = trained.classifier.predict_index(held_out, progress=tell).probabilities
        evaluation = score(probabilities, held_out.labels, index.class_names, held_out.paths)
    counts = {"hits": trained.hits, "misses": trained.misses}
    return Run(
        trained.classifier,
        evaluation,
        split,
        config,
        task.photos,
        clock.seconds,
        counts,
        trained=trained,
    )


def freeze_split(photos: str | Path, config: TrainConfig, manifest: Path) -> None:
    """Split photos once, and write down which went where.

    Args:
        photos: As for `train`.
        config: Its split and seed are used; near-duplicates are found by thumbnails.
        manifest: CSV file to write, for `train`.

    Raises:
        DataError: When the photos cannot be split.
    """
    index = load_index(photos)
    settings = DecodeSettings(224, config.decode_resize, config.max_megapixels)
    index, table = _readable(index, scan_index(index, settings))
    write_manifest(_split(index, near_duplicate_pairs(table.fingerprints), config, {}), manifest)


def _fit_head(task: _Task, index: ImageIndex, known: Mapping[str, str], clock: _Clock) -> Run:
    """Fit a head to a frozen network's embeddings."""
    config = task.config
    with clock.phase("convert"):
        weights = Path(config.weights) if config.weights else None
        backbone = find_backbone(config.backbone or DEFAULT_BACKBONE, weights, config.image_size)
        # 8 bits cost no accuracy that could be measured, and suit any processor.
        eight_bits = config.precision == "auto" and backbone.name in LITE_VARIANTS
        precision = "int8" if eight_bits else config.precision
        network = frozen_network(backbone, precision=precision)
    embedder = Embedder(network, precision)
    settings = DecodeSettings(network.image_size, config.decode_resize, config.max_megapixels)
    views: tuple[View, ...] = (0, "mirror") if config.test_time_mirror else (0,)
    with clock.phase("embed") as tell, _open_cache(task.use_cache) as cache:
        table = embed_index(index, embedder, settings, views=views, cache=cache, progress=tell)
        index, table = _readable(index, table, task.split)
        split = task.split
        if split is None:
            pairs = near_duplicate_pairs(table.fingerprints, table.embeddings[:, 0])
            split = _split(index, pairs, config, known)
        fitted, extra = table.embeddings[split.train][:, :1], None
        if config.views > 1:
            extra = embed_index(
                index.select(split.train),
                embedder,
                settings,
                views=tuple(range(1, config.views)),
                cache=cache,
                progress=tell,
            )
            fitted = np.concatenate([fitted, extra.embeddings], axis=1)
    tables = [part for part in (table, extra) if part is not None]
    clock.seconds["decode"] = sum(part.decode_seconds for part in tables)
    with clock.phase("fit"):
        head = fit_head(
            fitted,
            index.labels[split.train],
            len(index.class_names),
            groups=split.groups[split.train],
            class_weight=config.class_weight,
            seed=config.seed,
        )
    classifier = Classifier(
        index.class_names,
        network,
        head,
        settings,
        precision=precision,
        test_time_mirror=config.test_time_mirror,
        about=backbone.about,
    )
    with clock.phase("evaluate"):
        held = split.validation
        evaluation = score(
            head.predict_proba(table.embeddings[held].mean(axis=1)),
            index.labels[held],
            index.class_names,
            [index.paths[row] for row in held],
        )
    counts = {"hits": sum(t.hits for t in tables), "misses": sum(t.misses for t in tables)}
    return Run(classifier, evaluation, split, config, task.photos, clock.seconds, counts)


def _split(
    index: ImageIndex,
    pairs: Sequence[tuple[int, int]],
    config: TrainConfig,
    manifest: Mapping[str, str],
) -> Split:
    return split_index(
        index,
        pairs=pairs,
        validation_fraction=config.validation_fraction,
        seed=config.seed,
        manifest=manifest,
        drop_leaks=config.drop_leaks,
    )


def _readable(
    index: ImageIndex, table: EmbeddingTable, split: Split | None = None
) -> tuple[ImageIndex, EmbeddingTable]:
    """The photos that can be decoded; of a given split that must be all."""
    if not table.rejected:
        return index, table
    if split is not None:
        lines = [f"{index.paths[row]} {reason}" for row, reason in table.rejected.items()]
        raise DataError(
            f"{len(lines)} photos of the split cannot be decoded: {'; '.join(lines[:5])}. Leave "
            "them out with `index.without`, and split again."
        )
    rows = np.array([row for row in range(len(index)) if row not in table.rejected], dtype=np.int64)
    return index.without(table.rejected), table.select(rows)


@contextmanager
def _open_cache(use_cache: bool) -> Iterator[ContentCache | None]:
    if not use_cache:
        yield None
        return
    with ContentCache(embedding_cache_path()) as cache:
        yield cache


def embedding_cache_path() -> Path:
    """Place of the embedding cache.

    Returns:
        A SQLite file in the cache folder.
    """
    return cache_folder() / "embeddings.sqlite"


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


def cache_info() -> dict[str, Any]:
    """What the cache folder holds.

    Returns:
        "path", "embeddings", "pictures", "networks" (names), "bytes" of all files.
    """
    folder = cache_folder()
    with ContentCache(embedding_cache_path()) as cache:
        rows = cache.info().num_rows
    files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    return {
        "path": str(folder),
        "embeddings": rows.get("embedding", 0),
        "pictures": rows.get("picture", 0),
        "networks": sorted(path.parent.name for path in folder.glob("networks/*/network.xml")),
        "bytes": sum(path.stat().st_size for path in files),
    }


def clear_cache() -> None:
    """Remove cached embeddings and converted networks; they are made again at need.

    Raises:
        OutputError: When the system refuses.
    """
    with ContentCache(embedding_cache_path()) as cache:
        cache.clear()
    # The networks' folder holds nothing else.
    shutil.rmtree(cache_folder() / "networks", ignore_errors=True)
