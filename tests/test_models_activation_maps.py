import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

import handful
from conftest import REPOSITORY, frozen_network, write_photo
from handful.cli.commands import app
from handful.config import TrainConfig
from handful.data.decoding import DecodeSettings, decode, resize
from handful.errors import DataError, ModelFileError, OutputError
from handful.features.conversion import FrozenNetwork
from handful.features.keras_runtime import prepare_keras
from handful.features.openvino import OpenVinoExtractor
from handful.features.registry import find_backbone
from handful.files.atomic import sha256_of
from handful.models.activation_maps import (
    Explainer,
    Explanation,
    class_maps,
    explain,
    overlay,
    overlay_thumbnail,
    save_overlay,
    seen_box,
    write_explanations,
)
from handful.models.classifier import Classifier
from handful.models.heads import LinearHead
from handful.training.deployment import deploy
from handful.training.recipes import Recipe
from handful.workflows import train as train_workflow

SIZE, STRIDE, NUM_NOISE = 64, 4, 20
DIM = 2 + NUM_NOISE
NAMES = ("round", "square", "other")
RED, BLUE, GREY = (240, 40, 40), (40, 40, 240), (120, 120, 120)


def write_model(folder: Path, build: Any, name: str = "planted") -> FrozenNetwork:
    """A network of OpenVINO operations, from (N, 3, S, S) pixels in 0 to 1 to embeddings."""
    import openvino
    from openvino import opset13 as ops

    images = ops.parameter(openvino.PartialShape([-1, SIZE, SIZE, 3]), np.uint8, name="images")
    images.output(0).set_names({"images"})
    values = ops.divide(ops.convert(images, "f32"), np.float32(255))
    embeddings = build(ops, ops.transpose(values, np.array([0, 3, 1, 2])))
    embeddings.output(0).set_names({"embeddings"})
    path = folder / f"{name}.xml"
    model = openvino.Model([embeddings], [images], name)
    openvino.save_model(model, path, compress_to_fp16=False)
    return FrozenNetwork(
        xml_path=path,
        bin_path=path.with_suffix(".bin"),
        xml_sha256=sha256_of(path),
        bin_sha256=sha256_of(path.with_suffix(".bin")),
        image_size=SIZE,
        embedding_dim=DIM,
        digest=name,
        seconds=0.0,
    )


def convolved(ops: Any, pixels: Any) -> Any:
    """A feature map (N, D, 16, 16): redness, blueness, and what random filters find."""
    kernels = np.random.default_rng(0).normal(0, 0.1, (DIM, 3, STRIDE, STRIDE))
    kernels[0] = np.array([1, -0.5, -0.5])[:, None, None] / STRIDE**2
    kernels[1] = np.array([-0.5, -0.5, 1])[:, None, None] / STRIDE**2
    strides = [STRIDE, STRIDE]
    found = ops.convolution(pixels, kernels.astype(np.float32), strides, [0, 0], [0, 0], [1, 1])
    return ops.relu(found)


def planted(ops: Any, pixels: Any) -> Any:
    return ops.reduce_mean(convolved(ops, pixels), np.array([2, 3]))


@pytest.fixture(scope="session")
def planted_network(tmp_path_factory: pytest.TempPathFactory) -> FrozenNetwork:
    """Its first two features are where a picture is red and where it is blue."""
    return write_model(tmp_path_factory.mktemp("planted"), planted)


