import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from conftest import draw_photo
from handful.data.augmentation import content_view
from handful.data.decoding import DecodeSettings, decode, fingerprint, mirror
from handful.data.metadata import measure, read_metadata
from handful.data.storage import hash_content
from handful.errors import DataError
from handful.features.conversion import FrozenNetwork
from handful.features.embed import (
    EmbeddingSpec,
    ImageScan,
    embed_one,
    embed_pixels,
    mean_view,
)
from handful.features.openvino import OpenVinoExtractor

SETTINGS = DecodeSettings(32)


@pytest.fixture
def data(photo_folder: Path) -> bytes:
    return (photo_folder / "round" / "003.jpg").read_bytes()


@pytest.fixture
def spec(tiny_network: FrozenNetwork) -> EmbeddingSpec:
    return EmbeddingSpec(OpenVinoExtractor(tiny_network, "f32"), SETTINGS, (0, "mirror", 3))


def test_one_image_goes_all_the_way(data: bytes, spec: EmbeddingSpec) -> None:
    found = embed_one(data, spec)
    image = decode(data, SETTINGS)
    drawn = content_view(image, hash_content(data), 3, spec.policy)
    assert spec.extractor is not None
    expected = spec.extractor.embed(np.stack([image, mirror(image), drawn]))
    assert np.array_equal(found.vectors, expected) and found.vectors.shape == (3, 48)
    looked = decode(data, DecodeSettings())
    assert found.scan is not None
    assert np.array_equal(found.scan.fingerprint, fingerprint(looked))
    assert np.array_equal(found.scan.measures, measure(looked))
    assert found.scan.metadata == read_metadata(data)
    again = ImageScan.unpack(found.scan.pack())
    assert again.metadata == found.scan.metadata
    assert np.array_equal(again.fingerprint, found.scan.fingerprint)


def test_what_is_not_asked_for_is_not_computed(data: bytes, spec: EmbeddingSpec) -> None:
    assert embed_one(data, EmbeddingSpec(spec.extractor, SETTINGS, scans=False)).scan is None
    scanned = embed_one(data, EmbeddingSpec(None, SETTINGS, ()))
    assert scanned.scan is not None and scanned.vectors.shape == (0, 0)


def test_a_limit_is_held_against_an_image_whose_vectors_are_known(
    data: bytes, spec: EmbeddingSpec
) -> None:
    small = DecodeSettings(32, max_megapixels=1e-4)
    with pytest.raises(DataError, match="the limit is"):
        embed_one(data, EmbeddingSpec(spec.extractor, small, (), scans=False))


@pytest.mark.slow
def test_any_engine_runs_it(data: bytes, spec: EmbeddingSpec) -> None:
    """The function and what it takes go to another process, and the same bits come back."""
    here = embed_one(data, spec)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        there = pool.submit(embed_one, data, spec).result()
    assert np.array_equal(here.vectors, there.vectors)
    sent = pickle.dumps(spec)
    first, second = pickle.loads(sent), pickle.loads(sent)
    assert first.extractor is second.extractor, "a process compiles a network once"


def test_pixels_go_the_same_way(data: bytes, spec: EmbeddingSpec) -> None:
    image = decode(data, SETTINGS)
    spec = EmbeddingSpec(spec.extractor, SETTINGS, (0, "mirror"), scans=False)
    found = embed_pixels([image, draw_photo("round", 1)[:32, :32]], spec)
    assert found.shape == (2, 2, 48) and found.dtype == np.float32
    assert np.array_equal(mean_view(found)[0], mean_view(embed_one(data, spec).vectors))
    assert embed_pixels([], spec).shape == (0, 2, 48)
