"""The job behind `handful check`: what would spoil a classifier, without making one."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.checks.findings import Evidence, Finding, suggest_fixes
from handful.checks.labels import LabelReview, review_embeddings
from handful.checks.photos import find_problems
from handful.checks.shortcuts import Shortcut, measure_shortcuts
from handful.config import CHECK_OPTIONS, TrainConfig
from handful.data.decoding import thumbnail
from handful.data.fixes import Fix, load_fixed_index, read_fixes, refuse_existing, write_fixes
from handful.data.index import ImageIndex, check_classes, label_conflicts
from handful.data.inputs import path_of
from handful.data.near_duplicates import near_duplicate_pairs
from handful.data.splits import Split, duplicate_groups
from handful.display import Shown, job_reporter
from handful.errors import DataError, OutputError
from handful.features.store import EmbeddingStore, open_store
from handful.features.table import EmbeddingTable
from handful.files.atomic import new_folder, write_json
from handful.models.novelty import find_outliers
from handful.options import changed
from handful.reporting import Reporter
from handful.reports.check_page import CHECK_FILE, CheckData, Suspect, rows_to_show, write_check
from handful.run_store.store import Output, RunStore, run_name
from handful.training.steps import embed_images, scan_images, split_images
from handful.wording import number_of

CHECK_JSON = "check.json"
SUSPECTS_LISTED = 100


@dataclass(frozen=True, eq=False, repr=False)
class PhotoCheck(Shown):
    """What `check` found in a set of N photos.

    Args:
        index: Readable photos; the others are in its `rejected`.
        split: Near-duplicate groups and leaks between given splits; None where the photos
            cannot be split, for the reason in `train_error`.
        train_error: Why no classifier can be made of these photos, or "".
        findings: What would spoil a classifier, the most severe first.
        fixes: What the findings suggest, one fix for each path.
        review: Labels held against out-of-fold probabilities; None where nothing can be held
            out.
        reviewed: (n,) int64 rows of the index that the review's rows are.
        shortcuts: How well the classes can be told without looking at what the photos show.
        duplicates: Pairs of rows found to be near-duplicates, exact copies among them.
        parts: (N,) part of each photo, "" where nothing is split.
        sizes: (N, 2) width and height of each photo in pixels.
        formats: Number of photos of each format.
        photos: What was checked.
        seconds: Time of each phase and in all.
        fix_list: The fix list that was written, or None.
        page: The page that was written, or None.
        remarks: The index's warnings, without those that findings are made of.
    """

    index: ImageIndex
    split: Split | None
    train_error: str
    findings: tuple[Finding, ...]
    fixes: tuple[Fix, ...]
    review: LabelReview | None
    reviewed: NDArray[np.int64]
    shortcuts: tuple[Shortcut, ...]
    duplicates: tuple[tuple[int, int], ...]
    parts: tuple[str, ...]
    sizes: NDArray[np.int64]
    formats: dict[str, int]
    photos: Path
    seconds: dict[str, float]
    fix_list: Path | None = None
    page: Path | None = None
    remarks: tuple[str, ...] = ()

    def _in_words(self) -> str:
        found = Counter(finding.severity for finding in self.findings)
        counts = ", ".join(number_of(count, kind) for kind, count in found.items())
        page = "" if self.page is None else f"; {str(self.page)[-60:]}"
        return f"{number_of(len(self.index))}: {counts or 'no problems found'}{page}"

    def to_dict(self) -> dict[str, Any]:
        """The findings in plain values, as `handful check --json` prints them.

        Returns:
            Names and values are described in docs/file-formats.md.
        """
        return {
            "num_images": len(self.index),
            "class_names": list(self.index.class_names),
            "counts": self.index.counts(),
            "formats": self.formats,
            "sizes": self.side_statistics(),
            "train_error": self.train_error,
            "problems": self._problems(),
            "findings": [self._finding(finding) for finding in self.findings],
            "label_review": self._label_review(),
            "shortcuts": [shortcut.to_dict() for shortcut in self.shortcuts],
            "fixes": [asdict(fix) for fix in self.fixes],
            "fix_list": None if self.fix_list is None else str(self.fix_list),
            "page": None if self.page is None else str(self.page),
            "seconds": {name: round(value, 4) for name, value in self.seconds.items()},
        }

    def side_statistics(self) -> dict[str, dict[str, float]]:
        """Smallest, median and largest width and height.

        Returns:
            "width" and "height" to the name of a statistic to pixels; empty without photos.
        """
        sides = {"width": self.sizes[:, 0], "height": self.sizes[:, 1]}
        return {
            name: {
                "smallest": int(side.min()),
                "median": float(np.median(side)),
                "largest": int(side.max()),
            }
            for name, side in sides.items()
            if len(side)
        }

    def suspects(self) -> list[Suspect]:
        """Labels that are probably wrong, the most suspicious first.

        Returns:
            Photos with their given and their suggested class.
        """
        if self.review is None:
            return []
        names, review = self.index.class_names, self.review
        found = []
        for place in review.suspected.tolist():
            row, suggested = int(self.reviewed[place]), int(review.suggested[place])
            probability = float(review.probabilities[place, suggested])
            given = names[self.index.labels[row]]
            score = float(review.scores[place])
            found.append(Suspect(row, given, names[suggested], score, probability))
        return found

    def _label_review(self) -> dict[str, Any] | None:
        if self.review is None:
            return None
        suspects = self.suspects()
        return {
            "num_reviewed": len(self.reviewed),
            "num_suspected": len(suspects),
            "noise_rate": self.review.noise_rate,
            "suspects": [
                {
                    "path": self.index.paths[suspect.row],
                    "given": suspect.given,
                    "suggested": suspect.suggested,
                    "score": suspect.score,
                    "probability": suspect.probability,
                }
                for suspect in suspects[:SUSPECTS_LISTED]
            ],
        }

    def _finding(self, finding: Finding) -> dict[str, Any]:
        groups = [[self.index.paths[row] for row in group] for group in finding.groups]
        return {**asdict(finding), "groups": groups, "lines": list(finding.lines)}

    def _problems(self) -> dict[str, Any]:
        paths, parts = self.index.paths, self.parts
        return {
            "rejected": [asdict(file) for file in self.index.rejected],
            "near_duplicates": [[paths[i], paths[j]] for i, j in self.duplicates],
            "leaks": [[paths[i], paths[j]] for i, j in self.duplicates if parts[i] != parts[j]],
            "dropped": [],
            "warnings": list(self.index.warnings),
        }


def check(
    photos: str | Path,
    config: TrainConfig | None = None,
    *,
    output: Output = None,
    fix_list: str | Path | None = None,
    use_cache: EmbeddingStore | bool = True,
    reporter: Reporter | None = None,
    **options: Any,
) -> PhotoCheck:
    """Look for what would spoil a classifier, without making one.

    Photos are decoded and embedded as for training, so that a training afterwards is quick.

    Args:
        photos: As for `train`.
        config: Its network, decoding, split, fixes and seed are used.
        output: Folder to make, with the page and the findings as JSON; that of an earlier check
            is replaced, and fix lists in it stay. None takes runs/NAME-check; False writes nothing.
        fix_list: CSV file to write all suggested fixes to, those of `config.fixes` first; it may
            lie in `output`. None writes none.
        use_cache: Look results up and keep them, in the user's own store; or a store to use.
        reporter: Told how far it is; None shows it, see `train`.
        **options: Options by name, instead of a `config` or changing it; those of
            `handful.config.CHECK_OPTIONS`.

    Returns:
        What was found.

    Raises:
        DataError: When there are no labeled photos to look at.
        WeightsError: When the backbone's weights are missing or wrong.
        OutputError: When the fix list exists, or something cannot be written.

    Example:
        ```python
        found = check("photos/", fix_list="fixes.csv")
        print(found.page, [finding.title for finding in found.findings])
        ```
    """
    config = changed(config or TrainConfig(), options, job=check, names=CHECK_OPTIONS)
    path, reporter = RunStore().output(output, photos, "-check", once=True), job_reporter(reporter)
    if fix_list is not None:
        fix_list = path_of(fix_list, "fix_list", "a CSV file to make")
        refuse_existing(fix_list)
        _refuse_same(fix_list, path)
    with _output_folder(path) as folder:
        with reporter.phase("index"):
            index = load_fixed_index(photos, config.fixes, least_classes=1)
            conflicts = set(label_conflicts(index))
            remarks = tuple(line for line in index.warnings if line not in conflicts)
        index, table = _look(index, config, use_cache, reporter)
        with reporter.phase("examine"):
            found = _examine(index, table, config, Path(photos), fix_list, reporter)
            found = replace(found, remarks=remarks)
        if fix_list is not None:
            decided = read_fixes(config.fixes) if config.fixes else ()
            decisions = _merge(decided, found.fixes)
            write_fixes(decisions, _written_at(fix_list, path, folder))
        if folder is not None and path is not None:
            found = replace(found, page=path / CHECK_FILE)
            found = replace(found, seconds=reporter.timings())
            with reporter.phase("report"):
                _write(found, folder, config.max_megapixels)
    return replace(found, seconds=reporter.timings())


@contextmanager
def _output_folder(path: Path | None) -> Iterator[Path | None]:
    """A new folder, in the place of an earlier check's; made before the work."""
    if path is None:
        yield None
        return
    names = {item.name for item in path.iterdir()} if path.is_dir() else set()
    lists = [path / name for name in sorted(names) if name.endswith(".csv")]
    is_check = CHECK_FILE in names and names <= {
        CHECK_FILE,
        CHECK_JSON,
        *(file.name for file in lists if file.is_file()),
    }
    if path.exists() and not is_check:
        raise OutputError(
            f"{path} exists already and is not the folder of a check; choose another "
            "`output`, or remove it first."
        )
    # Lists in it stay, see `new_folder`.
    with new_folder(path, replace=is_check, keep_others=True) as folder:
        yield folder