def planted_head(seed: int = 0) -> LinearHead:
    """Red speaks for "round", blue for "square"; the noise hardly counts."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 0.01, (DIM, len(NAMES)))
    weights[0, 0] = weights[1, 1] = 60.0
    return LinearHead(
        rng.uniform(0, 0.1, DIM).astype(np.float32),
        rng.uniform(0.5, 1.5, DIM).astype(np.float32),
        weights.astype(np.float32),
        np.array([0.1, 0.2, 0.3], np.float32),
        0.1,
    )


def make_classifier(
    network: FrozenNetwork, how: str = "halfway", head: LinearHead | None = None, tta: bool = False
) -> Classifier:
    settings = DecodeSettings(SIZE, how)
    head = head or planted_head()
    return Classifier(
        NAMES, OpenVinoExtractor(network, "f32"), head, settings, test_time_mirror=tta,
        provenance={"backbone": "planted"},
    )  # fmt: skip


@pytest.fixture
def classifier(planted_network: FrozenNetwork) -> Classifier:
    return make_classifier(planted_network)


def scene(
    centre: tuple[float, float],
    colour: tuple[int, int, int] = RED,
    size: tuple[int, int] = (90, 150),
) -> NDArray[np.uint8]:
    """A noisy gray picture (H, W, 3) with a disc at a place given as shares of width and height."""
    rng = np.random.default_rng(1)
    height, width = size
    image = np.full((height, width, 3), GREY, np.uint8)
    place = (round(centre[0] * width), round(centre[1] * height))
    cv2.circle(image, place, min(size) // 7, colour, -1)
    noise = rng.integers(-12, 13, image.shape)
    return np.clip(image.astype(np.int64) + noise, 0, 255).astype(np.uint8)


def as_file(image: NDArray[np.uint8], orientation: int = 1, name: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, name, exif=exif, quality=95)
    return buffer.getvalue()


def log_odds(classifier: Classifier, image: NDArray[np.uint8], found: Explanation) -> float:
    (prediction,) = classifier.predict([image])
    chances = prediction.probabilities
    return float(np.log(chances[found.class_name] / chances[found.rival_name]))


def middle_of_color(picture: NDArray[np.uint8], warm: bool = True) -> tuple[float, float]:
    """Where an overlay is tinted most, as shares of width and height."""
    values = picture.astype(int)
    tint = (values[:, :, 0] - values[:, :, 2]) * (1 if warm else -1)
    rows, columns = np.nonzero(tint > 0.8 * tint.max())
    return columns.mean() / picture.shape[1], rows.mean() / picture.shape[0]


@given(
    st.integers(1, 9), st.integers(1, 9), st.integers(1, 30), st.integers(2, 6),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_the_mean_over_places_is_the_logits(
    height: int, width: int, dim: int, num_classes: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    head = LinearHead(
        rng.normal(size=dim).astype(np.float32),
        rng.uniform(0.1, 3, dim).astype(np.float32),
        rng.normal(size=(dim, num_classes)).astype(np.float32),
        rng.normal(size=num_classes).astype(np.float32),
        None,
    )
    features = rng.exponential(size=(height, width, dim)).astype(np.float32)
    maps = class_maps(features, head)
    assert maps.shape == (height, width, num_classes)
    mean = features.astype(np.float64).mean(axis=(0, 1))
    logits = (mean - head.mean) / head.scale @ head.weights + head.bias
    np.testing.assert_allclose(maps.mean(axis=(0, 1)), logits, rtol=1e-4, atol=1e-4)
    # One place seen alone is a map of one place.
    np.testing.assert_allclose(class_maps(features[:1, :1], head)[0, 0], maps[0, 0])


@pytest.mark.slow
@pytest.mark.parametrize("tta", [False, True])
def test_the_mean_of_a_map_is_what_the_classifier_answers(
    planted_network: FrozenNetwork, tta: bool
) -> None:
    classifier = make_classifier(planted_network, tta=tta)
    for seed, colour in enumerate((RED, BLUE, GREY)):
        image = scene((0.3 + 0.1 * seed, 0.4), colour)
        found = explain(classifier, image)
        (prediction,) = classifier.predict([image])
        assert found.class_name == prediction.label
        assert found.probability == pytest.approx(prediction.probability, abs=1e-6)
        assert found.map.dtype == np.float32 and found.map.shape == (16, 16)
        assert found.map.mean() == pytest.approx(log_odds(classifier, image, found), abs=1e-4)
        assert found.map.mean() >= 0
        best = sorted(prediction.probabilities.values())
        assert prediction.probabilities[found.rival_name] == best[-2]


def test_a_class_can_be_asked_for_and_a_rival(classifier: Classifier) -> None:
    image = scene((0.5, 0.5))
    explainer = Explainer(classifier)
    best = explainer.explain(image)
    assert best.class_name == "round"
    asked = explainer.explain(image, "square")
    assert (asked.class_name, asked.rival_name) == ("square", "round")
    assert asked.probability < best.probability
    turned = explainer.explain(image, rival_name="round")
    assert turned.rival_name == "round" and turned.class_name != "round"
    there, back = explainer.explain(image, "round", "square"), asked
    np.testing.assert_allclose(there.map, -back.map)


@pytest.mark.slow
def test_the_map_points_at_the_planted_object_and_a_random_head_does_not(
    planted_network: FrozenNetwork,
) -> None:
    """Adebayo et al. 2018: without what was learned, the map must not stay the same."""
    true = Explainer(make_classifier(planted_network, "squash"))
    shams = []
    for seed in range(12):
        weights = np.random.default_rng(seed).normal(0, 2, (DIM, 3)).astype(np.float32)
        # Random filters see the disc too; what only the learned head knows is which to trust.
        head = replace(planted_head(), weights=weights)
        shams.append(Explainer(make_classifier(planted_network, "squash", head)))
    correlations, inside = [], []
    for number in range(6):
        centre = (0.2 + 0.12 * number, 0.7 - 0.08 * number)
        image = scene(centre)
        found = true.explain(image)
        assert found.class_name == "round"
        row, column = np.unravel_index(found.map.argmax(), found.map.shape)
        assert abs((column + 0.5) / 16 - centre[0]) < 0.12
        assert abs((row + 0.5) / 16 - centre[1]) < 0.16
        for sham in shams:
            other = sham.explain(image, found.class_name, found.rival_name)
            correlations.append(np.corrcoef(found.map.ravel(), other.map.ravel())[0, 1])
            inside.append(np.unravel_index(other.map.argmax(), (16, 16)) == (row, column))
    assert abs(np.mean(correlations)) < 0.35 and np.mean(inside) < 0.5


def test_with_the_mirror_image_left_and_right_count_alike(planted_network: FrozenNetwork) -> None:
    weights = np.random.default_rng(3).normal(0, 5, (DIM, 3)).astype(np.float32)
    head = replace(planted_head(), weights=weights)
    image = scene((0.25, 0.4))
    pictures = image, np.ascontiguousarray(image[:, ::-1])
    both = Explainer(make_classifier(planted_network, head=head, tta=True))
    first, second = (both.explain(picture, "round", "square").map for picture in pictures)
    np.testing.assert_allclose(first, second[:, ::-1], atol=1e-4)
    alone = Explainer(make_classifier(planted_network, head=head))
    one, other = (alone.explain(picture, "round", "square").map for picture in pictures)
    np.testing.assert_allclose(first, (one + other[:, ::-1]) / 2, atol=1e-4)
    assert np.abs(one - first).max() > 0.1


@given(st.integers(8, 3000), st.integers(8, 3000), st.sampled_from(["squash", "crop", "halfway"]))
def test_the_seen_part_is_what_resizing_keeps(height: int, width: int, how: str) -> None:
    """A ramp resized to a square says where its edges were taken from."""
    left, top, right, bottom = seen_box(height, width, how)
    assert (left, right, top, bottom) == pytest.approx((1 - right, 1 - left, 1 - bottom, 1 - top))
    assert min(left, top) == 0 and 0 < right - left <= 1
    size = (right - left) * width, (bottom - top) * height
    shorter = min(height, width)
    expected = {
        "squash": (width, height),
        "crop": (shorter, shorter),
        "halfway": ((width * shorter) ** 0.5, (height * shorter) ** 0.5),
    }[how]
    assert size == pytest.approx(expected)


@pytest.mark.parametrize("how", ["squash", "crop", "halfway"])
@pytest.mark.parametrize("size", [(300, 900), (900, 300)])
def test_the_seen_part_agrees_with_the_decoder(how: str, size: tuple[int, int]) -> None:
    height, width = size
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[:, :, 0] = np.linspace(0, 255, width)
    ramp[:, :, 1] = np.linspace(0, 255, height)[:, None]
    square = resize(ramp, DecodeSettings(200, how))
    box = seen_box(height, width, how)
    ends = square[0, 0, 0], square[0, 0, 1], square[-1, -1, 0], square[-1, -1, 1]
    assert np.array(ends) / 255 == pytest.approx(box, abs=0.01)


@pytest.mark.parametrize("how", ["squash", "crop", "halfway"])
@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_the_overlay_lies_on_the_photo_in_its_own_proportions(
    planted_network: FrozenNetwork, how: str, orientation: int
) -> None:
    """A phone's photo, stored on its side, is explained upright; the disc is tinted in it."""
    upright, place = scene((0.4, 0.6), size=(180, 300)), (0.4, 0.6)
    stored = {1: upright, 6: np.rot90(upright), 8: np.rot90(upright, -1)}[orientation]
    classifier = make_classifier(planted_network, how)
    found = explain(classifier, as_file(np.ascontiguousarray(stored), orientation))
    assert found.class_name == "round" and found.image.shape == (180, 300, 3)
    picture = overlay(found)
    assert picture.shape == found.image.shape and picture.dtype == np.uint8
    assert middle_of_color(picture) == pytest.approx(place, abs=0.04)
    left = round(found.seen[0] * 300)
    assert (left == 0) == (how == "squash")
    if left:
        unseen = np.concatenate([picture[:, : left - 1], picture[:, 300 - left + 1 :]], axis=1)
        assert unseen.max() < 100 < picture[:, left + 1 : 300 - left - 1].mean()
        assert np.ptp(unseen.astype(int), axis=2).max() <= 2  # no tint


