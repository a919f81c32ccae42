"""The job behind `handful curve`: what more photos would bring, as figures and a page."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any

from handful.config import CURVE_OPTIONS, TrainConfig
from handful.data.fixes import load_fixed_index
from handful.data.index import ImageIndex
from handful.data.near_duplicates import near_duplicate_pairs
from handful.data.splits import duplicate_groups
from handful.display import Shown, job_reporter
from handful.errors import OutputError, UsageError
from handful.evaluation.curve_fitting import measure_curve
from handful.evaluation.learning_curve import (
    REACH,
    LearningCurve,
    PhotosNeeded,
    check_reach,
)
from handful.features.store import EmbeddingStore, open_store
from handful.files.atomic import new_folder, write_json
from handful.options import changed, check_fraction
from handful.reporting import Reporter
from handful.reports.curve_page import write_curve_page
from handful.run_store.store import Output, RunStore, run_name
from handful.training.steps import embed_images

CURVE_JSON = "curve.json"


@dataclass(frozen=True, eq=False, repr=False)
class CurveRun(Shown):
    """A learning curve of photos, and the answers asked of it.

    Args:
        curve: The curve.
        needed: What the target takes; None where no target was given.
        at: Photos per class that were asked about.
        photos: What was measured.
        class_names: Names of the classes.
        backbone: Name of the pretrained network.
        seed: Seed of all that was drawn at random.
        seconds: Time of each phase and in all.
        path: Folder of curve.html and curve.json, or None where nothing was written.
        warnings: What is odd about the photos.
    """

    curve: LearningCurve
    needed: PhotosNeeded | None
    at: tuple[int, ...]
    photos: Path
    class_names: tuple[str, ...]
    backbone: str
    seed: int
    seconds: dict[str, float]
    path: Path | None = None
    warnings: tuple[str, ...] = ()

    def _in_words(self) -> str:
        return self.sentences[-1] if self.needed else self.sentences[0]

    @property
    def sentences(self) -> tuple[str, ...]:
        """What to expect of the photos there are and of more, and the answers asked for."""
        there = self.curve.photos_a_class
        usual = tuple(there * factor for factor in (2, 4, REACH))
        sizes: tuple[float, ...] = self.at or usual
        lines = [self.curve.describe(size)["sentence"] for size in (there, *sizes)]
        return (*lines, *(() if self.needed is None else (self.needed.sentence,)))

    def to_dict(self) -> dict[str, Any]:
        """The curve and the answers in plain values, as `handful curve --json` prints them.

        Returns:
            Names and values are described in docs/file-formats.md.
        """
        return {
            "format": "handful curve",
            "format_version": 1,
            "photos": str(self.photos),
            "class_names": list(self.class_names),
            "backbone": self.backbone,
            "seed": self.seed,
            "curve": self.curve.to_dict(),
            "target": None if self.needed is None else asdict(self.needed),
            "at": [self.curve.describe(size) for size in self.at],
            "warnings": list(self.warnings),
            "seconds": {name: round(value, 4) for name, value in self.seconds.items()},
            "path": None if self.path is None else str(self.path),
        }


def curve(
    photos: str | Path,
    config: TrainConfig | None = None,
    *,
    target: float | None = None,
    at: Sequence[int] = (),
    output: Output = None,
    use_cache: EmbeddingStore | bool = True,
    reporter: Reporter | None = None,
    **options: Any,
) -> CurveRun:
    """Measure how accuracy grows with the number of photos, and say what more would bring.

    Photos for training and for validation are taken together, and each of them is held out in
    turn; those of a test part are left alone.

    Args:
        photos: As for `train`.
        config: Its network, decoding, class weights, fixes and seed are used.
        target: Accuracy wanted, a fraction in (0, 1), or None.
        at: Photos per class to expect an accuracy for, from those that the curve begins with up to
            8 times those that there are.
        output: Folder to make, with curve.html and curve.json. None takes runs/NAME-curve, or the
            next that is free; False writes nothing.
        use_cache: Look embeddings up and keep them, in the user's own store; or a store to use.
        reporter: Told how far it is; None shows it, see `train`.
        **options: Options by name, instead of a `config` or changing it; those of
            `handful.config.CURVE_OPTIONS`.

    Returns:
        The curve and the answers.

    Raises:
        DataError: When the photos are too few or cannot be used, or a size is out of reach.
        WeightsError: When the backbone's weights are missing or wrong.
        OutputError: When the output exists or cannot be written.
        UsageError: When the target is not in (0, 1), or `at` no list of numbers.

    Example:
        ```python
        found = curve("photos/", target=0.95, at=[200, 500])
        print(found.needed.sentence, found.path)
        ```
    """
    config = changed(config or TrainConfig(), options, job=curve, names=CURVE_OPTIONS)
    if target is not None:
        check_fraction(target, "target", 0.95)
    is_list = isinstance(at, Iterable) and not isinstance(at, str)
    if not is_list or not all(isinstance(size, Real) for size in at):
        raise UsageError(f"`at` is {at!r}; expected photos per class, such as [200, 500].")
    path = RunStore().output(output, photos, "-curve")
    reporter = job_reporter(reporter)
    if path is None:
        return _measure(Path(photos), config, target, at, use_cache, reporter)
    with new_folder(path) as folder:
        run = _measure(Path(photos), config, target, at, use_cache, reporter)
        try:
            with reporter.phase("report"):
                write_curve_page(run.to_dict(), run.sentences, run_name(photos), folder)
            run = replace(run, seconds=reporter.timings(), path=path)
            write_json(folder / CURVE_JSON, run.to_dict())
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}.") from error
    return run


def _measure(
    photos: Path,
    config: TrainConfig,
    target: float | None,
    at: Sequence[int],
    use_cache: EmbeddingStore | bool,
    reporter: Reporter,
) -> CurveRun:
    with reporter.phase("index"):
        index = _without_test(load_fixed_index(photos, config.fixes))
    for size in at:
        check_reach(size, len(index) / len(index.class_names))
    with open_store(use_cache) as store:
        index, embedded = embed_images(index, config, store, reporter)
    table = embedded.table
    with reporter.phase("fit"):
        groups, _ = duplicate_groups(index, near_duplicate_pairs(table.fingerprints))
        measured = measure_curve(
            table.embeddings[:, 0],
            index.labels,
            len(index.class_names),
            groups,
            seed=config.seed,
            class_weight=config.class_weight,
            class_names=index.class_names,
            sizes=at,
            progress=reporter.progress,
        )
    return CurveRun(
        curve=measured,
        needed=None if target is None else measured.photos_for(target),
        at=tuple(at),
        photos=photos,
        class_names=index.class_names,
        backbone=embedded.backbone.name,
        seed=config.seed,
        seconds=reporter.timings(),
        warnings=(*index.warnings, *_rejected(index)),
    )


def _rejected(index: ImageIndex) -> tuple[str, ...]:
    num = len(index.rejected)
    files = "1 file" if num == 1 else f"{num:,} files"
    return (f"{files} could not be used; see `handful check`.",) if num else ()


def _without_test(index: ImageIndex) -> ImageIndex:
    """A test part is for the finished classifier alone."""
    if "test" not in index.splits:
        return index
    return index.select([row for row, part in enumerate(index.splits) if part != "test"])
