"""What augmentation does to a photo: paths and pixels, recipes and policies of one's own."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import handful
from conftest import draw_photo, write_photo
from handful.data.augmentation import HANDFUL_POLICY
from handful.errors import DataError, OutputError, UsageError
from handful.training.previews import draw_preview
from handful.workflows.preview import preview


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "cat.png"
    write_photo(path, draw_photo("round", 1))
    return path


def test_a_photo_is_shown_as_its_recipes_network_sees_it(photo: Path) -> None:
    shown = preview(photo)
    assert shown.photo.shape == (150, 150, 3) and shown.name == "cat.png, recipe keras-tutorial"
    assert preview(photo, recipe="handful").photo.shape == (144, 144, 3)
    shown = preview(photo, recipe="handful", image_size=40, seed=5)
    assert shown.photo.shape == (40, 40, 3)
    np.testing.assert_array_equal(shown.views, draw_preview(shown.photo, HANDFUL_POLICY, 5).views)
    facts = shown.to_dict()
    assert (facts["height"], facts["width"], facts["num_views"]) == (40, 40, 16)
    assert (facts["photo"], facts["recipe"], facts["seed"]) == (str(photo), "handful", 5)
    assert facts["parameters"][0]["values"][0] == -20 and facts["picture"] is None


def test_a_policy_of_ones_own_takes_the_place_of_the_recipes(photo: Path) -> None:
    policy = handful.AugmentationPolicy(rotation_range=10, zoom_range=[0.5, 1.0])
    shown = handful.preview(photo, policy, recipe="handful")
    assert shown.photo.shape == (144, 144, 3)
    assert [strip.name for strip in shown.strips] == ["rotation_range", "zoom_range"]
    assert shown.strips[0].values[-1] == 10 and shown.strips[1].values[0] == 0.5
    assert shown.name == "cat.png, a policy of one's own"


def test_photos_in_memory_are_shown_as_those_in_files(photo: Path) -> None:
    expected = preview(photo, seed=3)
    pixels = np.asarray(Image.open(photo))
    for given in (pixels, Image.fromarray(pixels), photo.read_bytes()):
        shown = preview(given, seed=3)
        np.testing.assert_array_equal(shown.views, expected.views)
        assert shown.name == "a photo, recipe keras-tutorial" and shown.source is None


def test_a_picture_is_written_where_one_is_asked_for(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    preview(photo)
    assert {path.name for path in tmp_path.iterdir()} == {"cat.png"}
    assert preview(photo, output=None).path == Path("cat-preview.png")
    assert preview(photo.read_bytes(), output=None).path == Path("photo-preview.png")
    made = preview(photo, output="views.png")
    assert made.to_dict()["picture"] == "views.png" and Path("views.png").is_file()
    with pytest.raises(OutputError, match=r"views\.png exists already"):
        preview(photo, output="views.png")


def test_wrong_questions_are_refused(photo: Path) -> None:
    with pytest.raises(UsageError, match="`recipe` is 'mine'; expected one of keras-tutorial"):
        preview(photo, recipe="mine")
    with pytest.raises(UsageError, match="`image_size` is 2; expected 8 to 1024 pixels"):
        preview(photo, image_size=2)
    with pytest.raises(UsageError, match="photo is of type float; expected a path"):
        preview(1.5)  # type: ignore[arg-type]


def test_what_is_no_photo_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jpg does not exist; expected a whole photo"):
        preview(tmp_path / "none.jpg")
    with pytest.raises(DataError, match=r"is a folder; expected a whole photo"):
        preview(tmp_path)
    (tmp_path / "text.jpg").write_text("hello")
    expected = r"text\.jpg is not a photo of a known format; expected a whole photo, .*Give a"
    with pytest.raises(DataError, match=expected):
        preview(tmp_path / "text.jpg")
    with pytest.raises(DataError, match="The photo is not a photo of a known format"):
        preview(b"hello")
