"""A network that is sent elsewhere, with its files."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from handful.data.decoding import DecodeSettings
from handful.errors import UsageError
from handful.features.conversion import FrozenNetwork
from handful.features.embed import EmbeddingSpec
from handful.features.openvino import OpenVinoExtractor
from handful.features.portable import PortableSpec
from handful.workflows.cache import cache_info

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)


def spec_of(network: FrozenNetwork) -> EmbeddingSpec:
    return EmbeddingSpec(OpenVinoExtractor(network, "f32"), DecodeSettings(32), scans=False)


def test_a_machine_with_the_files_uses_them(tiny_network: FrozenNetwork, own_cache: Path) -> None:
    again = pickle.loads(pickle.dumps(PortableSpec(spec_of(tiny_network)))).spec
    assert again.extractor.network == tiny_network
    assert not own_cache.exists()


def test_a_machine_without_them_keeps_what_was_sent(
    tiny_network: FrozenNetwork, tmp_path: Path
) -> None:
    for name in ("network.xml", "network.bin"):
        source = getattr(tiny_network, f"{name[-3:]}_path")
        (tmp_path / name).write_bytes(source.read_bytes())
    moved = replace(
        tiny_network, xml_path=tmp_path / "network.xml", bin_path=tmp_path / "network.bin"
    )
    expected = OpenVinoExtractor(tiny_network, "f32").embed(IMAGES)
    sent = pickle.dumps(PortableSpec(spec_of(moved)))
    (tmp_path / "network.xml").unlink()
    for _ in range(2):  # the second finds what the first wrote
        again = pickle.loads(sent).spec
        assert np.array_equal(again.extractor.embed(IMAGES), expected)
        assert again.extractor.key == OpenVinoExtractor(tiny_network, "f32").key
    assert len(cache_info().networks) == 1  # which `handful cache` knows


def test_a_gpu_is_not_sent(tiny_network: FrozenNetwork) -> None:
    spec = replace(
        spec_of(tiny_network), extractor=OpenVinoExtractor(tiny_network, "f32", "HETERO:CPU")
    )
    with pytest.raises(UsageError, match="set `device` to cpu, or `engine` to local"):
        pickle.dumps(PortableSpec(spec))
