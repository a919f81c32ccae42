"""The jobs behind the commands: from photos to a run, a check, or an evaluation."""

import csv
import json
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from handful.backbones import find_backbone, frozen_network
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
from handful.pixels import DecodeSettings, read_header, thumbnail
from handful.report import ReportData, ReportPicture, write_report
from handful.splits import (
    Split,
    near_duplicate_pairs,
    read_manifest,
    split_index,
    write_manifest,
)

PhaseProgress = Callable[[str, int, int], None]
RUN_FILE = "run.json"
MANIFEST_FILE = "split.csv"
_PICTURES_A_SECTION = 24
_EXAMPLES_A_CLASS = 6
_CLASSES_WITH_EXAMPLES = 40


@dataclass(frozen=True, eq=False)
class Run:
    """What `train` made.

    Args:
        classifier: Ready to predict.
        evaluation: Its scores on the validation photos, which fitting never saw.
        split: Which photo went where, with near-duplicates and leaks.
        config: What was asked.
        photos: The folder, zip or CSV trained on.
        seconds: Time of each phase and in all; "decode" is summed over threads and overlaps
            "embed", "convert" is the network's one-time conversion.
        cache: "hits" and "misses" of the embedding cache.
        path: The run's folder, or None when nothing was written.
    """

    classifier: Classifier
    evaluation: Evaluation
    split: Split
    config: TrainConfig
    photos: Path
    seconds: dict[str, float]
    cache: dict[str, int]
    path: Path | None = None

    def problems(self) -> dict[str, Any]:
        """What was found wrong with the photos.

        Returns:
            "rejected" (path and reason), "near_duplicates" and "leaks" (pairs of paths),
            "dropped" (paths), "warnings" (texts).
        """
        return split_problems(self.split)

    def to_dict(self) -> dict[str, Any]:
        """The run in plain values, as `handful train --json` prints it.

        Returns:
            Names and values are described in docs/file-formats.md.
        """
        return {
            "accuracy": self.evaluation.accuracy,
            "accuracy_interval": list(self.evaluation.accuracy_interval),
            "num_train": len(self.split.train),
            "num_validation": len(self.split.validation),
            "class_names": list(self.classifier.class_names),
            "backbone": self.config.backbone,
            "seconds": {name: round(value, 4) for name, value in self.seconds.items()},
            "cache": dict(self.cache),
            "problems": self.problems(),
            "run_path": None if self.path is None else str(self.path),
        }


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

    @contextmanager
    def phase(self, name: str) -> Iterator[Callable[[int, int], None]]:
        begun = time.perf_counter()

        def tell(done: int, total: int) -> None:
            if self.progress is not None:
                self.progress(name, done, total)

        tell(0, 0)
        yield tell
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begun


def train(
    photos: str | Path,
    config: TrainConfig | None = None,
    *,
    output: str | Path | None = None,
    manifest: str | Path | None = None,
    use_cache: bool = True,
    progress: PhaseProgress | None = None,
) -> Run:
    """Make a classifier from labelled photos.

    Args:
        photos: Class folders, `train/` and `validation/` (and `test/`) of them, a zip of
            either, or a CSV with the columns path,label[,split].
        config: What to make; None takes the defaults.
        output: Folder to write the run to: report, figures, classifier, run.json. None writes
            nothing.
        manifest: split.csv of an earlier run: its photos stay in their parts.
        use_cache: Look embeddings up and keep them.
        progress: Called with (phase, photos done, photos in all).

    Returns:
        The run: `run.classifier`, `run.evaluation`, `run.split`.

    Raises:
        DataError: When no classifier can be made of the photos; says why.
        WeightsError: When the backbone's weights are missing or wrong.
        OutputError: When the output exists or cannot be written.

    Example:
        ```python
        run = train("photos/", output="runs/photos")
        print(run.evaluation.accuracy, run.evaluation.accuracy_interval)
        ```
    """
    config = config or TrainConfig()
    clock = _Clock(progress)
    if output is None:
        return _train(Path(photos), config, manifest, use_cache, clock)
    # Making the folder first: an output that cannot be written is found before the work.
    with new_folder(Path(output)) as folder, FigureProcess() as figures:
        run = _train(Path(photos), config, manifest, use_cache, clock)
        with clock.phase("report"):
            figures.start(run.evaluation, folder)
            _write_run(run, folder)
            figures.finish()
        clock.seconds["total"] = time.perf_counter() - clock.started
        run = Run(**{**_fields(run), "path": Path(output)})
        _write_facts(run, folder)
    return run


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
    settings = DecodeSettings(config.image_size or 224, config.resize, config.max_megapixels)
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


def split_problems(split: Split) -> dict[str, Any]:
    """What a split's photos have wrong with them, in plain values.

    Args:
        split: The split.

    Returns:
        As `Run.problems`.
    """
    index = split.index

    def paths(pairs: Sequence[tuple[int, int]]) -> list[list[str]]:
        return [[index.paths[i], index.paths[j]] for i, j in pairs]

    return {
        "rejected": [asdict(file) for file in index.rejected],
        "near_duplicates": paths(split.duplicates),
        "leaks": paths(split.leaks),
        "dropped": [index.paths[row] for row in split.dropped],
        "warnings": list(index.warnings),
    }


