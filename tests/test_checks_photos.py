"""What would spoil a classifier, found; and what would not, left alone."""

import numpy as np
import pytest

from handful.checks.findings import Finding
from handful.checks.photos import find_problems
from handful.checks.shortcuts import Shortcut
from handful.data.fixes import Fix
from handful.data.index import RejectedFile
from test_checks_findings import evidence_of

LABELS = [0, 1] * 20
DARK = {"brightness": 0.02, "contrast": 0.02, "dark_share": 1.0}
WHITE = {"brightness": 0.98, "contrast": 0.02, "bright_share": 1.0}


def kinds(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.kind for finding in findings]


def only(kind: str, findings: tuple[Finding, ...]) -> Finding:
    (found,) = (finding for finding in findings if finding.kind == kind)
    return found


def test_sound_photos_have_no_findings() -> None:
    sure = np.array([[0.9, 0.1], [0.1, 0.9]] * 20)
    assert find_problems(evidence_of(LABELS, probabilities=sure)) == ()


def test_no_photos_at_all_are_no_crash() -> None:
    found = find_problems(evidence_of([], rejected=(RejectedFile("a/x.jpg", "is truncated"),)))
    assert kinds(found) == ["few-photos", "unreadable"]


def test_the_most_severe_come_first() -> None:
    evidence = evidence_of(
        LABELS,
        parts=["train", "train", "validation", "validation"] * 10,
        pairs=[(0, 2)],
        measures={4: DARK},
        metadata={6: {"width": 40, "height": 30}},
    )
    found = find_problems(evidence)
    assert kinds(found) == ["leak", "near-black", "tiny"]
    assert [finding.severity for finding in found] == ["error", "warning", "note"]


def test_unusable_files_are_named_and_can_be_silenced() -> None:
    rejected = tuple(RejectedFile(f"cat/{n}.txt", "is text") for n in range(3))
    found = only("unreadable", find_problems(evidence_of(LABELS, rejected=rejected)))
    assert found.title == "3 files cannot be used" and found.groups == ()
    assert found.lines[0] == "cat/0.txt is text"
    assert found.fixes[0] == Fix("cat/0.txt", "remove", "", "is text")


@pytest.mark.parametrize(
    ("measures", "kind"),
    [(DARK, "near-black"), (WHITE, "near-white"), ({"contrast": 0.01}, "flat")],
)
def test_photos_without_anything_to_see_are_suggested_to_go(
    measures: dict[str, float], kind: str
) -> None:
    found = find_problems(evidence_of(LABELS, measures={3: measures}))
    assert kinds(found) == [kind]
    assert found[0].severity == "warning" and found[0].groups == ((3,),)
    (fix,) = found[0].fixes
    assert (fix.path, fix.action) == ("dog/3.jpg", "remove")


@pytest.mark.parametrize(
    "measures",
    [
        {"dark_share": 0.98, "contrast": 0.15},  # a lamp at night
        {"bright_share": 0.97, "contrast": 0.12},  # a drawing on white
        {"dark_share": 0.8, "contrast": 0.04},
        {"contrast": 0.06},
    ],
)
def test_dark_and_pale_photos_with_something_to_see_are_left_alone(
    measures: dict[str, float],
) -> None:
    assert find_problems(evidence_of(LABELS, measures={3: measures})) == ()


@pytest.mark.parametrize(
    "usual",
    [
        {"dark_share": 0.99, "contrast": 0.03},  # stars
        {"bright_share": 0.99, "contrast": 0.03},  # pencil on paper
        {"contrast": 0.012},  # unstained cells
        {"sharpness": 0.006},  # X-rays
    ],
)
def test_what_the_whole_set_is_like_is_no_fault(usual: dict[str, float]) -> None:
    everywhere = dict.fromkeys(range(40), usual)
    assert find_problems(evidence_of(LABELS, measures=everywhere)) == ()


def test_a_set_that_is_black_throughout_is_called_so() -> None:
    black = {"brightness": 0.0, "contrast": 0.001, "sharpness": 0.0, "dark_share": 1.0}
    found = find_problems(evidence_of(LABELS, measures=dict.fromkeys(range(40), black)))
    assert len(only("near-black", found).groups) == 40


def test_black_photos_of_one_class_may_be_what_it_means() -> None:
    for rows, action in (((1, 3, 5), "keep"), ((1, 3), "remove"), ((1, 2, 3), "remove")):
        (found,) = find_problems(evidence_of(LABELS, measures=dict.fromkeys(rows, DARK)))
        assert {fix.action for fix in found.fixes} == {action}
        assert ('All are labeled "dog"' in found.advice) == (action == "keep")