def _place_inside(fix_list: str | Path, output: Path | None) -> Path | None:
    """Where in the output's folder a fix list goes; None for one that lies elsewhere."""
    if output is None:
        return None
    file, folder = Path(fix_list).resolve(), output.resolve()
    return file.relative_to(folder) if file.is_relative_to(folder) else None


def _written_at(fix_list: str | Path, output: Path | None, folder: Path | None) -> str | Path:
    """Where to write a fix list: into the new folder, which is to come, where it lies in there."""
    place = _place_inside(fix_list, output)
    return fix_list if place is None or folder is None else folder / place


def _refuse_same(fix_list: str | Path, output: Path | None) -> None:
    """Find out before the work that a fix list would be written over the check or its folder."""
    place = _place_inside(fix_list, output)
    if place is not None and str(place) in (".", CHECK_FILE, CHECK_JSON):
        raise OutputError(
            f"The fix list {fix_list} would take the place of the check's own; give another "
            "`fix_list`."
        )


def _merge(decided: tuple[Fix, ...], suggested: tuple[Fix, ...]) -> list[Fix]:
    """What was decided before, then what is new."""
    known = {fix.path for fix in decided}
    return [*decided, *(fix for fix in suggested if fix.path not in known)]


def _look(
    index: ImageIndex, config: TrainConfig, use_cache: EmbeddingStore | bool, reporter: Reporter
) -> tuple[ImageIndex, EmbeddingTable]:
    """Decode all photos, and embed them where labels can be reviewed."""
    counts = np.bincount(index.labels)
    with open_store(use_cache) as store:
        if (counts > 1).sum() < 2:
            return scan_images(index, config, store, reporter)
        index, embedded = embed_images(index, config, store, reporter)
    return index, embedded.table


