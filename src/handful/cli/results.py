"""What each result looks like on a terminal."""

import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from handful.cli.spelling import with_options
from handful.cli.terminal import log, print_json, show, warn, warn_rejected
from handful.wording import format_rate, format_share, number_of, printable

if TYPE_CHECKING:  # A command loads what it prints, and nothing else.
    from handful.data.index import RejectedFile
    from handful.datasets.archives import ImageFolder
    from handful.evaluation.comparison import Comparison
    from handful.evaluation.evaluation import Evaluation
    from handful.exporting.export_jobs import Export
    from handful.features.catalog import BackboneInfo
    from handful.models.activation_maps import WrittenExplanations
    from handful.models.calibration import Abstention
    from handful.models.classifier import Prediction
    from handful.run_store.run import Run
    from handful.run_store.run_list import RunRow
    from handful.training.previews import Preview
    from handful.training.summaries import NetworkSummary
    from handful.workflows.answers import PhotoAnswers
    from handful.workflows.cache import CacheInfo
    from handful.workflows.check import PhotoCheck
    from handful.workflows.curve import CurveRun
    from handful.workflows.embed import PhotoEmbeddings
    from handful.workflows.figures import Figures
    from handful.workflows.labels import ProjectLabels
    from handful.workflows.sorting import SortedPhotos


class _Result(Protocol):
    def to_dict(self) -> dict[str, Any]: ...


R = TypeVar("R", bound=_Result)


