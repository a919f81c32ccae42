import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import draw_photo
from handful.features.openvino import OpenVinoExtractor
from handful.projects.project import Project
from handful.studio.desk import Desk

PHOTO = cv2.imencode(".jpg", draw_photo("round", 3))[1].tobytes()


def test_photos_are_answered_by_the_run_that_came_last(tmp_path: Path, tiny_run: Path) -> None:
    desk = Desk(Project.create(tmp_path / "work"))
    assert desk.classifier.get() is None
    assert "no classifier yet" in desk.classifier.answer("a.jpg", PHOTO)["error"]
    shutil.copytree(tiny_run, desk.project.runs / "first")
    again = Desk(desk.project)
    answer = again.classifier.answer("a.jpg", PHOTO)
    assert len(answer["bars"]) == 2 and "map" not in answer
    assert again.classifier.get() is again.classifier.get()
    assert again.classifier.answer("a.txt", b"milk")["error"].startswith("a.txt is not a photo")
    broken = again.classifier.answer("a.jpg", PHOTO[:300])["error"]
    assert broken.startswith("a.jpg ") and broken.endswith(".")


@pytest.mark.parametrize("has_map", [True, False])
def test_a_map_comes_with_the_answer_where_the_network_has_one(
    tmp_path: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch, has_map: bool
) -> None:
    desk = Desk(Project.create(tmp_path / "work"))
    shutil.copytree(tiny_run, desk.project.runs / "first")

    def look(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        classifier = desk.classifier.get()
        assert classifier is not None
        return np.zeros((2, 2, len(classifier.head.mean)), np.float32), classifier.head.mean

    monkeypatch.setattr(OpenVinoExtractor, "feature_map", lambda self: look if has_map else None)
    found = desk.classifier.answer("a.jpg", PHOTO, with_map=True)["map"]
    assert (found is not None) == has_map
    assert not has_map or (len(found["rows"]) == 2 and found["label"] != found["rival"])