def test_blur_is_doubtful_and_the_worst_is_first() -> None:
    measures = {3: {"sharpness": 0.004}, 8: {"sharpness": 0.002}, 9: {"sharpness": 0.009}}
    (found,) = find_problems(evidence_of(LABELS, measures=measures))
    assert (found.kind, found.groups) == ("blurred", ((8,), (3,)))
    assert [fix.action for fix in found.fixes] == ["keep", "keep"]


def test_one_reason_is_enough() -> None:
    """A black photo has no sharp edge, and an icon neither; nobody need be told twice."""
    measures = {3: {**DARK, "sharpness": 0.0}, 4: {"sharpness": 0.001}}
    metadata = {4: {"width": 30, "height": 30}}
    found = find_problems(evidence_of(LABELS, measures=measures, metadata=metadata))
    assert kinds(found) == ["near-black", "tiny"]


def test_what_is_unlike_all_others_is_told_unless_it_is_black() -> None:
    (found,) = find_problems(evidence_of(LABELS, outliers=(7, 2)))
    assert (found.kind, found.severity, found.groups) == ("outlier", "note", ((7,), (2,)))
    assert found.lines[0] == "dog/7.jpg is unlike all others"
    black = find_problems(evidence_of(LABELS, outliers=(7, 2), measures={7: DARK}))
    assert [(each.kind, each.groups) for each in black] == [
        ("near-black", ((7,),)),
        ("outlier", ((2,),)),
    ]


def test_small_and_long_photos_are_small_and_long_for_the_set() -> None:
    metadata = {3: {"width": 60, "height": 50}, 5: {"width": 1300, "height": 400}}
    found = find_problems(evidence_of(LABELS, metadata=metadata))
    assert kinds(found) == ["tiny", "extreme-aspect"]
    assert found[0].lines == ("dog/3.jpg is 60 x 50 pixels",)
    assert {fix.action for each in found for fix in each.fixes} == {"keep"}
    digits = {key: {"width": 28, "height": 28} for key in range(40)}
    assert find_problems(evidence_of(LABELS, metadata=digits)) == ()
    panoramas = {key: {"width": 3600, "height": 900} for key in range(40)}
    assert find_problems(evidence_of(LABELS, metadata=panoramas)) == ()


@pytest.mark.parametrize(
    ("path", "name", "is_wrong"),
    [
        ("cat/a.jpg", "PNG", True),
        ("cat/a.JPG", "JPEG", False),
        ("cat/a.jpeg", "JPEG", False),
        ("cat/a.png", "WebP", True),
        ("cat/a", "PNG", False),
        ("cat/a.photo", "PNG", False),
        ("cat/a.tif", "TIFF", False),
    ],
)
def test_a_name_may_lie_about_the_format(path: str, name: str, is_wrong: bool) -> None:
    paths = [path, *(f"x/{n}.jpg" for n in range(39))]
    found = find_problems(evidence_of(LABELS, paths=paths, metadata={0: {"format": name}}))
    assert kinds(found) == (["wrong-extension"] if is_wrong else [])


def test_a_few_photos_of_another_color_mode_are_noted() -> None:
    metadata = {1: {"mode": "Gray"}, 2: {"mode": "CMYK"}}
    measures = {3: {"saturation": 0.0}}
    (found,) = find_problems(evidence_of(LABELS, metadata=metadata, measures=measures))
    assert (found.kind, found.severity) == ("odd-colour-mode", "note")
    assert found.lines == ("dog/1.jpg is gray", "cat/2.jpg is CMYK", "dog/3.jpg is gray")
    assert found.fixes == ()


def test_a_grey_set_and_a_mixed_set_are_no_oddity() -> None:
    grey = {key: {"mode": "L"} for key in range(40)}
    assert find_problems(evidence_of(LABELS, metadata=grey)) == ()
    mixed = {key: {"mode": "L"} for key in range(15)}
    assert find_problems(evidence_of(LABELS, metadata=mixed)) == ()


def test_unequal_classes_are_counted_where_learning_is_done() -> None:
    labels = [0] * 61 + [1] * 20
    found = find_problems(evidence_of(labels))
    assert kinds(found) == ["imbalance"]
    assert found[0].title == '61 photos to learn "cat" from and 20 for "dog", 3.0 : 1'
    assert found[0].command == "handful train photos --class-weight balanced"
    assert find_problems(evidence_of([0] * 60 + [1] * 20)) == ()
    parts = ["train"] * 20 + ["validation"] * 41 + ["train"] * 20
    assert find_problems(evidence_of(labels, parts=parts)) == ()


