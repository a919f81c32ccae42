from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import draw_photo
from handful.augmentation_policy import AugmentationPolicy
from handful.data.augmentation import HANDFUL_POLICY
from handful.data.ignored import is_figure
from handful.errors import OutputError
from handful.reports.sheets import Sheet, example_sheet, preview_sheet
from handful.training.previews import draw_preview

PHOTO = draw_photo("round", 0, (72, 96))
POLICY = AugmentationPolicy(
    rotation_range=40, width_shift_range=(3, 5), horizontal_flip=True, rescale=1 / 255
)


def texts(sheet: Sheet) -> list[str]:
    return [words.text for words in sheet.words]


def test_a_preview_shows_the_photo_its_views_and_every_strip() -> None:
    shown = draw_preview(PHOTO, POLICY, name="cat & $dog$.jpg, recipe keras-tutorial")
    sheet = preview_sheet(shown)
    written = set(texts(sheet))
    assert {"cat & $dog$.jpg, recipe keras-tutorial", "16 random views", *shown.notes} <= written
    for strip in shown.strips:
        plain = [label.replace("−", "-") for label in (strip.name, strip.range, *strip.labels)]
        assert set(plain) <= written
    assert len(sheet.tiles) == 1 + 16 + 8 + 4 + 2
    for photo, (left, top, width, height) in sheet.tiles:
        assert 0 < left < left + width < sheet.width and 0 < top < top + height < sheet.height
        # A photo keeps its proportions.
        assert height / width == pytest.approx(72 / 96, rel=0.03) and photo.shape == PHOTO.shape


def test_nothing_on_a_preview_overlaps() -> None:
    sheet = preview_sheet(draw_preview(PHOTO, HANDFUL_POLICY, name="cat.jpg"))
    boxes = [(x, y, x + width, y + height) for _, (x, y, width, height) in sheet.tiles]
    boxes += [words.box for words in sheet.words]
    for number, one in enumerate(boxes):
        assert one[0] > 0 and one[2] < sheet.width and one[1] > 0 and one[3] < sheet.height
        for other in boxes[number + 1 :]:
            beside = one[2] <= other[0] or other[2] <= one[0]
            assert beside or one[3] <= other[1] or other[3] <= one[1], (one, other)


def test_a_sheet_shows_its_photos_and_writes_its_words() -> None:
    sheet = preview_sheet(draw_preview(PHOTO, AugmentationPolicy(), name="cat.jpg"))
    drawn = np.asarray(sheet.draw())
    assert drawn.shape == (sheet.height, sheet.width, 3)
    photo, (left, top, width, height) = sheet.tiles[0]
    part = drawn[top : top + height, left : left + width].astype(float)
    assert np.abs(part.mean(axis=(0, 1)) - photo.mean(axis=(0, 1))).max() < 2
    for words in sheet.words:
        x, y, right, bottom = map(round, words.box)
        assert drawn[y : bottom + 1, x : right + 1].min() < 140, words.text


def test_names_in_any_letters_are_one_line() -> None:
    names = ["Müller’s", "猫", "line\nbreak", "n" * 300, "bad\udce9bytes", "−5 °"]
    sheet = example_sheet([PHOTO[:, :72]] * 6, names, "")
    assert texts(sheet)[1:] == ["Muller?s", "?", "line break", "n" * 23 + "…", "bad?bytes", "-5 °"]
    sheet.draw()


def test_a_sheet_is_saved_once_and_is_no_photo(tmp_path: Path) -> None:
    sheet = preview_sheet(draw_preview(PHOTO, AugmentationPolicy()))
    path = tmp_path / "deep" / "preview.png"
    sheet.save(path)
    with Image.open(path) as picture:
        assert picture.format == "PNG" and picture.width > 1300
    before = path.read_bytes()
    assert is_figure(before)
    with pytest.raises(OutputError, match=r"preview\.png exists already; choose another `output`"):
        sheet.save(path)
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match=r"output is a\.jpg; expected a name that ends in \.png"):
        sheet.save(Path("a.jpg"))


def test_examples_have_their_names_and_replace_older_ones(tmp_path: Path) -> None:
    pictures = [np.full((side, side, 3), side, np.uint8) for side in range(10, 26)]
    names = [f"class {number}" for number in range(16)]
    sheet = example_sheet(pictures, names, "mnist: 16 pictures")
    assert texts(sheet) == ["mnist: 16 pictures", *names] and len(sheet.tiles) == 16
    path = tmp_path / "examples.png"
    path.write_text("old")
    sheet.save(path, replace=True)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
