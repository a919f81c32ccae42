from dataclasses import replace

import numpy as np

from handful.models.activation_maps import Explanation
from handful.models.classifier import Prediction
from handful.studio.use_view import answer_of, map_of


def test_an_answer_says_not_sure_and_unusual() -> None:
    sure = Prediction("a.jpg", "Round", 0.9, {"Square": 0.1, "Round": 0.9}, False, True)
    assert answer_of(sure) == {
        "headline": "Round",
        "is_sure": True,
        "unusual": "",
        "bars": [["Round", 0.9, "90.0 %"], ["Square", 0.1, "10.0 %"]],
    }
    unsure = answer_of(replace(sure, is_confident=False, is_out_of_distribution=True))
    assert unsure["headline"] == "Not sure, perhaps Round" and "unlike" in unsure["unusual"]


def test_a_map_is_told_in_shares_of_its_strongest_place() -> None:
    values = np.array([[2.0, -1.0], [0.0, 0.5]], np.float32)
    image = np.zeros((2, 2, 3), np.uint8)
    found = map_of(Explanation("", "Round", "Square", 0.9, values, image, (0.1, 0.0, 0.9, 1.0)))
    assert found["rows"] == [[1.0, -0.5], [0.0, 0.25]] and found["seen"] == [0.1, 0.0, 0.9, 1.0]
    assert (found["label"], found["rival"]) == ("Round", "Square")
    flat = map_of(Explanation("", "a", "b", 0.5, 0 * values, image, (0.0, 0.0, 1.0, 1.0)))
    assert flat["rows"] == [[0.0, 0.0], [0.0, 0.0]]