def test_small_classes_cannot_be_judged() -> None:
    names = ("a", "b", "c")
    found = find_problems(evidence_of([0] * 12 + [1] * 9 + [2] * 5, class_names=names))
    assert kinds(found) == ["few-photos"] and found[0].severity == "warning"
    assert found[0].title == 'Class "c" has 5 photos, and another class has few too'
    assert found[0].lines == ("c: 5 photos", "b: 9 photos")
    lone = only("few-photos", find_problems(evidence_of([0] * 12 + [1])))
    assert (lone.severity, lone.title) == ("error", 'Class "dog" has 1 photo')


def test_class_names_that_are_almost_the_same_are_one_perhaps() -> None:
    names = ("Golden Retriever", "golden_retriever", "poodle", "\u732b")
    found = find_problems(evidence_of([0, 1, 2, 3] * 10, class_names=names))
    assert kinds(found) == ["class-names"]
    assert found[0].lines == ('"Golden Retriever" / "golden_retriever"',)


def test_vowel_signs_tell_names_apart_and_two_ways_to_write_an_accent_do_not() -> None:
    day, poor = "\u0926\u093f\u0928", "\u0926\u0940\u0928"
    names = (day, poor, "caf\u00e9", "cafe\u0301", "cafe")
    found = find_problems(evidence_of([0, 1, 2, 3, 4] * 10, class_names=names))
    assert kinds(found) == ["class-names"]
    assert found[0].lines == ('"caf\u00e9" / "cafe\u0301"',)


@pytest.mark.parametrize(
    ("interval", "severity"),
    [((0.48, 0.6), None), ((0.55, 0.65), None), ((0.58, 0.62), "note"), ((0.96, 0.98), "warning")],
)
def test_shortcuts_are_weighed_by_what_is_certain_of_them(
    interval: tuple[float, float], severity: str | None
) -> None:
    shortcut = Shortcut(
        "photo dimensions", sum(interval) / 2, interval, 0.5, "width", ("cat: median 300",)
    )
    found = find_problems(evidence_of(LABELS, shortcuts=(shortcut,)))
    assert [finding.severity for finding in found] == ([severity] if severity else [])
    if severity == "warning":
        assert found[0].title == (
            "Photo dimensions alone tell 97 % of the photos' classes (guessing: 50 %)"
        )
        assert "instead of what they show" in found[0].advice
        assert found[0].lines[1] == "most telling: width (cat: median 300)"


def test_file_size_may_come_from_what_is_shown() -> None:
    shortcut = Shortcut("file size", 0.97, (0.96, 0.98), 0.5, "bytes", ("cat: median 300",))
    (found,) = find_problems(evidence_of(LABELS, shortcuts=(shortcut,)))
    assert found.severity == "note"
    assert found.title.startswith("File size alone tells 97 % of")


def test_wrong_labels_are_suggested_to_change_where_it_is_clear() -> None:
    probabilities = np.array([[0.95, 0.05], [0.05, 0.95]] * 20)
    probabilities[2] = [0.02, 0.98]
    probabilities[3] = [0.97, 0.03]
    found = only("label-suspect", find_problems(evidence_of(LABELS, probabilities=probabilities)))
    assert found.title == "2 labels may be wrong"
    assert found.groups == ((2,), (3,))
    assert found.lines[0] == "cat/2.jpg is labeled cat, looks like dog (98 %)"
    assert found.fixes == (
        Fix("cat/2.jpg", "relabel", "dog", "looks like dog (98 %)"),
        Fix("dog/3.jpg", "relabel", "cat", "looks like cat (97 %)"),
    )


def test_a_label_that_only_might_be_wrong_is_kept() -> None:
    probabilities = np.array([[0.7, 0.3], [0.3, 0.7]] * 20)
    probabilities[2] = [0.2, 0.8]
    found = only("label-suspect", find_problems(evidence_of(LABELS, probabilities=probabilities)))
    (fix,) = found.fixes
    assert (fix.action, fix.reason) == ("keep", "looks like dog (80 %): relabel it if it is")


def test_a_photo_with_two_labels_is_settled_once() -> None:
    probabilities = np.array([[0.95, 0.05], [0.05, 0.95]] * 20)
    probabilities[3] = probabilities[0]
    evidence = evidence_of(
        LABELS,
        hashes=["x" if row in (0, 3) else str(row) for row in range(40)],
        alike={3: 0},
        probabilities=probabilities,
    )
    found = find_problems(evidence)
    assert kinds(found) == ["same-photo-two-labels", "label-suspect"]
    assert [fix.action for fix in found[0].fixes] == ["remove"]
    assert found[1].fixes == ()