def test_files_and_arrays_are_explained_alike(classifier: Classifier, tmp_path: Path) -> None:
    image = scene((0.5, 0.3))
    path = tmp_path / "disc.png"
    write_photo(path, image)
    explainer = Explainer(classifier, size=60)
    by_array = explainer.explain(image, path="array")
    for found in (explainer.explain(path), explainer.explain(str(path))):
        assert found.path == str(path)
        np.testing.assert_array_equal(found.map, by_array.map)
        assert found.image.shape == by_array.image.shape == (36, 60, 3)
    by_bytes = explainer.explain(path.read_bytes(), path="name")
    assert by_bytes.path == "name" and by_array.path == "array"
    # A camera's photo is decoded at about the size wanted.
    small = explainer.explain(as_file(scene((0.5, 0.3), size=(900, 1500))))
    assert small.image.shape == (36, 60, 3)
    assert np.abs(small.image.astype(int) - by_bytes.image.astype(int)).mean() < 12


def drawn_explanation(values: list[list[float]], grey: int = 128) -> Explanation:
    image = np.full((40, 60, 3), grey, np.uint8)
    array = np.array(values, np.float32)
    return Explanation("x.jpg", "round", "square", 0.9, array, image, (0.0, 0.0, 1.0, 1.0))


def test_strength_is_color_and_the_sign_its_hue() -> None:
    picture = overlay(drawn_explanation([[4.0, 0.0, -4.0]])).astype(int)
    orange, plain, blue = picture[20, 5], picture[20, 30], picture[20, 55]
    assert orange[0] > orange[1] > orange[2] + 60
    assert blue[2] > blue[0] + 60
    assert np.ptp(plain) < 10 < np.ptp(orange) - 80
    lightness = cv2.cvtColor((picture / 255).astype(np.float32), cv2.COLOR_RGB2LAB)
    assert np.ptp(lightness[20, :, 0]) < 2  # the photo's alone
    # People who lack red or green see the blue-yellow axis: it rises without a break.
    assert (np.diff(lightness[20, 12:48, 2]) < 0.5).all()
    assert lightness[20, 5, 2] > 40 and lightness[20, 55, 2] < -30
    nothing = overlay(drawn_explanation([[0.0, 0.0]]))
    assert np.isfinite(nothing).all() and np.ptp(nothing.astype(int), axis=2).max() <= 2