def next_run_path(photos: str | Path, folder: Path = Path("runs")) -> Path:
    """First free place for a run on these photos: runs/photos, runs/photos-2, ...

    Args:
        photos: Path of the photos; its name becomes the run's.
        folder: Folder of all runs.

    Returns:
        A path where nothing is.
    """
    name = Path(photos).resolve().stem or "photos"
    number = 1
    while (path := folder / (name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return path


def read_run_config(path: str | Path) -> tuple[Path, TrainConfig]:
    """Photos and configuration of an earlier run.

    Args:
        path: A run.json, or the run's folder.

    Returns:
        Path of the photos, and the configuration.

    Raises:
        DataError: When the file is missing or not a run's.
    """
    file = Path(path) / RUN_FILE if Path(path).is_dir() else Path(path)
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        return Path(facts["photos"]), TrainConfig(**facts["config"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{file} is not the run.json of a run ({error}); give the folder that "
            "`handful train` made."
        ) from error


def _train(
    photos: Path,
    config: TrainConfig,
    manifest: str | Path | None,
    use_cache: bool,
    clock: _Clock,
) -> Run:
    known = read_manifest(Path(manifest)) if manifest is not None else {}
    with clock.phase("index"):
        index = load_index(photos)
    with clock.phase("convert"):
        weights = Path(config.weights) if config.weights else None
        backbone = find_backbone(config.backbone, weights, config.image_size)
        # 8 bits cost no accuracy that could be measured, and suit any processor.
        eight_bits = config.precision == "auto" and backbone.name in LITE_VARIANTS
        precision = "int8" if eight_bits else config.precision
        network = frozen_network(backbone, precision=precision)
    embedder = Embedder(network, precision)
    settings = DecodeSettings(network.image_size, config.resize, config.max_megapixels)
    views: tuple[View, ...] = (0, "mirror") if config.test_time_mirror else (0,)
    with clock.phase("embed") as tell, _open_cache(use_cache) as cache:
        table = embed_index(index, embedder, settings, views=views, cache=cache, progress=tell)
        index, table = _readable(index, table)
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
        about={"backbone": backbone.name, "licence": backbone.licence, "source": backbone.source},
    )
    with clock.phase("evaluate"):
        held = split.validation
        evaluation = score(
            head.predict_proba(table.embeddings[held].mean(axis=1)),
            index.labels[held],
            index.class_names,
            [index.paths[row] for row in held],
        )
    clock.seconds["total"] = time.perf_counter() - clock.started
    counts = {"hits": sum(t.hits for t in tables), "misses": sum(t.misses for t in tables)}
    return Run(classifier, evaluation, split, config, photos, clock.seconds, counts)


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


def _readable(index: ImageIndex, table: EmbeddingTable) -> tuple[ImageIndex, EmbeddingTable]:
    if not table.rejected:
        return index, table
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


def _fields(run: Run) -> dict[str, Any]:
    return {name: getattr(run, name) for name in Run.__dataclass_fields__}


def _write_run(run: Run, folder: Path) -> None:
    run.classifier.save(folder / "classifier")
    write_manifest(run.split, folder / MANIFEST_FILE)
    with (folder / "history.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("strength", "log_loss", "accuracy"))
        for row in run.classifier.head.scores:
            writer.writerow((row.strength, row.log_loss, row.accuracy))
    write_report(report_data(run), folder)


def _write_facts(run: Run, folder: Path) -> None:
    facts = {
        "format": "handful run",
        "format_version": 1,
        "photos": str(run.photos.resolve()),
        "data_digest": run.split.index.digest(),
        "config": asdict(run.config),
        "result": {**run.to_dict(), "evaluation": run.evaluation.to_dict()},
        "versions": {
            "handful": version("handful"),
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "openvino", "opencv-python-headless")},
        },
    }
    text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
    (folder / RUN_FILE).write_text(text, encoding="utf-8")


def report_data(run: Run) -> ReportData:
    """Gather what the report page shows.

    Args:
        run: The run.

    Returns:
        Scores, thumbnails and texts.
    """
    index, evaluation = run.split.index, run.evaluation
    row_of = {index.paths[row]: int(row) for row in run.split.validation}
    predicted = evaluation.predicted

    def judged(number: int) -> ReportPicture:
        path = evaluation.paths[number]
        return ReportPicture(
            path,
            thumbnail(index.read(row_of[path])),
            index.class_names[evaluation.labels[number]],
            index.class_names[predicted[number]],
            float(evaluation.probabilities[number, predicted[number]]),
        )

    examples = {
        name: [
            ReportPicture(index.paths[row], thumbnail(index.read(row)), name, None, None)
            for row in run.split.train[index.labels[run.split.train] == number][:_EXAMPLES_A_CLASS]
        ]
        for number, name in enumerate(index.class_names[:_CLASSES_WITH_EXAMPLES])
    }
    return ReportData(
        title=run.photos.resolve().stem,
        evaluation=evaluation,
        evaluated_on="validation photos, which fitting never saw",
        counts=_part_counts(run.split),
        examples=examples,
        mistakes=[judged(number) for number in evaluation.mistakes(_PICTURES_A_SECTION)],
        least_certain=[judged(number) for number in evaluation.least_certain(_PICTURES_A_SECTION)],
        problems=_problem_lines(run.problems()),
        settings=_settings(run),
        seconds=run.seconds,
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


def _settings(run: Run) -> dict[str, str]:
    config, network = run.config, run.classifier.network
    return {
        "Backbone": f"{config.backbone}, frozen, {network.embedding_dim} features",
        "Picture size": f"{network.image_size} x {network.image_size} pixels, {config.resize}",
        "Precision": run.classifier.embedder.precision,
        "Head": f"logistic regression, strength C = {run.classifier.head.strength:.2g}, "
        "chosen by cross-validation on the training photos",
        "Views of each training photo": str(config.views),
        "Mirror at prediction": "yes" if config.test_time_mirror else "no",
        "Seed": str(config.seed),
        "handful": version("handful"),
    }


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
