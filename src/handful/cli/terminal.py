"""What the commands print: results on standard output, progress and warnings on standard error."""

import os
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from handful.cli.spelling import with_options
from handful.errors import OutputError
from handful.files.atomic import json_text, reason_of
from handful.files.tables import row_line
from handful.reporting import Reporter
from handful.terminal_progress import TerminalReporter
from handful.wording import format_rate, format_share, printable


def show(*lines: str, flush: bool = False) -> None:
    """Print lines on standard output; names in them may be any.

    Args:
        *lines: What to print; none for an empty line.
        flush: Whether to send them off at once.
    """
    _write("\n".join(map(printable, lines)) + "\n")
    if flush:
        flush_output()


class ReaderGoneError(Exception):
    """Whoever read the output (head, less) has seen enough."""


def flush_output() -> None:
    """Send off what was printed.

    Raises:
        ReaderGoneError: When nobody reads it any more.
        OutputError: When it cannot be written.
    """
    _write("", flush=True)


def _write(text: str, flush: bool = False) -> None:
    if sys.stdout is None:
        return
    try:
        print(text, end="", flush=flush)
    except OSError as error:
        # Else the interpreter would try again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise ReaderGoneError from error
        raise OutputError(f"the output cannot be written: {reason_of(error)}") from error


def log(line: str) -> None:
    """Print a line for people, on standard error.

    Args:
        line: What to print.
    """
    if sys.stderr is not None:  # else it would go to standard output
        print(printable(with_options(line)), file=sys.stderr)


@contextmanager
def watch(quiet: bool) -> Iterator[Reporter]:
    """Show a job's lines on standard error and, to people watching, a bar with photos a second.

    Args:
        quiet: Show nothing.

    Yields:
        What to give to the job.
    """
    if quiet:
        yield Reporter()
    else:
        yield TerminalReporter(log, has_bar=sys.stderr.isatty())


def print_json(value: dict[str, Any]) -> None:
    """Print one JSON object.

    Args:
        value: Plain values.
    """
    _write(json_text(value) + "\n")


def print_csv(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """Print a table as CSV.

    Args:
        header: Names of the columns.
        rows: One tuple a row.
    """
    for row in (header, *rows):
        line = row_line(row).removesuffix("\n")
        # Programs get the names as they are, people as they can be shown.
        _write((printable(line) if sys.stdout.isatty() else line) + "\n")


def print_run(run: Any) -> None:
    """Say what `train` made.

    Args:
        run: A `Run`, written.
    """
    evaluation = run.evaluation
    show(_accuracy_line(evaluation, "validation photos"))
    if run.resampling is not None:
        show(*run.resampling.sentences)
    for caution in run.cautions:
        if caution != evaluation.chance_note:  # the verdict says it
            show(caution)
    converting = run.seconds.get("convert", 0.0)
    seconds = run.seconds["total"] - converting
    show(
        f"{len(run.split.train):,} training photos of {len(run.classifier.class_names)} classes, "
        f"{run.classifier.about['backbone']}, {seconds:.1f} s"
        + (f" and {converting:.1f} s to convert the network once" if converting > 1 else "")
    )
    problems = run.problems()
    for name, what in (
        ("rejected", "Files that could not be used"),
        ("near_duplicates", "Pairs of near-duplicates"),
        ("dropped", "Training photos left out because they leaked"),
    ):
        if problems[name]:
            show(f"{what}: {len(problems[name]):,}")
    if run.label_review is not None and len(run.label_review.suspected):
        show(f"Labels of training photos to check: {len(run.label_review.suspected):,}")
    warn(problems["warnings"])
    print_verdict(evaluation)
    from handful.runs.files import REPORT_FILE

    show(f"Report: {run.path / REPORT_FILE}")


def print_comparison(comparison: Any) -> None:
    """Say which strategy is better, and by how much.

    Args:
        comparison: A `Comparison`.
    """
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
    show()
    show(f"{comparison.verdict}")
    for caution in comparison.cautions:
        show(caution)
    warn(comparison.warnings)


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


def print_runs(runs: Iterable[Any], folder: Any) -> None:
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
            run.note,
        )
        for run in runs
    ]
    if not rows:
        show(f"No runs in {folder}; `handful train PHOTOS` makes one.")
        return
    _show_table([("name", "date", "accuracy", "strategy", "photos", "note"), *rows], left=6)


