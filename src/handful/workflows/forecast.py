"""How long a training of a frozen network's head will take, before it begins.

Looking at photos is timed on a few of them, network by network; what is in the cache costs nothing.
All the rest (heads fitted and tested, the report) is what it took the last time.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from handful.config import TrainConfig
from handful.cores import num_workers
from handful.data.index import ImageIndex
from handful.errors import HandfulError
from handful.features.embed import embedding_key
from handful.features.store import EmbeddingStore
from handful.features.table import embed_index
from handful.reporting import Reporter
from handful.training.rungs import FAST, GOOD, RUNGS, Rung
from handful.training.steps import open_backbone

# Photos are looked up in the cache by way of so many of them.
_LOOKED_UP = 64
# Imports, the report and the like take as long as what so many photos take.
_FIXED = 3000
_TRIED = {"fast": (FAST,), "good": (GOOD,), "best": (FAST, *RUNGS)}


@dataclass(frozen=True)
class NetworkCost:
    """What a network costs on this computer.

    Args:
        rung: Name of the rung that it stands on, see `handful.training.rungs`.
        decoding: Key of how photos are decoded for it.
        function: Key of what it computes.
        seconds: Of one photo, from its bytes to its embedding, all cores at work.
    """

    rung: str
    decoding: str
    function: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Forecast:
    """What a training will take.

    Args:
        embed: Seconds of looking at the photos with each network, in order; 0 for what is in the
            cache.
        other: Seconds of all the rest; None before the first training.
    """

    embed: tuple[float, ...]
    other: float | None = None

    @property
    def seconds(self) -> float:
        """Of all that is known."""
        return sum(self.embed) + (self.other or 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def measure_costs(photos: ImageIndex) -> Iterator[NetworkCost]:
    """Time some photos on the network of each quality, which is converted at its first use.

    Args:
        photos: What is to be trained on; a few of them are looked at.

    Yields:
        A cost for each network that can be opened here, the cheapest first.
    """
    count = min(len(photos), 2 * num_workers())
    some = photos.select(np.linspace(0, len(photos) - 1, count).round().astype(np.int64))
    for rung in (FAST, *RUNGS):
        # Of one that cannot be opened `train` says why, and does without it.
        with suppress(HandfulError):
            yield _measure(some, rung)


def _measure(photos: ImageIndex, rung: Rung) -> NetworkCost:
    _, spec = open_backbone(TrainConfig(), Reporter(), rung)
    assert spec.extractor is not None
    extractor, spec = spec.extractor, replace(spec, scans=rung in (FAST, GOOD))  # scanned once
    embed_index(photos.select(np.zeros(1, np.int64)), spec)  # the first one compiles
    begun = time.perf_counter()
    embed_index(photos, spec)
    each = (time.perf_counter() - begun) / len(photos)
    return NetworkCost(rung.name, spec.settings.key(), extractor.key, each)


def expect(
    quality: str,
    photo_hashes: Sequence[str],
    costs: Sequence[NetworkCost],
    store: EmbeddingStore | None = None,
    *,
    earlier: Mapping[str, tuple[float, int]] | None = None,
    time_budget: float | None = None,
) -> Forecast | None:
    """Tell what a training will take.

    Args:
        quality: "fast", "good" or "best".
        photo_hashes: Content hashes of the photos.
        costs: What the networks cost.
        store: Where embeddings are looked up, or None.
        earlier: Quality to what the last training took besides looking at photos, in seconds, and
            its number of photos.
        time_budget: Minutes that "best" may take.

    Returns:
        The forecast; None where no network of that quality was timed.
    """
    known = {cost.rung: cost for cost in costs}
    tried = [known[rung.name] for rung in _TRIED[quality] if rung.name in known]
    if not tried:
        return None
    used: dict[tuple[str, str], NetworkCost] = {}  # each once
    for cost in tried:
        used.setdefault((cost.decoding, cost.function), cost)
    embed = [cost.seconds * _num_missing(cost, photo_hashes, store) for cost in used.values()]
    other = None
    if earlier and quality in earlier:
        seconds, num_photos = earlier[quality]
        other = seconds * (len(photo_hashes) + _FIXED) / (num_photos + _FIXED)
    if time_budget is not None and sum(embed) > 60 * time_budget:
        # What does not fit is not tried.
        within = np.minimum(np.cumsum(embed), 60 * time_budget)
        embed = np.diff(within, prepend=0.0).tolist()
    return Forecast(tuple(embed), other)


def _num_missing(
    cost: NetworkCost, photo_hashes: Sequence[str], store: EmbeddingStore | None
) -> float:
    """How many photos are not in the cache, by way of some that are spread over all."""
    if store is None or not photo_hashes:
        return len(photo_hashes)
    count = min(len(photo_hashes), _LOOKED_UP)
    places = np.linspace(0, len(photo_hashes) - 1, count).round().astype(int)
    keys = [embedding_key(photo_hashes[place], cost.decoding, cost.function) for place in places]
    there = len(store.get_many(list(dict.fromkeys(keys))))
    return len(photo_hashes) * (1 - there / len(set(keys)))