def test_the_photo_stays_recognizable_under_its_map(classifier: Classifier) -> None:
    found = explain(classifier, scene((0.5, 0.4), (20, 20, 20)))
    shades = [
        cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).ravel()
        for picture in (found.image, overlay(replace(found, seen=(0.0, 0.0, 1.0, 1.0))))
    ]
    assert np.corrcoef(*shades)[0, 1] > 0.95


def test_overlays_have_the_size_asked_for(classifier: Classifier) -> None:
    found = explain(classifier, scene((0.5, 0.5)))
    assert overlay(found).shape == (90, 150, 3)
    assert overlay(found, 300).shape == (180, 300, 3)
    small = overlay_thumbnail(found, 50)
    assert simplejpeg.decode_jpeg(small).shape == (30, 50, 3)
    assert simplejpeg.decode_jpeg(overlay_thumbnail(found, 500)).shape == (90, 150, 3)
    for size in (0, -1):
        with pytest.raises(ValueError, match=f"size is {size}; expected 1 pixel or more"):
            overlay(found, size)
        with pytest.raises(ValueError, match=f"size is {size}; expected 1 pixel or more"):
            overlay_thumbnail(found, size)
        with pytest.raises(ValueError, match=f"size is {size}; expected 1 pixel or more"):
            Explainer(classifier, size)