def print_evaluation(evaluation: Any) -> None:
    """Say how good a classifier is, class by class.

    Args:
        evaluation: An `Evaluation`.
    """
    show(_accuracy_line(evaluation, "photos"))
    names = [printable(row.name) for row in evaluation.per_class]
    width = max(len("class"), *map(len, names))
    show()
    show(f"{'class':<{width}}  photos  precision  recall     f1")
    for name, row in zip(names, evaluation.per_class, strict=True):
        show(
            f"{name:<{width}}  {row.support:>6}  {_cell(row.precision):>9}  "
            f"{_cell(row.recall):>6}  {_cell(row.f1):>5}"
        )


def print_verdict(evaluation: Any) -> None:
    """Say what to expect of new photos, at the end.

    Args:
        evaluation: An `Evaluation`.
    """
    from handful.evaluation.verdict import verdict

    show(verdict(evaluation))


def _accuracy_line(evaluation: Any, what: str) -> str:
    low, high = evaluation.accuracy_interval
    return (
        f"{evaluation.num_correct:,} of {len(evaluation):,} {what} classified correctly: "
        f"{format_share(evaluation.accuracy)} "
        f"(95 % interval {format_share(low)} to {format_share(high)})"
    )


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def prediction_rows(
    predictions: list[Any], class_names: tuple[str, ...]
) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Lay predictions out as a table; columns that were not asked for are left out.

    Args:
        predictions: `Prediction`s.
        class_names: C names, in the order of the probabilities.

    Returns:
        Header, and a row for each prediction.
    """
    header = ["path", "label", "probability", *class_names, "is_out_of_distribution"]
    if predictions and predictions[0].is_confident is not None:
        header.append("is_confident")
    if predictions and predictions[0].prediction_set is not None:
        header.append("prediction_set")
    rows = []
    for p in predictions:
        row = [
            p.path,
            p.label,
            p.probability,
            *p.probabilities.values(),
            _yes(p.is_out_of_distribution),
        ]
        if p.is_confident is not None:
            row.append(_yes(p.is_confident))
        if p.prediction_set is not None:
            row.append(" | ".join(p.prediction_set))
        rows.append(tuple(row))
    return tuple(header), rows


def _yes(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "no"


def print_predictions(predictions: list[Any]) -> None:
    """Print a line for each photo.

    Args:
        predictions: `Prediction`s.
    """
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


def print_abstention(classifier: Any, predictions: list[Any], error_rate: float) -> None:
    """Say how many photos were answered, and what the threshold rests on.

    Args:
        classifier: The `Classifier`.
        predictions: Its `Prediction`s.
        error_rate: As asked.
    """
    rule = classifier.abstain_at(error_rate)
    if rule.threshold is None:
        show(
            f"None answered: {rule.num_photos:,} photos could be held out in training, and cannot "
            "show any error rate. Train again, with more photos per class."
        )
        return
    answered = sum(p.is_confident for p in predictions)
    shown = format_rate(rule.shown_error_rate)
    less = ""
    if not rule.is_as_asked:
        less = f"; {format_rate(error_rate)} cannot be shown on {rule.num_photos:,} photos"
    show(
        f"{answered:,} of {len(predictions):,} answered: those with "
        f"{format_share(rule.threshold)} or more that look like the training photos. With "
        f"{format_rate(rule.confidence)} confidence, at most {shown} of such answers are wrong"
        f"{less}. Of {rule.num_photos:,} {_source(classifier)}, this answers "
        f"{format_share(rule.coverage)}, {format_share(rule.observed_error)} of them wrong."
    )


def _source(classifier: Any) -> str:
    if classifier.calibration.source == "validation":
        return "validation photos"
    return "training photos, each judged by a classifier trained without it"


def print_explanations(written: Any) -> None:
    """Say which pictures were written, and what their colours mean.

    Args:
        written: `WrittenExplanations`.
    """
    for found, picture in zip(written.explanations, written.pictures, strict=True):
        show(
            f"{found.path}  {found.class_name} rather than {found.rival_name}  "
            f"{format_share(found.probability)}  {picture}"
        )
    pairs = {(found.class_name, found.rival_name) for found in written.explanations}
    if pairs:
        shown, rival = pairs.pop() if len(pairs) == 1 else ("the class named first", "the second")
        show(f"Orange supports {shown}, blue supports {rival}; the dark border was cropped away.")


def print_curve(found: Any) -> None:
    """Say what more photos would bring.

    Args:
        found: A `CurveRun`.
    """
    measured = found.curve
    show("photos per class  accuracy  single trainings")
    for point in measured.points:
        show(
            f"{point.photos_a_class:>16,.0f}  {format_share(point.accuracy):>8}  "
            f"± {100 * point.std:.1f}"
        )
    show()
    for line in found.sentences:
        show(line)
    warn(found.warnings)
    if found.path is not None:
        show(f"Report: {found.path / 'curve.html'}")


def warn(lines: Iterable[str]) -> None:
    """Say what to heed, on standard error.

    Args:
        lines: Sentences.
    """
    for line in lines:
        show(f"Warning: {with_options(line)}")


def warn_rejected(rejected: Any) -> None:
    """Name the files that could not be used, on standard error.

    Args:
        rejected: `RejectedFile`s.
    """
    for file in rejected:
        log(f"Error: {file.path} {file.reason}")


def print_summary(found: Any) -> None:
    """Print a network's layers.

    Args:
        found: A `NetworkSummary`.
    """
    rows = [("layer", "type", "output", "parameters")]
    for layer in found.layers:
        rows.append((layer.name, layer.type, _size(layer.output_shape), f"{layer.parameters:,}"))
    first, second, third, last = (max(map(len, column)) for column in zip(*rows, strict=True))
    for row in rows:
        show(f"{row[0]:<{first}}  {row[1]:<{second}}  {row[2]:<{third}}  {row[3]:>{last}}")
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


def _size(shape: tuple[int | None, ...] | None) -> str:
    return "?" if shape is None else " x ".join("any" if n is None else f"{n}" for n in shape)


def print_export(made: Any) -> None:
    """Say what was exported, and how far it agrees with handful.

    Args:
        made: An `Export`.
    """
    parity = made.parity
    show(f"{made.file}: {made.num_bytes / 1e6:,.1f} MB, {made.precision}")
    show(f"Compared with handful on {parity.num_pictures} images ({parity.pictures}):")
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
    show(f"Model card: {made.path / 'model_card.md'}")


def print_picture_folder(found: Any) -> None:
    """Say what a folder of pictures holds.

    Args:
        found: A `PictureFolder`.
    """
    before = "" if found.is_new else " It was there already, and is whole."
    show(f"{found.path}: {found.num_images:,} photos.{before}")
    for part, classes in found.counts.items():
        show(f"  {part}: " + ", ".join(f"{name} ({count:,})" for name, count in classes.items()))
    show(f"Examples: {found.examples}")
    show(found.credit)


def print_check(found: Any) -> None:
    """Say what would spoil a classifier, the worst first, on a screenful.

    Args:
        found: A `PhotoCheck`, written.
    """
    formats = ", ".join(f"{count:,} {name}" for name, count in found.formats.items())
    show(f"{len(found.index):,} readable photos" + (f": {formats}" if formats else ""))
    for part, counts in found.index.counts().items():
        inside = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        show(f"  {part}: {inside}")
    if found.obstacle:
        show()
        show(f"No classifier can be made of these: {with_options(found.obstacle)}")
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
    if not found.findings and not found.obstacle:
        show("No problems found")
    show()
    if found.fix_list is not None:
        show(f"Fix list: {found.fix_list}, {len(found.fixes):,} to go through")
    show(f"Page: {found.page}")
