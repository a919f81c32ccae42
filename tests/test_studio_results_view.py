from pathlib import Path

import numpy as np
import pytest

from conftest import draw_photo, write_photo
from handful.evaluation.evaluation import Evaluation, score
from handful.projects.project import Project
from handful.studio.photos_view import act
from handful.studio.results_view import (
    TABLE_CLASSES,
    changed_since,
    confusions_of,
    details_of,
    figure_of,
    photos_of,
    unusual_photos,
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Three round photos and three square ones, sorted."""
    for kind in ("Round", "Square"):
        for number in range(3):
            write_photo(tmp_path / "heap" / f"{kind}{number}.png", draw_photo(kind.lower(), number))
    found = Project.create(tmp_path / "work")
    found.add_source(tmp_path / "heap")
    for photo in found.photos:
        act(found, "assign", [photo.id], photo.name[:-5])
    return found


@pytest.fixture
def evaluation(project: Project) -> Evaluation:
    """All photos tested; Round2 and Square1 were taken for the other class."""
    index = project.index()
    sure = np.array([0.9, 0.8, 0.1, 0.2, 0.7, 0.25])  # of Round
    return score(np.stack([sure, 1 - sure], 1), index.labels, index.class_names, list(index.paths))


def test_the_figure_is_in_plain_words(evaluation: Evaluation) -> None:
    figure = figure_of(evaluation, "work")
    assert figure.share == "66.7 %" and figure.low < 4 / 6 < figure.high and figure.verdict
    assert figure.summary.startswith("4 of 6 test photos classified correctly")


def test_a_cell_of_the_table_has_its_photos(project: Project, evaluation: Evaluation) -> None:
    table = confusions_of(evaluation)
    assert [[cell.count for cell in row] for row in table.rows] == [[2, 1], [1, 2]]
    right, wrong = table.rows[0]
    assert right.is_correct and right.label == "2 Round classified correctly"
    assert wrong.label == "1 Round taken for Square" and 0 < wrong.shade < right.shade <= 1
    everything = photos_of(project, evaluation)
    assert everything.title == "Classified wrong (2)"
    assert [photo.name for photo in everything.photos] == ["Round2.png", "Square1.png"]
    (mistake,) = photos_of(project, evaluation, ("Round", "Square")).photos
    assert (mistake.name, mistake.actual, mistake.predicted) == ("Round2.png", "Round", "Square")
    assert mistake.confidence == "90.0 %" and mistake.is_wrong
    correct = photos_of(project, evaluation, ("Round", "Round"), limit=1)
    assert correct.title == "Round classified correctly (2)" and correct.num_more == 1
    assert [photo.name for photo in correct.photos] == ["Round0.png"]


def test_many_classes_are_a_list_of_the_worst_pairs() -> None:
    names = [f"class {number}" for number in range(TABLE_CLASSES + 1)]
    probabilities = np.eye(len(names))[[0, 0, 1, 1, 1, *range(2, len(names))]]
    labels = np.array([0, 0, 0, 2, 2, *range(2, len(names))])
    paths = [f"{number}.jpg" for number in range(len(labels))]
    found = confusions_of(score(probabilities, labels, names, paths))
    assert found.rows == () and [text for _, text in found.pairs] == [
        "class 2 taken for class 1: 2 (67 %)",
        "class 0 taken for class 1: 1 (33 %)",
    ]
    cell = found.pairs[0][0]
    assert (cell.actual, cell.predicted, cell.count) == ("class 2", "class 1", 2)


def test_a_label_is_fixed_where_it_is_seen(project: Project, evaluation: Evaluation) -> None:
    (mistake,) = photos_of(project, evaluation, limit=1).photos
    assert mistake.done == changed_since(project, evaluation) == ""
    act(project, "assign", [mistake.id], "Square")
    assert photos_of(project, evaluation).photos[0].done == "is now Square"
    assert changed_since(project, evaluation).startswith("1 label changed since. Train again")
    act(project, "leave_out", [mistake.id])
    assert photos_of(project, evaluation).photos[0].done == "left out"
    act(project, "unsort", [mistake.id])
    assert photos_of(project, evaluation).photos[0].done == "unsorted"


def test_unusual_photos_are_in_the_order_given(project: Project, evaluation: Evaluation) -> None:
    paths = [evaluation.paths[4], "gone.jpg", evaluation.paths[0]]
    found = unusual_photos(project, evaluation, paths)
    assert found.title == "Unusual photos (2)"
    assert [photo.name for photo in found.photos] == ["Square1.png", "Round0.png"]


def test_details_have_every_class(evaluation: Evaluation) -> None:
    found = details_of(evaluation)
    names = [name.split(" (")[0].split(":")[0] for name, _ in found.measures]
    assert names == ["Balanced accuracy", "ROC-AUC", "Log loss", "Calibration"]
    assert dict(found.measures)["Calibration: how far probabilities are off"].startswith("so few")
    assert [row[:3] for row in found.classes] == [
        ("Round", "3", "66.7 %"),
        ("Square", "3", "66.7 %"),
    ]
    assert found.classes[0][3].startswith("66.7 % (") and found.classes[0][4] == "0.667"