@dataclass(frozen=True)
class Answers:
    """What a classifier says of photos, for one who reads or for a program.

    Args:
        predictions: One for each photo that could be read.
        rejected: Files that could not, or were not copied, with reasons.
        rule: When it says "not sure"; None where it always answers.
        source: Which photos the rule was found on; "" where no calibration is kept.
        copied: What was copied into folders.
    """

    predictions: "list[Prediction]"
    rejected: "Sequence[RejectedFile]"
    rule: "Abstention | None"
    source: str
    copied: "SortedPhotos | None"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `handful predict --json` prints them."""
        told: dict[str, Any] = {
            "predictions": [found.to_dict() for found in self.predictions],
            "errors": [asdict(file) for file in self.rejected],
        }
        if self.copied is not None:
            told["sorted"] = self.copied.to_dict()
        return told if self.rule is None else {**told, "abstaining": asdict(self.rule)}


def print_answers(answers: Answers) -> None:
    """Show predictions, and how often "not sure" is right."""
    print_predictions(answers.predictions)
    if answers.rule is not None and answers.source:
        print_abstention(answers.rule, answers.source, answers.predictions)


def give(result: R, as_json: bool, show_text: Callable[[R], None]) -> None:
    """Print a result.

    Args:
        result: The result.
        as_json: As one JSON object, and not for people.
        show_text: Prints it for people.
    """
    if as_json:
        print_json(result.to_dict())
    else:
        show_text(result)


def print_run(run: "Run") -> None:
    """Say what `train` made."""
    evaluation = run.evaluation
    show(evaluation.summary("validation photos"))
    if run.resampling is not None:
        show(*run.resampling.sentences)
    for limitation in run.limitations:
        if limitation != evaluation.chance_note:  # the verdict says it
            show(limitation)
    if run.ladder is not None:
        show("What was tried, by cross-validation of the training photos:")
        show(*(f"  {with_options(str(attempt))}" for attempt in run.ladder.attempts))
    converting = run.seconds.get("convert", 0.0)
    seconds = run.seconds["total"] - converting
    show(
        f"{len(run.split.train):,} training photos of {len(run.classifier.class_names)} classes, "
        f"{run.classifier.provenance['backbone']}, {seconds:.1f} s"
        + (f" and {converting:.1f} s to convert the network once" if converting > 1 else "")
    )
    split, review = run.split, run.label_review
    for number, what in (
        (len(split.index.rejected), "Files that could not be used"),
        (len(split.duplicates), "Pairs of near-duplicates"),
        (len(split.dropped), "Training photos left out because they leaked"),
        (0 if review is None else len(review.suspected), "Labels of training photos to check"),
    ):
        if number:
            show(f"{what}: {number:,}")
    warn(split.index.warnings)
    print_verdict(evaluation)
    if run.advice:
        show(with_options(run.advice))
    if run.path is not None:
        from handful.run_store.files import REPORT_FILE

        show(f"Report: {run.path / REPORT_FILE}")


def print_photo_answers(answers: "PhotoAnswers") -> None:
    """Say how many photos were named what, and where it is written."""
    for name, count in answers.labels.items():
        show(f"{name}: {count:,}")
    _print_parts(answers)


def print_photo_embeddings(embeddings: "PhotoEmbeddings") -> None:
    """Say what was embedded by what, and where it is written."""
    show(
        f"{embeddings.embedding_dim:,} x {embeddings.dtype} of {embeddings.backbone} for "
        f"{number_of(embeddings.num_photos - embeddings.num_refused)}"
    )
    _print_parts(embeddings)


def _print_parts(written: "PhotoAnswers | PhotoEmbeddings") -> None:
    if written.num_refused:
        show(f"Files that cannot be used, with reasons: {written.num_refused:,}")
    show(f"Parquet: {written.path}/ ({number_of(written.num_parts, 'file')})")


def print_comparison(comparison: "Comparison") -> None:
    """Say which strategy is better, and by how much."""
    rows = [("strategy", "accuracy", "95 % interval", "gap", "seconds", "parameters", "photos/s")]
    for found in comparison.summaries:
        low, high = found.accuracy_interval
        spread = found.accuracy_deviation
        rows.append(
            (
                found.name,
                format_share(found.accuracy) + ("" if spread is None else f" ± {100 * spread:.1f}"),
                f"{format_share(low)} to {format_share(high)}",
                "-" if found.overfitting_gap is None else f"{100 * found.overfitting_gap:+.1f}",
                f"{found.seconds:,.0f}",
                f"{found.num_parameters:,}",
                f"{found.photos_per_second:,.0f}",
            )
        )
    _show_table(rows)
    if comparison.differences:
        show()
    for difference in comparison.differences:
        show(difference.sentence)
    show("", comparison.verdict, *comparison.limitations)
    warn(comparison.warnings)
    if comparison.path is not None:
        from handful.reports.comparison_page import COMPARISON_FILE

        show(f"Report: {comparison.path / COMPARISON_FILE}")


def _show_table(rows: Iterable[tuple[str, ...]], left: int = 1) -> None:
    """Print lines of cells; the first `left` columns stand at the left, the others right."""
    rows = [tuple(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            f"{cell:<{width}}" if place < left else f"{cell:>{width}}"
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        show("  ".join(cells).rstrip())


def print_runs(runs: Sequence["RunRow"], folder: Path) -> None:
    """List runs.

    Args:
        runs: `RunRow`s.
        folder: The folder that they lie in.
    """
    rows = [
        (
            run.name,
            f"{run.date.astimezone():%Y-%m-%d %H:%M}",
            "-" if run.accuracy is None else format_share(run.accuracy),
            run.strategy or "-",
            "-" if run.photos is None else str(run.photos),
            "; ".join(filter(None, [run.note, run.state])),
        )
        for run in runs
    ]
    if not rows:
        show(f"No runs in {folder}; `handful train PHOTOS` makes one.")
        return
    _show_table([("name", "date", "accuracy", "strategy", "photos", "note"), *rows], left=6)


def print_cache(info: "CacheInfo", was_cleared: bool = False) -> None:
    """Say what is cached.

    Args:
        info: What there is now.
        was_cleared: Whether all else was removed just now.
    """
    show(f"{'Cleared' if was_cleared else 'Cache'}: {info.path}")
    show(f"  {info.embeddings:,} embeddings of {info.pictures:,} decoded photos")
    show(f"  {len(info.networks)} converted networks: {', '.join(info.networks)}")
    show(f"  {info.num_bytes / 1e6:,.1f} MB")


def print_evaluation(evaluation: "Evaluation") -> None:
    """Say how good a classifier is, class by class."""
    show(evaluation.summary(), "")
    rows = [
        (row.name, str(row.support), *map(_cell, (row.precision, row.recall, row.f1)))
        for row in evaluation.per_class
    ]
    _show_table([("class", "photos", "precision", "recall", "f1"), *rows])


def print_verdict(evaluation: "Evaluation") -> None:
    """Say what to expect of new photos, at the end."""
    from handful.evaluation.verdict import verdict

    show(verdict(evaluation))


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def print_predictions(predictions: list["Prediction"]) -> None:
    """Print a line for each photo."""
    if not predictions:
        return
    names = [
        p.label if p.is_confident in (None, True) else f"not sure ({p.label}?)" for p in predictions
    ]
    names = list(map(printable, names))
    paths = [printable(p.path) for p in predictions]
    width, label = max(map(len, paths)), max(map(len, names))
    for p, path, name in zip(predictions, paths, names, strict=True):
        line = f"{path:<{width}}  {name:<{label}}  {format_share(p.probability):>8}"
        if p.prediction_set is not None:
            line += "  {" + ", ".join(p.prediction_set) + "}"
        show(line + ("  looks unlike the training photos" if p.is_out_of_distribution else ""))


def print_abstention(rule: "Abstention", source: str, predictions: list["Prediction"]) -> None:
    """Say how many photos were answered, and what the threshold rests on.

    Args:
        rule: From which probability on they are answered.
        source: Of the photos that it was found on, see `Calibration`.
        predictions: All of them.
    """
    if rule.threshold is None or rule.observed_error is None:
        show(
            f"None answered: {rule.num_photos:,} photos could be held out in training, and cannot "
            "show any error rate. Train again, with more photos per class."
        )
        return
    answered = sum(bool(p.is_confident) for p in predictions)
    shown = format_rate(rule.shown_error_rate)
    less = ""
    if not rule.is_as_asked:
        less = f"; {format_rate(rule.error_rate)} cannot be shown on {rule.num_photos:,} photos"
    held_out = "validation photos"
    if source != "validation":
        held_out = "training photos, each judged by a classifier trained without it"
    show(
        f"{answered:,} of {len(predictions):,} answered: those with "
        f"{format_share(rule.threshold)} or more that look like the training photos. With "
        f"{format_rate(rule.confidence)} confidence, at most {shown} of such answers are wrong"
        f"{less}. Of {rule.num_photos:,} {held_out}, this answers "
        f"{format_share(rule.coverage)}, {format_share(rule.observed_error)} of them wrong."
    )


def print_explanations(written: "WrittenExplanations") -> None:
    """Say which pictures were written, and what their colors mean."""
    for found, picture in zip(written.explanations, written.pictures, strict=True):
        show(
            f"{found.path}  {found.class_name} rather than {found.rival_name}  "
            f"{format_share(found.probability)}  {picture}"
        )
    pairs = {(found.class_name, found.rival_name) for found in written.explanations}
    if pairs:
        shown, rival = pairs.pop() if len(pairs) == 1 else ("the class named first", "the second")
        show(f"Orange supports {shown}, blue supports {rival}; the dark border was cropped away.")
    warn_rejected(written.rejected)


def print_curve(found: "CurveRun") -> None:
    """Say what more photos would bring."""
    measured = found.curve
    show("photos per class  accuracy  single trainings")
    for point in measured.points:
        show(
            f"{point.photos_a_class:>16,.0f}  {format_share(point.accuracy):>8}  "
            f"± {100 * point.std:.1f}"
        )
    show("", *found.sentences)
    warn(found.warnings)
    if found.path is not None:
        show(f"Report: {found.path / 'curve.html'}")


def print_figures(drawn: "Figures") -> None:
    """Say where the figures are."""
    for file in drawn.files:
        show(f"Figure: {file}")


def print_preview(shown: "Preview") -> None:
    """Say what each parameter does, and where it can be seen."""
    for strip in shown.strips:
        show(f"{strip.name:<20} {strip.range}")
    if shown.path is not None:
        show(f"Image: {shown.path}")


def print_summary(found: "NetworkSummary") -> None:
    """Print a network's layers."""
    rows = [("layer", "type", "output", "parameters")]
    for layer in found.layers:
        rows.append((layer.name, layer.type, _size(layer.output_shape), f"{layer.parameters:,}"))
    _show_table(rows, left=3)
    show()
    show(f"{found.name}: {_size(found.input_shape)} in, {_size(found.output_shape)} out")
    show(
        f"{found.parameters:,} parameters: {found.trainable:,} trainable, "
        f"{found.non_trainable:,} not"
    )
    if found.body is not None:
        show(
            f"Frozen in it, {found.body.name} alone: {found.body.parameters:,} parameters, "
            f"{found.body.non_trainable:,} of them not trainable"
        )


