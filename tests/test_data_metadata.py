"""What is measured of a picture, and what its file says."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from conftest import draw_photo
from handful.data.metadata import (
    BORDER_MEASURES,
    MEASURES,
    FileMetadata,
    measure,
    pack_metadata,
    read_metadata,
    unpack_metadata,
)
from handful.errors import DataError


def encode(image: np.ndarray, name: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, name, **options)
    return file.getvalue()


def named(image: np.ndarray) -> dict[str, float]:
    return dict(zip(MEASURES, measure(image).tolist(), strict=True))


def plain(*colour: int, side: int = 224) -> np.ndarray:
    return np.full((side, side, 3), colour, dtype=np.uint8)


def test_facts_are_those_of_the_file() -> None:
    image = draw_photo("round", 0, (90, 120))
    data = encode(image)
    metadata = read_metadata(data)
    assert (metadata.format, metadata.width, metadata.height, metadata.mode) == (
        "JPEG",
        120,
        90,
        "YCbCr",
    )
    assert metadata.num_bytes == len(data) and metadata.camera == ""
    png = read_metadata(encode(image[:, :, 0], "PNG"))
    assert (png.format, png.mode, png.encoder) == ("PNG", "L", "")
    with pytest.raises(DataError, match="is not a photo of a known format"):
        read_metadata(b"text")


def test_the_encoder_is_told_by_its_tables_not_by_the_photo() -> None:
    first, second = draw_photo("round", 0), draw_photo("square", 1)
    of = {
        (i, q): read_metadata(encode(im, quality=q)).encoder
        for i, im in enumerate((first, second))
        for q in (60, 90)
    }
    assert of[0, 60] == of[1, 60] != of[0, 90] == of[1, 90]
    assert len(of[0, 60]) == 8


@pytest.mark.parametrize(
    ("make", "model", "expected"),
    [
        ("Nikon", "D90", "Nikon D90"),
        ("Canon", "Canon EOS 5D", "Canon EOS 5D"),
        ("", "X1", "X1"),
        ("Leica", "", "Leica"),
        ("LG", "G4", "LG G4"),
    ],
)
def test_the_camera_is_read_from_exif(make: str, model: str, expected: str) -> None:
    exif = Image.Exif()
    if make:
        exif[0x010F] = make
    if model:
        exif[0x0110] = model
    assert read_metadata(encode(draw_photo("round", 0), exif=exif.tobytes())).camera == expected


def test_broken_exif_stops_nothing() -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Nikon", "D90"
    block = exif.tobytes()
    image = draw_photo("round", 0)
    found = {read_metadata(encode(image, exif=block[:end])).camera for end in range(6, len(block))}
    assert "" in found and max(map(len, found)) <= len("Nikon D90")


def test_measures_of_plain_pictures_are_exact() -> None:
    grey = named(plain(51, 51, 51))
    assert grey["brightness"] == pytest.approx(0.2)
    assert grey["sharpness"] == grey["saturation"] == 0
    assert grey["contrast"] == pytest.approx(0, abs=1e-6)
    assert grey["dark_share"] == grey["bright_share"] == 0
    assert [grey[name] for name in BORDER_MEASURES] == pytest.approx([0.2] * 12)
    assert named(plain(0, 0, 0))["dark_share"] == 1
    assert named(plain(255, 255, 255))["bright_share"] == 1
    assert named(plain(204, 102, 0))["saturation"] == pytest.approx(0.8)


def test_shares_and_contrast_are_those_of_the_pixels() -> None:
    image = plain(0, 0, 0)
    image[:56] = 255
    found = named(image)
    assert found["bright_share"] == pytest.approx(0.25)
    assert found["dark_share"] == pytest.approx(0.75)
    assert found["brightness"] == pytest.approx(0.25)
    assert found["contrast"] == pytest.approx(np.sqrt(0.25 * 0.75), rel=1e-3)


def test_each_border_is_measured_by_itself() -> None:
    image = plain(0, 0, 0)
    image[:20, 20:-20] = (255, 0, 0)
    image[20:-20, -20:] = (0, 0, 255)
    found = named(image)
    assert found["top_red"] > 0.7 and found["right_blue"] > 0.7
    for name in ("bottom_red", "left_red", "left_blue", "bottom_green", "top_green"):
        assert found[name] == 0


@pytest.mark.parametrize("seed", range(4))
def test_blur_lowers_sharpness_and_contrast_does_not(seed: int) -> None:
    coarse = np.random.default_rng(seed).integers(0, 256, (14, 14, 3), dtype=np.uint8)
    image = coarse.repeat(16, axis=0).repeat(16, axis=1)
    sharp = named(image)["sharpness"]
    values = [
        named(cv2.GaussianBlur(image, (0, 0), sigma))["sharpness"] for sigma in (1.0, 2.0, 8.0)
    ]
    assert sharp > values[0] > values[1] and max(values[1:]) < 0.003
    paler = np.asarray(64 + image / 2, dtype=np.uint8)
    assert named(paler)["sharpness"] == pytest.approx(sharp, rel=0.1)


def test_the_same_photo_at_another_size_measures_alike() -> None:
    image = cv2.GaussianBlur(draw_photo("round", 3, (448, 448)), (0, 0), 2)
    small = cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA)
    assert measure(image) == pytest.approx(measure(small), abs=1e-6)
    assert measure(image).dtype == np.float32 and measure(image).shape == (len(MEASURES),)


def test_what_is_packed_comes_back() -> None:
    image = draw_photo("round", 0)
    metadata, measures = read_metadata(encode(image)), measure(image)
    again, values = unpack_metadata(pack_metadata(metadata, measures))
    assert again == metadata and np.array_equal(values, measures)
    odd = FileMetadata("PNG", 1, 2, "I;16", 3, 'Käm"era, \u2603', "")
    assert unpack_metadata(pack_metadata(odd, measures))[0] == odd
