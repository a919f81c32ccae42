"""What is kept between jobs."""

from pathlib import Path

import pytest

from handful.features.conversion import FrozenNetwork
from handful.workflows import train as train_workflow
from handful.workflows.cache import cache_info, clear_cache


def test_the_cache_is_counted_and_cleared(photo_folder: Path, tiny_backbone: FrozenNetwork) -> None:
    assert cache_info().embeddings == 0
    train_workflow.train(photo_folder, output=False)
    found = cache_info()
    assert (found.embeddings, found.pictures) == (48, 48)
    assert found.num_bytes > 48 * 48 * 4
    clear_cache()
    assert cache_info().num_bytes == 0
    assert train_workflow.train(photo_folder, output=False).cache["misses"] == 48


@pytest.mark.slow
def test_both_kinds_of_store_are_counted_and_cleared(
    photo_folder: Path, tiny_backbone: FrozenNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train_workflow.train(photo_folder, output=False)
    monkeypatch.setenv("HANDFUL_STORE", "parquet")
    assert train_workflow.train(photo_folder, output=False).cache["misses"] == 48
    again = train_workflow.train(photo_folder, output=False)
    assert again.cache == {"hits": 48, "misses": 0}
    assert again.evaluation.accuracy == first.evaluation.accuracy
    found = cache_info()
    assert (found.embeddings, found.pictures) == (96, 96)
    clear_cache()
    assert cache_info().num_bytes == 0
