"""One self-contained HTML page about what a check of the photos found; it computes only layout.

It has the looks of `handful.reports.run_page`'s page: light and dark, for a phone too, without
scripts.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handful.checks.findings import Finding, suggest_fixes
from handful.data.fixes import Fix
from handful.options import command_line
from handful.reports.run_page import page_environment, write_page

if TYPE_CHECKING:
    from markupsafe import Markup

CHECK_FILE = "check.html"
# What is shown at most; the fix list and `lines` know the rest.
MAX_GROUPS = 24
MAX_SUSPECTS = 48
_SUSPECT_KIND = "label-suspect"
_MAX_GROUP_PHOTOS = 6
_MAX_FINDING_PHOTOS = 48
# What lies open; the rest of what is shown folds.
_OPEN_PHOTOS, _OPEN_SETS, _OPEN_LINES, _OPEN_SUSPECTS = 12, 6, 6, 24
_LINES_KEPT = 200
_OPEN_CLASSES = 12
_PATH_LENGTH = 72
_EXAMPLES_OF_FIXES = 5
# Severity -> how a section is called, and what is said of its number in the verdict.
_SECTIONS = {
    "error": ("Fix these", "to fix", "Training on these photos would fail or mislead."),
    "warning": (
        "Worth a look",
        "worth a look",
        "Each may lower accuracy, or flatter it.",
    ),
    "note": ("Good to know", "to know", "Nothing has to be done about these."),
}
_LOOKED_FOR = {
    "Files": "empty, damaged or truncated ones, and ones that are no photos or not what their "
    "name says",
    "Copies": "the same photo twice, also with two labels, and near-duplicates: bursts, crops, "
    "re-saved copies",
    "Leaks": "the same photo in training and in validation or test, which makes scores too good",
    "Single photos": "almost black, almost white, of a single tone, blurred, very small, very "
    "long, gray among color, or unlike all others",
    "Classes": "too few photos, too unequal numbers, names that are almost the same",
    "Shortcuts": "classes that can be told by how the photos were made and saved, so that what "
    "they show need not be learned",
    "Labels": "photos that look more like another class",
}


@dataclass(frozen=True)
class Suspect:
    """A photo whose label should be looked at again.

    Args:
        row: Row of the index.
        given: Name of the class it was given.
        suggested: Name of the class it looks like.
        score: How suspicious, for the ranking; larger is more.
        probability: Probability of the suggested class, in [0, 1], by a classifier that did not
            see this photo.
    """

    row: int
    given: str
    suggested: str
    score: float
    probability: float


@dataclass(frozen=True, eq=False)
class CheckData:
    """All that the page shows of N photos. Names and paths may hold any text: they are escaped.

    Args:
        title: Name of the data.
        num_images: N, the readable photos.
        class_names: Names of all classes.
        counts: Split, or "" where none was given -> class name -> number of photos.
        sizes: "width" and "height" -> name of a statistic, such as "median" -> pixels.
        formats: Name of a file format -> number of photos.
        findings: What was found.
        paths: (N,) paths as shown to people.
        labels: (N,) names of the given classes; "" for unlabeled photos.
        thumbnails: Row -> a small JPEG file's bytes, for `rows_to_show`; rows may be missing.
        suspects: Labels to look at again, the most suspicious first.
        train_error: Why no classifier can be made of these photos; "" where one can.
        fix_list: Path of the written fix list, as shown to people; "" where there is none.
        seconds: Duration of the check.
        splits: (N,) given split of each photo, or empty where none was given.
        photos: The folder, zip or CSV as a command line takes it.
        remarks: What is odd about the whole, a sentence each without a full stop.
    """

    title: str
    num_images: int
    class_names: Sequence[str]
    counts: Mapping[str, Mapping[str, int]]
    sizes: Mapping[str, Mapping[str, float]]
    formats: Mapping[str, int]
    findings: Sequence[Finding]
    paths: Sequence[str]
    labels: Sequence[str]
    thumbnails: Mapping[int, bytes]
    suspects: Sequence[Suspect]
    train_error: str
    fix_list: str
    seconds: float
    splits: Sequence[str] = ()
    photos: str = "PHOTOS"
    remarks: Sequence[str] = ()


def rows_to_show(findings: Sequence[Finding], suspects: Sequence[Suspect]) -> list[int]:
    """Tell which photos the page shows, so that no other thumbnail need be made.

    Args:
        findings: What was found.
        suspects: Labels to look at again, the most suspicious first.

    Returns:
        Rows of the index, ascending, each once.
    """
    own = _without_suspects(findings, suspects)
    rows = {row for finding in own for group in _shown_groups(finding) for row in group}
    return sorted(rows | {suspect.row for suspect in suspects[:MAX_SUSPECTS]})


def write_check(data: CheckData, folder: Path) -> Path:
    """Write check.html: one file that works offline, in light and dark, and on a phone.

    Args:
        data: What to show.
        folder: Existing folder to write to; a page in it is replaced.

    Returns:
        The page's path.

    Raises:
        OSError: When it cannot be written.
    """
    return write_page(render_check(data), folder / CHECK_FILE)


def render_check(data: CheckData) -> str:
    """Make the page's HTML.

    Args:
        data: What to show.

    Returns:
        The whole document; it has no script and asks for nothing from outside.
    """
    from markupsafe import Markup

    environment = page_environment()
    environment.filters |= {
        "shorten": _shorten,
        "code": _mark_code,
        # A path rather breaks between folders; the parts are escaped by the join.
        "path": lambda path: Markup("/<wbr>").join(path.split("/")),
    }
    return environment.get_template(CHECK_FILE).render(_view(data))


def describe_check(data: CheckData) -> str:
    """Say what came out in a sentence or two.

    Args:
        data: What was found.

    Returns:
        Such as "3 things to fix and 2 to know. The other 1,991 of 2,000 photos look fine."
    """
    findings = _without_suspects(data.findings, data.suspects)
    numbers: Counter[str] = Counter(finding.severity for finding in findings)
    parts = [
        f"{numbers[kind]} {words}" for kind, (_, words, _) in _SECTIONS.items() if numbers[kind]
    ]
    if parts:
        first, _, words = parts[0].partition(" ")
        parts[0] = f"{first} {'thing' if first == '1' else 'things'} {words}"
    if data.suspects:
        number = len(data.suspects)
        parts.append(f"{number:,} {'label' if number == 1 else 'labels'} to check")
    photos = f"{data.num_images:,} {'photo' if data.num_images == 1 else 'photos'}"
    if not parts and not data.train_error:
        return f"No problems found in {photos}: ready to train on."
    hindered = "No classifier can be made of these photos yet. " if data.train_error else ""
    if not parts:
        return f"{hindered}Nothing else was found in {photos}."
    said = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    free = data.num_images - len(_doubtful_rows(data))
    if free == data.num_images:
        return f"{hindered}{said}. Each of the {photos} by itself looks fine."
    if not free:
        return f"{hindered}{said}."
    looks = "looks fine" if free == 1 else "look fine"
    return f"{hindered}{said}. The other {free:,} of {photos} {looks}."


def _without_suspects(findings: Sequence[Finding], suspects: Sequence[Suspect]) -> list[Finding]:
    """The findings that stand by themselves: suspects have a section of their own."""
    return [finding for finding in findings if not suspects or finding.kind != _SUSPECT_KIND]


def _doubtful_rows(data: CheckData) -> set[int]:
    """Photos that something should be done or decided about."""
    rows = {suspect.row for suspect in data.suspects}
    for finding in data.findings:
        if finding.severity != "note":
            rows.update(row for group in finding.groups for row in group)
    return rows


def _shown_groups(finding: Finding) -> Iterator[tuple[int, ...]]:
    """The first groups, each cut to what fits beside each other."""
    num_photos = 0
    for group in finding.groups[:MAX_GROUPS]:
        shown = group[:_MAX_GROUP_PHOTOS]
        num_photos += len(shown)
        if num_photos > _MAX_FINDING_PHOTOS:
            return
        yield shown


def _view(data: CheckData) -> dict[str, Any]:
    """Everything the template names."""
    sections, own = [], _without_suspects(data.findings, data.suspects)
    for severity, (heading, _, meaning) in _SECTIONS.items():
        found = [finding for finding in own if finding.severity == severity]
        if found:
            views = [_finding_view(data, finding) for finding in found]
            sections.append((severity, heading, meaning, views))
    fixes = suggest_fixes(data.findings)
    suspects = [_suspect_view(data, suspect) for suspect in data.suspects[:MAX_SUSPECTS]]
    return {
        "data": data,
        "verdict": describe_check(data),
        "clean": not data.findings and not data.suspects,
        "sections": sections,
        "suspects": suspects,
        "suspicion": next((one for one in data.findings if one.kind == _SUSPECT_KIND), None),
        "open_suspects": _OPEN_SUSPECTS,
        "class_counts": _class_counts(data),
        "open_classes": _OPEN_CLASSES,
        "split_totals": {name: sum(row.values()) for name, row in data.counts.items()},
        "statistics": list(dict.fromkeys(name for row in data.sizes.values() for name in row)),
        "fixes": _example_fixes(fixes),
        "num_fixes": len(fixes),
        "apply_command": command_line("train", data.photos, fixes=data.fix_list),
        "looked_for": _LOOKED_FOR,
    }


def _finding_view(data: CheckData, finding: Finding) -> dict[str, Any]:
    """A finding with its groups as photos; lines belong to groups where there are any."""
    groups = [
        {
            "photos": [_image_view(data, row) for row in shown],
            "num_left_out": len(group) - len(shown),
            "line": _remark(data, group, line),
        }
        for shown, group, line in zip(
            _shown_groups(finding),
            finding.groups,
            [*finding.lines, *[""] * len(finding.groups)],
            strict=False,
        )
    ]
    lines = () if finding.groups else finding.lines
    singles = all(len(group) == 1 for group in finding.groups)
    num_open = _OPEN_PHOTOS if singles else _OPEN_SETS
    actions = Counter(fix.action for fix in finding.fixes)
    return {
        "finding": finding,
        "singles": singles,
        "open_groups": groups[:num_open],
        "folded_groups": groups[num_open:],
        "num_groups_left_out": len(finding.groups) - len(groups),
        "open_lines": lines[:_OPEN_LINES],
        "folded_lines": lines[_OPEN_LINES:_LINES_KEPT],
        "num_lines_left_out": max(len(lines) - _LINES_KEPT, 0),
        "actions": [f"{action} {number:,}" for action, number in actions.items()],
    }


def _remark(data: CheckData, group: tuple[int, ...], line: str) -> str:
    """What a group's line says beyond the paths and classes that stand below the photos."""
    if len(group) == 1:
        return line.removeprefix(f"{data.paths[group[0]]} ")
    rest = line
    # Longer names first: one path may be the end of another.
    for row in sorted(group, key=lambda row: -len(data.paths[row])):
        rest = rest.replace(data.paths[row], "").replace(f"({data.labels[row]})", "")
    return "" if re.fullmatch(r"[\s=~]*(and [\d,]+ more)?", rest) else line