def print_backbones(found: "Sequence[BackboneInfo]") -> None:
    """Print a line for each backbone."""
    rows = [("name", "license", "needs", "pixels", "features", "MB", "GMACs")]
    for one in found:
        size = "" if one.megabytes is None else f"{one.megabytes:,.0f}"
        cost = "" if one.gmacs is None else f"{one.gmacs:.1f}"
        sizes = f"{one.image_size}", f"{one.embedding_dim:,}", size, cost
        rows.append((one.name, one.license, one.needs, *sizes))
    _show_table(rows, left=3)
    show(
        "",
        "GMACs: billions of multiply-adds per photo. Any other network: a file (.onnx, .xml, "
        ".tflite, .keras), or hf:OWNER/NAME.",
    )


def _size(shape: tuple[int | None, ...] | None) -> str:
    return "?" if shape is None else " x ".join("any" if n is None else f"{n}" for n in shape)


def print_sorted(found: "SortedPhotos") -> None:
    """Say what was copied where; on standard error, for a table may be on standard output."""
    total = sum(found.counts.values())
    inside = ", ".join(f"{printable(name)} {count:,}" for name, count in found.counts.items())
    log(f"Copied {number_of(total)} into {found.folder}" + (f": {inside}" if inside else ""))
    if found.num_kept:
        log(f"{number_of(found.num_kept)} had been copied there before")


