"""What is wrong with a set of photos, why it matters, and which command mends it.

Thresholds look at the set as well as at the photo: what most photos of a set are like is its way,
not a fault. They were chosen on 3,000 photos of cats and dogs and 2,624 of solar cells, where
what they name was looked at; see the comments.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from handful.checks.copies import find_copies, find_leaks, find_two_labels, two_label_copies
from handful.checks.findings import (
    CLEAR_PROBABILITY,
    SEVERITIES,
    Evidence,
    Finding,
    are,
    judge_singly,
)
from handful.checks.shortcuts import FILE_SIZE
from handful.data.fixes import Fix
from handful.models.heads import SKEW_LIMIT
from handful.wording import format_share, number_of

# A photo enlarged three and a half times to a network's 224 pixels has no detail left.
TINY_SIDE = 64
# Half-way cropping of a picture three times as wide as high loses two fifths of it.
EXTREME_ASPECT = 3.0
# Nearly all pixels in the darkest or brightest eighth of the range, and little contrast: what is
# drawn on white, or glows in the dark, has both.
ONE_TONE_SHARE, ONE_TONE_CONTRAST = 0.95, 0.05
# So many photos without anything to see, all of one class, may be what the class means.
ONE_TONE_MEANT = 3
# Two gray levels of standard deviation show nothing, whatever the other photos are like.
FLAT_CONTRAST, NO_CONTRAST = 0.02, 0.008
# Sharp photos blurred with a standard deviation of 1.5 pixels at 224 are below 0.008, 99 in 100
# of them; of the cats and dogs, two in a thousand are.
BLURRED_SHARPNESS = 0.008
# ... and what is soft or pale must be far from what is usual in the set.
SHARE_OF_MEDIAN = 0.25
# Gray or palette pictures are odd among color, and color among gray, up to this share.
ODD_SHARE = 0.1
_GRAY_SATURATION = 0.004  # one level of 255
FEW_PHOTOS = 10
# How far from chance to certainty side information comes: cats and dogs, which come from many
# cameras, reach 0.14 by file size. From half-way on, a network has an easier way than to look.
SHORTCUT_NOTE, SHORTCUT_WARNING = 0.12, 0.5
_EXTENSIONS = {
    "JPEG": {"jpg", "jpeg", "jpe", "jfif"},
    "PNG": {"png"},
    "WebP": {"webp"},
    "BMP": {"bmp", "dib"},
    "GIF": {"gif"},
    "TIFF": {"tif", "tiff"},
}
_MODES = {
    "color": {"YCbCr", "RGB", "RGBA", "RGBa", "RGBX", "LAB", "YCCK-RGB"},
    "gray": {"Gray", "GRAY", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F", "1"},
    "CMYK": {"CMYK", "YCCK"},
    "palette": {"P", "PA"},
}


def find_problems(evidence: Evidence) -> tuple[Finding, ...]:
    """Find what would spoil a classifier of these photos.

    Args:
        evidence: What is known of them.

    Returns:
        Findings, the most severe first.
    """
    searches: tuple[Callable[[Evidence], Iterator[Finding]], ...] = (
        find_two_labels,
        find_leaks,
        _find_few_photos,
        _find_unreadable,
        _find_shortcuts,
        _find_suspects,
        find_copies,
        _find_one_tone,
        _find_blurred,
        _find_imbalance,
        _find_alike_names,
        _find_outliers,
        _find_odd_shapes,
        _find_odd_files,
    )
    found = list(chain.from_iterable(search(evidence) for search in searches))
    return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))


def _find_unreadable(evidence: Evidence) -> Iterator[Finding]:
    rejected = evidence.index.rejected
    if rejected:
        yield Finding(
            "unreadable",
            "warning",
            f"{number_of(len(rejected), 'file')} cannot be used",
            "They are left out of everything. Fetch or save them again, or let the fix list "
            "exclude them.",
            evidence.fix_command,
            (),
            tuple(f"{file.path} {file.reason}" for file in rejected),
            tuple(Fix(file.path, "remove", "", file.reason) for file in rejected),
        )


def _is_pale(evidence: Evidence, limit: float) -> NDArray[np.bool_]:
    """Photos with less contrast than a limit and than is usual in the set."""
    contrast = evidence.measured("contrast")
    usual = float(np.median(contrast)) if len(contrast) else 0.0
    return np.asarray(contrast < max(NO_CONTRAST, min(limit, SHARE_OF_MEDIAN * usual)))


def _one_tone(evidence: Evidence) -> dict[str, NDArray[np.bool_]]:
    """Which photos are near-black, near-white or otherwise flat."""
    pale = _is_pale(evidence, ONE_TONE_CONTRAST)
    black = pale & (evidence.measured("dark_share") >= ONE_TONE_SHARE)
    white = pale & (evidence.measured("bright_share") >= ONE_TONE_SHARE)
    flat = _is_pale(evidence, FLAT_CONTRAST) & ~black & ~white
    return {"near-black": black, "near-white": white, "flat": flat}


def _find_one_tone(evidence: Evidence) -> Iterator[Finding]:
    words = {
        "near-black": "almost black",
        "near-white": "almost white",
        "flat": "of a single tone",
    }
    labels, names = evidence.index.labels, evidence.index.class_names
    brightness = evidence.measured("brightness")
    for kind, found in _one_tone(evidence).items():
        rows = np.flatnonzero(found)
        classes = np.unique(labels[rows])
        # Dead solar cells are black, and that is what is wrong with them.
        is_meant = len(rows) >= ONE_TONE_MEANT and len(classes) == 1
        what = words[kind]
        advice = "With nothing to see in them, a classifier can only learn them by heart. " + (
            f'All are labeled "{names[classes[0]]}": keep them if being like that is what the '
            "class means, else leave them out."
            if is_meant
            else "Leave them out, unless being like that is what their class means."
        )
        yield from judge_singly(
            evidence,
            kind,
            "warning",
            rows,
            what,
            advice,
            "keep" if is_meant else "remove",
            lambda row, what=what: (  # type: ignore[misc]
                f"is {what} (mean brightness {format_share(float(brightness[row]), 0)})"
            ),
        )


def _find_blurred(evidence: Evidence) -> Iterator[Finding]:
    sharpness = evidence.measured("sharpness")
    usual = float(np.median(sharpness)) if len(sharpness) else 0.0
    soft = sharpness < min(BLURRED_SHARPNESS, SHARE_OF_MEDIAN * usual)
    for known in (*_one_tone(evidence).values(), _is_tiny(evidence)):
        soft &= ~known
    rows = np.flatnonzero(soft)
    yield from judge_singly(
        evidence,
        "blurred",
        "warning",
        rows[np.argsort(sharpness[rows], kind="stable")],
        "blurred",
        "Even at the size that a network sees, they have no sharp edge. Keep them if photos to "
        'be named will be like that; else write "remove".',
        "keep",
        lambda row: f"is blurred (sharpness {sharpness[row]:.4f}, usual here {usual:.3f})",
    )


def _sides(evidence: Evidence) -> NDArray[np.int64]:
    """(N, 2) shorter and longer side in pixels."""
    sides = [(image.width, image.height) for image in evidence.metadata]
    return np.sort(np.array(sides, np.int64).reshape(-1, 2), axis=1)


def _is_tiny(evidence: Evidence) -> NDArray[np.bool_]:
    shorter = _sides(evidence)[:, 0]
    usual = float(np.median(shorter)) if len(shorter) else 0.0
    return np.asarray(shorter < min(TINY_SIDE, usual / 2))


def _find_outliers(evidence: Evidence) -> Iterator[Finding]:
    one_tone = np.any([*_one_tone(evidence).values()], axis=0)
    yield from judge_singly(
        evidence,
        "outlier",
        "note",
        [row for row in evidence.outliers if not one_tone[row]],
        "unlike all others",
        "Logos, drawings, screenshots and rooms without the subject end up here, beside good "
        'photos that are merely rare. Write "remove" for what does not belong.',
        "keep",
        lambda row: "is unlike all others",
    )


def _find_odd_shapes(evidence: Evidence) -> Iterator[Finding]:
    sides, metadata = _sides(evidence), evidence.metadata
    tiny = np.flatnonzero(_is_tiny(evidence))
    yield from judge_singly(
        evidence,
        "tiny",
        "note",
        tiny[np.argsort(sides[tiny, 0], kind="stable")],
        "very small",
        "Enlarged to what a network sees, they are little more than color. Look for larger "
        'versions; or write "remove".',
        "keep",
        lambda row: f"is {metadata[row].width} x {metadata[row].height} pixels",
    )
    aspects = sides[:, 1] / sides[:, 0]
    usual = float(np.median(aspects)) if len(aspects) else 1.0
    long = np.flatnonzero(aspects > max(EXTREME_ASPECT, 1.5 * usual))
    yield from judge_singly(
        evidence,
        "extreme-aspect",
        "note",
        long[np.argsort(-aspects[long], kind="stable")],
        "very long or wide",
        "Made a square, they lose their ends or their proportions. Crop them to what matters; "
        '`resize` squash keeps all; or write "remove".',
        "keep",
        lambda row: f"is {metadata[row].width} x {metadata[row].height} pixels",
    )


def _find_odd_files(evidence: Evidence) -> Iterator[Finding]:
    metadata, paths = evidence.metadata, evidence.index.paths
    endings = [PurePosixPath(path).suffix[1:].lower() for path in paths]
    wrong = [
        row
        for row, ending in enumerate(endings)
        if ending not in _EXTENSIONS[metadata[row].format]
        and any(ending in known for known in _EXTENSIONS.values())
    ]
    if wrong:
        yield Finding(
            "wrong-extension",
            "note",
            f"{number_of(len(wrong))} {are(len(wrong))} in another format than the name says",
            "handful looks at the content, so nothing need be done here; other programs may "
            "refuse them.",
            "",
            tuple((row,) for row in wrong),
            tuple(f"{paths[row]} is a {metadata[row].format}" for row in wrong),
        )
    modes = _color_modes(evidence)
    usual, most = Counter(modes).most_common(1)[0] if modes else ("", 0)
    seen = ~np.any(list(_one_tone(evidence).values()), axis=0)
    odd = [row for row, mode in enumerate(modes) if mode != usual and seen[row]]
    if odd and most >= (1 - ODD_SHARE) * len(modes):
        yield Finding(
            "odd-colour-mode",
            "note",
            f"{number_of(len(odd))} {are(len(odd))} not {usual}, as the others are",
            "They are converted, and nothing need be done, but where they are all of one class a "
            "classifier may learn the color instead.",
            "",
            tuple((row,) for row in odd),
            tuple(f"{paths[row]} is {modes[row]}" for row in odd),
        )


def _color_modes(evidence: Evidence) -> list[str]:
    """Color, gray, CMYK or palette, of each photo; gray ones may be stored as color."""
    names = {mode: name for name, modes in _MODES.items() for mode in modes}
    found = [names.get(image.mode, image.mode) for image in evidence.metadata]
    gray = evidence.measured("saturation") < _GRAY_SATURATION
    return [
        "gray" if name == "color" and is_gray else name
        for name, is_gray in zip(found, gray.tolist(), strict=True)
    ]


def _training_counts(evidence: Evidence) -> dict[str, int]:
    """Photos of each class to learn from: of the training part, where there is one."""
    learned = np.array([part == "train" for part in evidence.parts], bool)
    labels = evidence.index.labels
    return _count_classes(evidence, labels[learned] if learned.any() else labels)


def _count_classes(evidence: Evidence, labels: NDArray[np.int64]) -> dict[str, int]:
    names = evidence.index.class_names
    return dict(zip(names, np.bincount(labels, minlength=len(names)).tolist(), strict=True))


def _find_few_photos(evidence: Evidence) -> Iterator[Finding]:
    numbers = _count_classes(evidence, evidence.index.labels)
    few = sorted((n, name) for name, n in numbers.items() if n < FEW_PHOTOS)
    if few:
        fewest, name = few[0]
        others = "another class has" if len(few) == 2 else f"{len(few) - 1} other classes have"
        more = f", and {others} few too" if len(few) > 1 else ""
        yield Finding(
            "few-photos",
            "error" if fewest < 2 else "warning",
            f'Class "{name}" has {number_of(fewest)}{more}',
            f"With fewer than {FEW_PHOTOS} photos of a class, some to learn from and some to "
            "judge by, neither can be relied on. Add photos, or merge classes.",
            "",
            lines=tuple(f"{name}: {number_of(number)}" for number, name in few),
        )


def _find_imbalance(evidence: Evidence) -> Iterator[Finding]:
    counts = {name: number for name, number in _training_counts(evidence).items() if number}
    if len(counts) < 2:
        return
    most, least = max(counts, key=lambda n: counts[n]), min(counts, key=lambda n: counts[n])
    if counts[most] > SKEW_LIMIT * counts[least]:
        ratio = counts[most] / counts[least]
        yield Finding(
            "imbalance",
            "warning",
            f'{counts[most]:,} photos to learn "{most}" from and {counts[least]:,} for '
            f'"{least}", {ratio:.1f} : 1',
            f"Past {SKEW_LIMIT:g} : 1, `class_weight` auto (the default) weighs classes alike, "
            'as "balanced" does. Judge by balanced accuracy, not by accuracy; more photos of the '
            "small classes help most.",
            evidence.command("train", class_weight="balanced"),
            lines=tuple(f"{name}: {number_of(number)}" for name, number in counts.items()),
        )


def _find_alike_names(evidence: Evidence) -> Iterator[Finding]:
    alike: dict[str, list[str]] = {}
    for name in evidence.index.class_names:
        alike.setdefault(_letters(name) or name, []).append(name)
    groups = [names for names in alike.values() if len(names) > 1]
    if groups:
        yield Finding(
            "class-names",
            "warning",
            f"{sum(map(len, groups))} classes have names that are almost the same",
            "They differ by case, spaces or signs only. If they mean the same, put their photos "
            "into one folder.",
            "",
            lines=tuple(" / ".join(f'"{name}"' for name in names) for names in groups),
        )


def _letters(name: str) -> str:
    """A name without its case, spaces and signs; vowel signs and accents are no such signs."""
    whole = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(
        letter
        for letter in whole
        if letter.isalnum() or unicodedata.category(letter).startswith("M")
    )


def _find_shortcuts(evidence: Evidence) -> Iterator[Finding]:
    for shortcut in evidence.shortcuts:
        if shortcut.lift < SHORTCUT_NOTE:
            continue
        strong = shortcut.lift >= SHORTCUT_WARNING and shortcut.name != FILE_SIZE
        if strong:
            advice = (
                "A classifier may learn how the photos were made instead of what they show, score "
                "well here and fail elsewhere. Take photos of all classes in the same way, or try "
                "it on photos from elsewhere."
            )
        else:
            advice = (
                "It may come from what the photos show, or from how they were made. Keep in mind "
                "that a classifier can use it too."
            )
        low, high = (format_share(end, 0) for end in shortcut.interval)
        plural = shortcut.name.endswith("s") or " and " in shortcut.name
        yield Finding(
            "shortcut",
            "warning" if strong else "note",
            f"{shortcut.name[0].upper()}{shortcut.name[1:]} alone tell{'s' * (not plural)} "
            f"{format_share(shortcut.balanced_accuracy, 0)} of the photos' classes "
            f"(guessing: {format_share(shortcut.chance, 0)})",
            advice,
            "",
            lines=(
                f"95 % interval {low} to {high}, on photos held out, each class counted alike",
                f"most telling: {shortcut.most_telling} ({'; '.join(shortcut.by_class[:5])})",
            ),
        )


def _find_suspects(evidence: Evidence) -> Iterator[Finding]:
    review, places = evidence.review, evidence.suspicious
    if review is None or not places:
        return
    rows = [int(evidence.reviewed[place]) for place in places]
    settled = set(chain.from_iterable(two_label_copies(evidence)))
    lines, fixes = [], []
    for place, row in zip(places, rows, strict=True):
        path, suggested = evidence.index.paths[row], int(review.suggested[place])
        name = evidence.index.class_names[suggested]
        probability = float(review.probabilities[place, suggested])
        looks = f"looks like {name} ({format_share(probability, 0)})"
        lines.append(f"{path} is labeled {evidence.class_name(row)}, {looks}")
        if row not in settled and probability >= CLEAR_PROBABILITY:
            fixes.append(Fix(path, "relabel", name, looks))
        elif row not in settled:
            fixes.append(Fix(path, "keep", "", f"{looks}: relabel it if it is"))
    yield Finding(
        "label-suspect",
        "warning",
        f"{number_of(len(rows), 'label')} may be wrong",
        "A classifier trained without these photos predicts a different class. Some are only "
        "unusual: look at each, and change the line in the fix list where the label is right.",
        evidence.fix_command,
        tuple((row,) for row in rows),
        tuple(lines),
        tuple(fixes),
    )