def test_an_overlay_is_written_as_png_and_none_is_overwritten(
    classifier: Classifier, tmp_path: Path
) -> None:
    found = explain(classifier, scene((0.5, 0.5)))
    path = tmp_path / "new" / "where.png"
    save_overlay(found, path)
    read = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(read, overlay(found))
    with pytest.raises(OutputError, match=r"where.png exists already"):
        save_overlay(found, path)
    with pytest.raises(ValueError, match=r"where.gif; expected a name that ends in .png"):
        save_overlay(found, path.with_suffix(".gif"))


def reduced(axes: list[int], keep_dims: bool = False, channels_last: bool = False) -> Any:
    def build(ops: Any, pixels: Any) -> Any:
        values = convolved(ops, pixels)
        if channels_last:
            values = ops.transpose(values, np.array([0, 2, 3, 1]))
        values = ops.reduce_mean(values, np.array(axes), keep_dims)
        return ops.reshape(values, np.array([-1, DIM]), False) if keep_dims else values

    return build


def pooled(window: int) -> Any:
    def build(ops: Any, pixels: Any) -> Any:
        values, window_2d = convolved(ops, pixels), [window, window]
        values = ops.avg_pool(values, window_2d, [0, 0], [0, 0], window_2d, True)
        values = ops.transpose(values, np.array([0, 2, 3, 1]))
        width = DIM * (16 // window) ** 2
        values = ops.reshape(values, np.array([-1, width]), False)
        return (
            values
            if width == DIM
            else ops.matmul(values, np.eye(width, DIM, dtype="f4"), False, False)
        )

    return build


@pytest.mark.parametrize(
    "build",
    [reduced([-1, -2]), reduced([1, 2], channels_last=True), reduced([2, 3], True), pooled(16)],
    ids=["negative axes", "channels last", "kept axes", "average pooling"],
)
def test_an_average_is_found_however_it_is_written(
    build: Any, planted_network: FrozenNetwork, tmp_path: Path
) -> None:
    expected = explain(make_classifier(planted_network), scene((0.3, 0.4)), "round", "square")
    network = write_model(tmp_path, build, "variant")
    found = explain(make_classifier(network), scene((0.3, 0.4)), "round", "square")
    np.testing.assert_allclose(found.map, expected.map, atol=1e-4)


def largest(ops: Any, pixels: Any) -> Any:
    return ops.reduce_max(convolved(ops, pixels), np.array([2, 3]))


def flattened(ops: Any, pixels: Any) -> Any:
    flat = ops.reshape(convolved(ops, pixels), np.array([-1, DIM * 256]), False)
    return ops.matmul(flat, np.full((DIM * 256, DIM), 0.01, np.float32), False, False)


def layered(ops: Any, pixels: Any) -> Any:
    return ops.relu(ops.matmul(planted(ops, pixels), np.eye(DIM, dtype="f4"), False, False))


def halved(ops: Any, pixels: Any) -> Any:
    """The average over all channels and rows: of the shape of an embedding, and none."""
    values = ops.reduce_mean(convolved(ops, pixels), np.array([1, 2]))
    return ops.matmul(values, np.eye(16, DIM, dtype="f4"), False, False)


def passed_on(ops: Any, pixels: Any) -> Any:
    flat = ops.reshape(pixels, np.array([-1, 64 * 64 * 3]), False)
    begin, end, step, axis = (np.array([number]) for number in (0, DIM * 512, 1, 1))
    part = ops.slice(flat, begin, end, step, axis)
    return ops.reduce_mean(ops.reshape(part, np.array([-1, DIM, 512]), False), np.array([2]))


@pytest.mark.parametrize(
    "build",
    [largest, flattened, layered, halved, passed_on, pooled(8)],
    ids=["largest", "flattened", "another layer", "other axes", "no map", "smaller windows"],
)
def test_a_network_without_an_average_is_told_apart(build: Any, tmp_path: Path) -> None:
    network = write_model(tmp_path, build, "other")
    message = "The network planted does not end in the average of a feature map.*GlobalAverage"
    with pytest.raises(ModelFileError, match=message):
        explain(make_classifier(network), scene((0.5, 0.5)))


def test_a_damaged_network_is_named(planted_network: FrozenNetwork, tmp_path: Path) -> None:
    path = tmp_path / "broken.xml"
    path.write_text("<net/>")
    classifier = make_classifier(replace(planted_network, xml_path=path))
    with pytest.raises(ModelFileError, match=r"broken.xml cannot be read as a network"):
        explain(classifier, scene((0.5, 0.5)))


def test_bad_arguments_say_what_was_found(classifier: Classifier, tmp_path: Path) -> None:
    explainer, image = Explainer(classifier), scene((0.5, 0.5))
    with pytest.raises(
        ValueError, match="`class_name` is 'cow'; expected one of round, square, oth"
    ):
        explainer.explain(image, "cow")
    with pytest.raises(ValueError, match="`rival_name` is 'cow'; expected one of round"):
        explainer.explain(image, rival_name="cow")
    with pytest.raises(
        ValueError, match="`rival_name` is 'round' as `class_name` is; expected anoth"
    ):
        explainer.explain(image, "round", "round")
    with pytest.raises(ValueError, match=r"image is \(90, 75, 2, 3\); expected \(H, W, 3\)"):
        explainer.explain(image.reshape(90, 75, 2, 3))
    with pytest.raises(ValueError, match="image is not uint8 but float64; expected"):
        explainer.explain(image.astype(np.float64))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"absent.jpg cannot be read .* Name another photo"):
        explainer.explain(tmp_path / "absent.jpg")
    with pytest.raises(DataError, match="The photo is not a photo of a known format; expected a"):
        explainer.explain(b"no photo")