def print_export(made: "Export") -> None:
    """Say what was exported, and how far it agrees with handful."""
    from handful.exporting.web_page import size_note

    parity = made.parity
    show(f"{made.file}: {made.num_bytes / 1e6:,.1f} MB, {made.precision}")
    show(f"Compared with handful on {parity.num_pictures} images ({parity.pictures}),")
    show(f"  by {parity.runtime}:")
    show(
        f"  largest difference of a probability {parity.largest_difference:.2g}; "
        f"{parity.num_above} above {parity.allowed:g}"
    )
    show(f"  the same on pixels that handful resized {parity.largest_difference_resized:.2g}")
    if made.precision != made.run_precision:
        show(
            f"  from the run's own classifier, in {made.run_precision}, "
            f"{parity.largest_difference_from_run:.2g}; {parity.num_other_answers} answers differ"
        )
    if parity.largest_difference_from_files is not None:
        show(
            "  between files and arrays, in the run's own classifier, "
            f"{parity.largest_difference_from_files:.2g}"
        )
    if made.accuracy is not None:
        show(f"In 8 bits, {format_share(made.accuracy)} of validation photos classified correctly")
    show(
        f"Speed from arrays, one at a time: {parity.photos_per_second:,.0f} photos/s, the run's "
        f"own {parity.run_photos_per_second:,.0f}"
    )
    if made.format == "web" and not made.tells_unusual:
        show("It does not tell unusual photos: too few training photos, or too many for its size")
    if made.format == "web" and (note := size_note(made.num_bytes)):
        show(note)
    show(f"Model card: {made.path / 'model_card.md'}")


def print_image_folder(found: "ImageFolder") -> None:
    """Say what a folder of pictures holds."""
    before = "" if found.is_new else " It was there already, and is whole."
    show(f"{found.path}: {found.num_images:,} photos.{before}")
    for part, classes in found.counts.items():
        show(f"  {part}: " + ", ".join(f"{name} ({count:,})" for name, count in classes.items()))
    show(f"Examples: {found.examples}")
    show(found.credit)


def print_labels(found: "ProjectLabels") -> None:
    """Say what a project holds, and what was written of it."""
    num_sorted = sum(found.counts.values())
    show(
        f"{found.path}: {number_of(num_sorted)} sorted, {found.num_unsorted:,} unsorted, "
        f"{found.num_left_out:,} left out"
    )
    for name, number in found.counts.items():
        show(f"  {name}: {number:,}")
    if found.num_corrections:
        waiting = number_of(found.num_corrections, "correction")
        show(f"{waiting} in its inbox; nothing is changed by them before somebody decides.")
    warn_rejected(found.rejected)
    for one in found.written:
        show(f"Written: {one.path} ({number_of(sum(one.counts.values()))})")
        for file in one.skipped:
            show(f"  not in it: {file.path} {file.reason}")


def print_check(found: "PhotoCheck") -> None:
    """Say what would spoil a classifier, the worst first, on a screenful."""
    formats = ", ".join(f"{count:,} {name}" for name, count in found.formats.items())
    show(f"{len(found.index):,} readable photos" + (f": {formats}" if formats else ""))
    for part, counts in found.index.counts().items():
        inside = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        show(f"  {part}: {inside}")
    if found.train_error:
        show()
        show(f"No classifier can be made of these: {with_options(found.train_error)}")
    for warning in found.remarks:
        show(f"Note: {with_options(warning)}")
    # A screenful: the more findings there are, the less is said of each; the page has all.
    num_lines = 5 if len(found.findings) <= 3 else 3 if len(found.findings) <= 6 else 1
    said: set[str] = set()
    for finding in found.findings:
        show()
        show(f"{finding.severity.capitalize()}: {finding.title}")
        for line in finding.lines[:num_lines]:
            show(f"  {line}")
        if len(finding.lines) > num_lines:
            show(f"  ... and {len(finding.lines) - num_lines:,} more")
        if finding.severity != "note" and finding.advice not in said:
            said.add(finding.advice)
            advice = with_options(finding.advice)
            show(*textwrap.wrap(advice, 98, initial_indent="  ", subsequent_indent="  "))
        if finding.command and finding.command not in said:
            said.add(finding.command)
            show(f"  $ {finding.command}")
    if not found.findings and not found.train_error:
        show("No problems found")
    show()
    if found.fix_list is not None:
        show(f"Fix list: {found.fix_list}, {len(found.fixes):,} to go through")
    show(f"Page: {found.page}")
