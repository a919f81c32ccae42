"""Labeling with help: groups, suggestions, what to label next, whether it is enough."""

import re
from pathlib import Path

import numpy as np
import pytest

from conftest import draw_photo, write_photo
from handful.evaluation.learning_curve import CurvePoint, LearningCurve
from handful.features.conversion import FrozenNetwork
from handful.models.active_learning import ExpectedAccuracy
from handful.projects.project import Project
from handful.reporting import Reporter
from handful.workflows.labeling import Labeler, outlook_sentence


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Thirty round photos, thirty square ones, none of them sorted, and a torn file."""
    for kind in ("round", "square"):
        for number in range(30):
            seed = number + 1000 * (kind == "square")
            write_photo(tmp_path / "photos" / f"{kind}-{number:02d}.jpg", draw_photo(kind, seed))
    whole = (tmp_path / "photos" / "round-00.jpg").read_bytes()
    (tmp_path / "photos" / "torn.jpg").write_bytes(whole[:-600])
    project = Project.open(tmp_path / "p")
    project.add_source(tmp_path / "photos")
    return project


@pytest.fixture
def labeler(project: Project, tiny_backbone: FrozenNetwork) -> Labeler:
    labeler = Labeler(project)
    labeler.embed(reporter=Reporter())
    return labeler


def kinds(labeler: Labeler, number: int) -> None:
    """Sort the first photos of each kind as their names say."""
    for kind in ("round", "square"):
        ids = [photo.id for photo in labeler.project.photos if photo.name.startswith(kind)]
        labeler.project.labels.assign(ids[:number], kind)


def test_photos_are_embedded_once(labeler: Labeler, tmp_path: Path) -> None:
    assert labeler.num_missing == 0 and len(labeler.project.photos) == 60
    assert [file.path for file in labeler.project.rejected] == ["photos/torn.jpg"]
    write_photo(tmp_path / "photos" / "new.jpg", draw_photo("round", 77))
    labeler.project.refresh()
    assert labeler.num_missing == 1
    done: list[int] = []

    class Counting(Reporter):
        def progress(self, done_now: int, of: int) -> None:
            done.append(of)

    labeler.embed(reporter=Counting())
    assert set(done) == {1} and labeler.num_missing == 0


def likeliest(labeler: Labeler) -> dict[str, tuple[str, float]]:
    """What each unsorted photo probably is, and how probably."""
    labels = labeler.project.labels.all()
    ids = [photo.id for photo in labeler.project.photos if photo.id not in labels]
    found = {id: labeler.probabilities_of(id) for id in ids}
    return {id: next(iter(chances.items())) for id, chances in found.items() if chances}


def test_before_anything_is_embedded_there_are_no_answers(project: Project) -> None:
    labeler = Labeler(project)
    assert labeler.groups() == () and likeliest(labeler) == {} and labeler.label_next() == ()
    assert labeler.outlook().sentence == "Too early to tell: no photo is sorted."
    assert labeler.num_missing == 61


def test_groups_hold_the_unsorted_photos(labeler: Labeler) -> None:
    ids = [photo.id for photo in labeler.project.photos]
    found = labeler.groups()
    assert sorted(id for group in found for id in group.ids) == sorted(ids)
    assert all(group.suggestion is None for group in found)
    labeler.project.labels.assign(ids[:10], "x")
    labeler.project.labels.leave_out(ids[10:12])
    assert sorted(id for group in labeler.groups() for id in group.ids) == sorted(ids[12:])


def test_suggestions_begin_with_five_of_each_class(labeler: Labeler) -> None:
    kinds(labeler, 4)
    assert likeliest(labeler) == {}
    kinds(labeler, 12)
    labeler.project.labels.add_class("no photo yet")
    found = likeliest(labeler)
    assert len(found) == 36
    names = {photo.id: photo.name for photo in labeler.project.photos}
    right = [names[id].startswith(class_name) for id, (class_name, _) in found.items()]
    assert np.mean(right) > 0.8
    assert all(0.5 <= probability <= 1 for _, probability in found.values())
    # They are not labels.
    assert len(labeler.project.labels.all()) == 24
    id, suggestion = next(iter(found.items()))
    chances = labeler.probabilities_of(id)
    assert list(chances.values()) == sorted(chances.values(), reverse=True)
    assert next(iter(chances.items())) == suggestion
    assert sum(chances.values()) == pytest.approx(1)
    labeler.project.labels.leave_out([id])
    assert labeler.probabilities_of(id) == {} == labeler.probabilities_of("no such photo")


def test_groups_have_suggestions_then(labeler: Labeler) -> None:
    kinds(labeler, 12)
    found, single = labeler.groups(), likeliest(labeler)
    assert sorted(id for group in found for id in group.ids) == sorted(single)
    sure = [group for group in found if group.suggestion is not None]
    assert sure and found[: len(sure)] == tuple(sure)  # the mixed ones come last
    for group in sure:
        assert group.suggestion is not None
        chances = [single[id][1] for id in group.ids]
        assert chances == sorted(chances, reverse=True) and min(chances) >= 0.8
        assert group.suggestion.probability == pytest.approx(np.mean(chances))
        assert {single[id][0] for id in group.ids} == {group.suggestion.class_name}
    mixed = [id for group in found[len(sure) :] for id in group.ids]
    assert all(single[id][1] < 0.8 for id in mixed)


def test_a_new_label_changes_the_answers(labeler: Labeler) -> None:
    kinds(labeler, 12)
    before = likeliest(labeler)
    labeler.project.labels.undo()
    assert likeliest(labeler) == {}  # the squares have none any more
    labeler.project.labels.redo()
    assert likeliest(labeler) == before


def test_what_to_label_next_has_reasons(labeler: Labeler) -> None:
    found = labeler.label_next(6)
    assert len(found) == 6
    assert {photo.reason for photo in found} == {"it stands for many photos"}
    kinds(labeler, 5)
    found = labeler.label_next()
    reasons = [photo.reason for photo in found]
    assert len(found) == 12 and reasons[-1] == "nothing like it has a label yet"
    torn = {f"the classifier is torn between {a}" for a in ("round and square", "square and round")}
    assert set(reasons[:-1]) <= torn
    labeled = labeler.project.labels.all()
    assert not any(photo.id in labeled for photo in found)


def test_too_early_to_tell(labeler: Labeler) -> None:
    assert labeler.outlook().sentence == (
        "Too early to tell: a classifier needs photos of two classes."
    )
    kinds(labeler, 3)
    assert labeler.outlook().sentence == 'Too early to tell: sort 2 more photos into "round".'
    kinds(labeler, 7)
    assert labeler.outlook().sentence == "Too early to tell: sort 2 more photos."
    assert labeler.outlook().curve is None


def test_the_outlook_is_the_learning_curve(labeler: Labeler) -> None:
    kinds(labeler, 15)
    told: list[tuple[int, int]] = []
    found = labeler.outlook(lambda done, of: told.append((done, of)))
    assert found.curve is not None and found.curve.num_photos == 30
    assert found.accuracy is not None and found.interval is not None
    assert found.interval[0] <= found.accuracy <= found.interval[1]
    assert re.match(r"(At least a|A)bout \d+ of 100 new photos right now \(", found.sentence)
    assert told[-1][0] == told[-1][1]


def drawn_curve(error: float, exponent: float, floor: float = 0.0) -> LearningCurve:
    """A curve of 100 photos of two classes, all of whose draws are one power law."""
    points = tuple(
        CurvePoint(size, size / 2, 1 - error * (100 / size) ** exponent, 0.0, 10)
        for size in (10, 30, 100)
    )
    many = np.ones(50)
    zeros = np.zeros(50)
    return LearningCurve(points, 100, 2, 2, error * many, floor * many, exponent * many, zeros, 0.0)


@pytest.mark.parametrize(
    ("curve", "now", "more"),
    [
        (drawn_curve(0.06, 0.5), "94 of 100", "(89 to 95). 80 more labels would bring about 96."),
        (drawn_curve(0.2, 0.5), "80 of 100", "(75 to 81). 20 more labels would bring about 82."),
        (drawn_curve(0.02, 0.5), "98 of 100", "(93 to 99). 200 more labels would bring about 99."),
        (drawn_curve(0.1, 0.5, 0.99), "90 of 100", "(85 to 91). More labels of this kind would "),
        (drawn_curve(0.001, 0.5), "99 of 100", "(94 to 100). More labels of this kind would "),
    ],
)
def test_the_sentence(curve: LearningCurve, now: str, more: str) -> None:
    accuracy = curve.predict(curve.photos_a_class)[0]
    interval = accuracy - 0.05, accuracy + 0.0004
    sentence = outlook_sentence(curve, ExpectedAccuracy(accuracy, interval, accuracy))
    assert sentence.startswith(f"About {now} new photos right now {more}")
    sentence = outlook_sentence(curve, ExpectedAccuracy(accuracy, interval, accuracy - 0.2))
    assert sentence.startswith(f"At least about {now} new photos right now {more}")


def test_photos_without_a_label_count_too(labeler: Labeler) -> None:
    # Labels of the hard ones alone: half of them are wrong on purpose.
    ids = {photo.name: photo.id for photo in labeler.project.photos}
    for kind, other in (("round", "square"), ("square", "round")):
        names = [name for name in ids if name.startswith(kind)]
        labeler.project.labels.assign([ids[name] for name in names[:15]], kind)
        labeler.project.labels.assign([ids[name] for name in names[15:18]], other)
    found = labeler.outlook()
    assert found.accuracy is not None and found.curve is not None
    # 36 of 60 have labels, a sixth of them wrong; the others are as likely as they are said to be.
    assert 0.5 < found.accuracy < 0.95