def _examine(
    index: ImageIndex,
    table: EmbeddingTable,
    config: TrainConfig,
    photos: Path,
    fix_list: str | Path | None,
    reporter: Reporter,
) -> PhotoCheck:
    """Everything that follows from what was seen."""
    embeddings = table.embeddings[:, 0] if table.embeddings.size else None
    split, train_error = _try_split(index, table, config)
    if split is None:
        groups, duplicates = duplicate_groups(index, near_duplicate_pairs(table.fingerprints))
    else:
        groups, duplicates = split.groups, split.duplicates
    judged = _judge(index, table, embeddings, groups, config.seed)
    outliers = () if embeddings is None else find_outliers(embeddings, groups, config.seed).tolist()
    evidence = Evidence(
        index=index,
        parts=tuple(split.part_names() if split else index.splits),
        metadata=tuple(image for image in table.metadata if image is not None),
        measures=table.measures,
        fingerprints=table.fingerprints,
        pairs=duplicates,
        groups=groups,
        shortcuts=judged.shortcuts,
        review=judged.review,
        reviewed=judged.rows,
        outliers=tuple(outliers),
        photos=str(photos),
        fix_list="" if fix_list is None else str(fix_list),
        applied=config.fixes or "",
    )
    return _found(evidence, split, train_error, dict(reporter.seconds))