def test_each_photo_gets_a_file_of_its_own(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/disc.png", "b/disc.jpg", "c/other.png"):
        write_photo(tmp_path / name, scene((0.4, 0.4)))
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.write(tmp_path / "c" / "other.png", "inside/disc.png")
    (tmp_path / "c" / "text.png").write_text("no photo")
    sources = [tmp_path / name for name in ("a", "b/disc.jpg", "c", "more.zip", "absent.jpg")]
    progress: list[tuple[int, int]] = []
    monkeypatch.chdir(tmp_path)
    written = write_explanations(
        classifier, sources, progress=lambda *given: progress.append(given)
    )
    names = [str(path) for path in written.pictures]
    stems = ("disc", "disc-2", "other", "disc-3")
    assert names == [f"{stem}-explained.png" for stem in stems]
    assert all((tmp_path / name).is_file() for name in names)
    assert progress[-1][0] == progress[-1][1]
    assert {Path(file.path).name for file in written.rejected} == {"absent.jpg", "text.png"}
    assert all(found.image.size == 0 and found.map.size for found in written.explanations)
    facts = written.to_dict()
    assert json.loads(json.dumps(facts)) == facts
    with pytest.raises(OutputError, match=r"disc-explained.png exists already"):
        write_explanations(classifier, sources)
    folder = tmp_path / "folder"
    written = write_explanations(classifier, sources[:1], folder)
    assert written.pictures == (folder / "disc-explained.png",)
    file = tmp_path / "one.PNG"
    written = write_explanations(classifier, sources[:1], file, "square")
    assert written.pictures == (file,) and file.is_file()
    assert written.explanations[0].class_name == "square"


@pytest.mark.slow
def test_one_photo_is_explained_and_written_on_wish(
    classifier: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_photo(tmp_path / "disc.png", scene((0.4, 0.4)))
    found = handful.explain(classifier, "disc.png", rival_name="round")
    assert (found.class_name, found.rival_name, found.picture) == ("other", "round", None)
    assert repr(found).startswith("<Explanation: why other, ") and "disc.png" in repr(found)
    assert {path.name for path in tmp_path.glob("*.png")} == {"disc.png"}
    found = handful.explain(classifier, "disc.png", output=None)
    assert found.picture == Path("disc-explained.png") and found.picture.is_file()
    found = handful.explain(classifier, scene((0.4, 0.4)), output="why")
    assert found.picture == Path("why/photo-explained.png") and found.picture.is_file()
    with pytest.raises(OutputError, match=r"disc-explained\.png exists already"):
        handful.explain(classifier, "disc.png", output=None)


def test_nothing_is_written_where_the_output_is_wrong(
    classifier: Classifier, tmp_path: Path
) -> None:
    for name in ("a.png", "b.png"):
        write_photo(tmp_path / name, scene((0.4, 0.4)))
    both, out = [tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "out"
    with pytest.raises(ValueError, match=r"one.png and there are 2 photos; expected a folder"):
        write_explanations(classifier, both, tmp_path / "one.png")
    with pytest.raises(ValueError, match=r"one.jpg; expected a folder or a name that ends in .png"):
        write_explanations(classifier, both[:1], tmp_path / "one.jpg")
    out.mkdir()
    (out / "b-explained.png").write_text("mine")
    with pytest.raises(OutputError, match=r"b-explained.png exists already"):
        write_explanations(classifier, both, out)
    assert [path.name for path in out.iterdir()] == ["b-explained.png"]
    with pytest.raises(ValueError, match="`class_name` is 'cow'"):
        write_explanations(classifier, both, tmp_path / "new", "cow")
    assert not (tmp_path / "new").exists()


def test_the_command_prints_what_it_found(classifier: Classifier, tmp_path: Path) -> None:
    run = classifier.save(tmp_path / "run")
    photo, out = tmp_path / "disc.png", tmp_path / "out"
    write_photo(photo, scene((0.4, 0.4)))
    (tmp_path / "text.jpg").write_text("no photo")
    arguments = ["explain", str(run), str(photo), str(tmp_path / "text.jpg"), "-o", str(out)]
    result = CliRunner().invoke(app, arguments)
    picture = out / "disc-explained.png"
    assert result.exit_code == 1 and picture.is_file()
    first, legend = result.stdout.splitlines()
    assert first.startswith(f"{photo}  round rather than ") and first.endswith(f"  {picture}")
    rival = first.split("rather than ")[1].split()[0]
    assert legend.startswith(f"Orange supports round, blue supports {rival}; ")
    assert result.stderr.startswith(f"Error: {tmp_path / 'text.jpg'} ")
    arguments = ["explain", str(run), str(photo), "--class", "square", "--json"]
    result = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "two.png")])
    assert result.exit_code == 0 and result.stderr == ""
    facts = json.loads(result.stdout)
    assert facts["errors"] == [] and facts["explanations"][0]["label"] == "square"
    documented = (REPOSITORY / "docs" / "file-formats.md").read_text().split("explain --json")[1]
    for name in (*facts, *facts["explanations"][0]):
        assert f"`{name}`" in documented
    result = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "two.png")])
    assert result.exit_code == 1 and "two.png exists already" in result.stderr
    result = CliRunner().invoke(app, ["explain", str(run), str(photo), "--class", "cow"])
    assert result.exit_code == 2 and "--class is 'cow'" in result.stderr
    result = CliRunner().invoke(app, [*arguments, "--rival", "square"])
    assert result.exit_code == 2 and "--rival is 'square' as --class is" in result.stderr