def _image_view(data: CheckData, row: int) -> dict[str, Any]:
    return {
        "path": data.paths[row],
        "label": data.labels[row],
        "split": data.splits[row] if data.splits else "",
        "thumbnail": data.thumbnails.get(row, b""),
    }


def _suspect_view(data: CheckData, suspect: Suspect) -> dict[str, Any]:
    return _image_view(data, suspect.row) | {"suspect": suspect}


def _class_counts(data: CheckData) -> list[dict[str, Any]]:
    """Numbers of photos by class, with the length of the bar of all of them, in percent."""
    names = dict.fromkeys(
        [*data.class_names, *(name for row in data.counts.values() for name in row)]
    )
    rows = [(name, [row.get(name, 0) for row in data.counts.values()]) for name in names]
    most = max((sum(numbers) for _, numbers in rows), default=0) or 1
    return [
        {
            "name": name,
            "numbers": numbers,
            "total": sum(numbers),
            "width": round(sum(numbers) / most * 100, 1),
        }
        for name, numbers in rows
    ]


def _example_fixes(fixes: Sequence[Fix]) -> list[Fix]:
    """Some lines of the fix list, of each action in turn."""
    places: Counter[str] = Counter()
    ranked = []
    for number, fix in enumerate(fixes):
        ranked.append((places[fix.action], number, fix))
        places[fix.action] += 1
    return [fix for _, _, fix in sorted(ranked, key=lambda item: item[:2])[:_EXAMPLES_OF_FIXES]]


def _shorten(text: str, length: int = _PATH_LENGTH) -> str:
    """A long path without its middle; its end tells photos apart."""
    if len(text) <= length:
        return text
    begin = length // 3
    return f"{text[:begin]}…{text[begin - length + 1 :]}"


def _mark_code(text: str) -> "Markup":
    """Text with what stands between backticks as code; all is escaped."""
    from markupsafe import Markup

    parts = text.split("`")
    if len(parts) % 2 == 0:
        parts = [text]
    marked = [
        Markup("<code>{}</code>").format(part) if place % 2 else Markup("{}").format(part)
        for place, part in enumerate(parts)
    ]
    return Markup("").join(marked)
