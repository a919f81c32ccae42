from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from handful.data.decoding import DecodeSettings
from handful.errors import ModelFileError
from handful.features.store import SqliteStore
from handful.models.kept_maps import KeptMaps

CONTENTS = ["a" * 32, "b" * 32]


def classifier(looked: list[int], has_map: bool = True, mirror: bool = False) -> Any:
    """One whose network notes what it is shown."""

    def look(image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        looked.append(int(image[0, 0, 0]))
        features = np.random.default_rng(int(image[0, 0, 0])).normal(size=(2, 3, 4))
        return features.astype(np.float32), features.mean(axis=(0, 1)).astype(np.float32)

    extractor = SimpleNamespace(key="network", feature_map=lambda: look if has_map else None)
    return SimpleNamespace(
        extractor=extractor, settings=DecodeSettings(8), test_time_mirror=mirror, provenance={}
    )


def image(number: int) -> NDArray[np.uint8]:
    return np.full((8, 8, 3), number, np.uint8)


def test_maps_are_computed_once_and_are_the_same_bits(tmp_path: Path) -> None:
    looked: list[int] = []
    with SqliteStore(tmp_path / "cache.sqlite") as store:
        first = KeptMaps(classifier(looked), CONTENTS, store)
        made = [first.of(content)(image(number)) for number, content in enumerate(CONTENTS)]
        first.keep()
        # What needs no network does not even open it.
        again = KeptMaps(classifier(looked, has_map=False), CONTENTS, store)
        for number, content in enumerate(CONTENTS):
            for one, other in zip(made[number], again.of(content)(image(number)), strict=True):
                np.testing.assert_array_equal(one, other)
        assert looked == [0, 1]
        with pytest.raises(ModelFileError):
            KeptMaps(classifier(looked, has_map=False), ["c" * 32], store)


def test_what_is_kept_and_is_no_map_is_made_again(tmp_path: Path) -> None:
    looked: list[int] = []
    with SqliteStore(tmp_path / "cache.sqlite") as store:
        first = KeptMaps(classifier(looked), CONTENTS[:1], store)
        first.of(CONTENTS[0])(image(7))
        first.keep()
        store.put_scans(dict.fromkeys(first._keys.values(), b"no map"))
        KeptMaps(classifier(looked), CONTENTS[:1], store).of(CONTENTS[0])(image(7))
    assert looked == [7, 7]


@pytest.mark.parametrize("mirror", [False, True])
def test_nothing_is_kept_without_a_store_or_for_mirror_images(tmp_path: Path, mirror: bool) -> None:
    looked: list[int] = []
    with SqliteStore(tmp_path / "cache.sqlite") as store:
        for _ in range(2):
            maps = KeptMaps(classifier(looked, mirror=mirror), CONTENTS, store if mirror else None)
            maps.of(CONTENTS[0])(image(3))
            maps.keep()
        assert store.cache.info().num_rows == {}
    assert looked == [3, 3]