def _found(
    evidence: Evidence, split: Split | None, train_error: str, seconds: dict[str, float]
) -> PhotoCheck:
    """What the evidence says."""
    findings = find_problems(evidence)
    formats = [image.format for image in evidence.metadata]
    sizes = [(image.width, image.height) for image in evidence.metadata]
    return PhotoCheck(
        index=evidence.index,
        split=split,
        train_error=train_error,
        findings=findings,
        fixes=suggest_fixes(findings),
        review=evidence.review,
        reviewed=evidence.reviewed,
        shortcuts=evidence.shortcuts,
        duplicates=evidence.pairs,
        parts=evidence.parts,
        sizes=np.array(sizes, np.int64).reshape(-1, 2),
        formats={name: formats.count(name) for name in sorted(set(formats))},
        photos=Path(evidence.photos),
        seconds=seconds,
        fix_list=Path(evidence.fix_list) if evidence.fix_list else None,
    )


@dataclass(frozen=True, eq=False)
class _Judged:
    """What photos that can be held out tell: their rows, their labels' review, shortcuts."""

    rows: NDArray[np.int64]
    review: LabelReview | None = None
    shortcuts: tuple[Shortcut, ...] = ()


def _judge(
    index: ImageIndex,
    table: EmbeddingTable,
    embeddings: NDArray[np.float32] | None,
    groups: NDArray[np.int64],
    seed: int,
) -> _Judged:
    """Hold labels against out-of-fold answers, and look for what gives the classes away."""
    rows = _judgeable(index.labels, groups)
    if not len(rows):
        return _Judged(rows)
    names, labels = index.class_names, index.labels[rows]
    review: LabelReview | None = None
    if embeddings is not None:
        review = review_embeddings(embeddings[rows], labels, names, groups[rows], seed)
    metadata = [table.metadata[row] for row in rows]
    present, dense = np.unique(labels, return_inverse=True)
    shortcuts = measure_shortcuts(
        [image for image in metadata if image is not None],
        [PurePosixPath(index.paths[row]).suffix.lower() for row in rows],
        table.measures[rows],
        dense.astype(np.int64),
        [names[label] for label in present],
        groups[rows],
        seed,
    )
    return _Judged(rows, review, shortcuts)


def _try_split(
    index: ImageIndex, table: EmbeddingTable, config: TrainConfig
) -> tuple[Split | None, str]:
    """The split that training would make, or what stands in its way."""
    try:
        if not len(index):
            raise DataError(f"{index.source} has no photo that can be decoded.")
        check_classes(index)
        return split_images(index, table, config, {}), ""
    except DataError as error:
        return None, str(error)


def _judgeable(labels: NDArray[np.int64], groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of the classes of which a photo can be held out; none where that is one class only."""
    if not len(labels):
        return np.zeros(0, np.int64)
    pairs = np.unique(np.stack([labels, groups]), axis=1)
    enough = np.bincount(pairs[0]) > 1
    return np.flatnonzero(enough[labels]) if enough.sum() > 1 else np.zeros(0, np.int64)


def _write(found: PhotoCheck, folder: Path, max_megapixels: float) -> None:
    """Write the page, and the findings as JSON."""
    index, suspects = found.index, found.suspects()
    thumbnails = {
        row: thumbnail(index.read(row), max_megapixels=max_megapixels)
        for row in rows_to_show(found.findings, suspects)
    }
    data = CheckData(
        title=run_name(found.photos),
        num_images=len(index),
        class_names=index.class_names,
        counts=_named_counts(index.counts()),
        sizes=found.side_statistics(),
        formats=found.formats,
        findings=found.findings,
        paths=index.paths,
        labels=[index.class_names[label] for label in index.labels],
        thumbnails=thumbnails,
        suspects=suspects,
        train_error=found.train_error,
        fix_list="" if found.fix_list is None else str(found.fix_list),
        seconds=found.seconds["total"],
        splits=index.splits,
        photos=str(found.photos),
        remarks=found.remarks,
    )
    write_check(data, folder)
    write_json(folder / CHECK_JSON, found.to_dict())


def _named_counts(counts: Mapping[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """Counts by the names that the photos' own splits have, "" where they have none."""
    return {"" if part == "all" else part: numbers for part, numbers in counts.items()}
