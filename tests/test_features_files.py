"""Files, embedded one by one."""

import pickle
from functools import partial
from pathlib import Path

import numpy as np

from handful.data.decoding import DecodeSettings
from handful.data.index import load_unlabeled
from handful.data.storage import FoundFile, read_file
from handful.features.conversion import FrozenNetwork
from handful.features.embed import EmbeddingSpec
from handful.features.files import FileEmbedder
from handful.features.openvino import OpenVinoExtractor
from handful.features.table import embed_index


def test_files_are_embedded_or_refused(tiny_network: FrozenNetwork, photo_folder: Path) -> None:
    spec = EmbeddingSpec(OpenVinoExtractor(tiny_network, "f32"), DecodeSettings(32), scans=False)
    good = photo_folder / "round" / "000.jpg"
    files = [
        FoundFile(str(path), partial(read_file, path))
        for path in (good, Path(__file__), photo_folder / "none.jpg")
    ]
    work = pickle.loads(pickle.dumps(FileEmbedder(spec)))
    found = work(files)
    index = load_unlabeled([good])
    expected = embed_index(index, spec).mean[0]
    assert found[0].digest == index.content_hashes[0] and np.array_equal(found[0].vector, expected)
    assert [one.vector is None for one in found] == [False, True, True]
    assert found[1].digest and not found[2].digest
    assert "cannot be read" in found[2].reason and found[1].reason
    assert work.give_up(files[0], "ended it").reason == "ended it"