@pytest.mark.slow
def test_the_stand_in_that_flattens_is_refused_on_the_command_line(
    photo_folder: Path, tiny_backbone: FrozenNetwork, tmp_path: Path
) -> None:
    train_workflow.train(photo_folder, output=tmp_path / "run")
    photo = photo_folder / "round" / "000.jpg"
    result = CliRunner().invoke(app, ["explain", str(tmp_path / "run"), str(photo)])
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    assert "does not end in the average of a feature map" in result.stderr


@pytest.mark.slow
def test_a_trained_network_is_explained() -> None:
    """Keras' own average, dropout and last layer, as `deploy` saves them."""
    prepare_keras()
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    images = keras.Input((48, 48, 3))
    x = layers.Conv2D(12, 5, strides=3, activation="relu")(images)
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(x))
    network = keras.Model(images, layers.Dense(1, activation="sigmoid")(x))
    recipe = Recipe("scratch", 48, epochs=1, batch_size=4, learning_rate=1e-3)
    config = TrainConfig(strategy="scratch")
    classifier = deploy(network, recipe, NAMES[:2], DecodeSettings(48), config)
    image = scene((0.4, 0.5))
    found = explain(classifier, image)
    assert found.map.shape == (15, 15)
    assert found.map.mean() == pytest.approx(log_odds(classifier, image, found), abs=1e-4)


@pytest.fixture(scope="session")
def networks_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


@pytest.mark.real
@pytest.mark.parametrize("precision", ["int8", "f32", "bf16"])
def test_maps_of_the_real_backbone_add_up(
    shared_folder: Path, networks_folder: Path, precision: str
) -> None:
    weights_precision = "int8" if precision == "int8" else "f32"
    network = frozen_network(find_backbone(), networks_folder, weights_precision)
    rng = np.random.default_rng(0)
    dim = network.embedding_dim
    head = LinearHead(
        np.full(dim, 0.4, np.float32),
        np.ones(dim, np.float32),
        rng.normal(0, 0.2, (dim, 3)).astype(np.float32),
        np.zeros(3, np.float32),
        0.1,
    )
    classifier = Classifier(NAMES, OpenVinoExtractor(network, precision), head, DecodeSettings())
    explainer = Explainer(classifier)
    tolerance = 0.05 if classifier.extractor.precision == "bf16" else 1e-3
    with zipfile.ZipFile(shared_folder / "data" / "cats_and_dogs_filtered.zip") as archive:
        photos = [name for name in archive.namelist() if name.endswith(".jpg")]
        for number in (0, 1500, 2900):
            image = decode(archive.read(photos[number]), classifier.settings)
            found = explainer.explain(image)
            assert found.map.shape == (7, 7) and found.map.std() > 0.5
            assert found.map.mean() == pytest.approx(
                log_odds(classifier, image, found), abs=tolerance
            )
