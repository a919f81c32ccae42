"""Steps that jobs share: the network chosen, the cache opened, photos split."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from handful.config import TrainConfig
from handful.data.decoding import DecodeSettings
from handful.data.index import ImageIndex
from handful.data.near_duplicates import near_duplicate_pairs
from handful.data.splits import Split, assign_parts, join_split
from handful.environment import cache_folder
from handful.errors import DataError
from handful.features.backbones.efficientnet_lite import LITE_VARIANTS
from handful.features.embed import (
    Embedder,
    EmbeddingTable,
    View,
    embed_index,
    scan_index,
)
from handful.features.registry import (
    DEFAULT_BACKBONE,
    Backbone,
    FrozenNetwork,
    find_backbone,
    frozen_network,
)
from handful.files.cache import ContentCache
from handful.reporting import Progress, Reporter
from handful.wording import printable

logger = logging.getLogger("handful")


def choose_network(config: TrainConfig) -> tuple[Backbone, FrozenNetwork, str]:
    """Take the frozen network that a head is fitted to, converted at first use.

    Args:
        config: What was asked.

    Returns:
        The backbone, its network, and the precision that it computes in.

    Raises:
        WeightsError: When the backbone's weights are missing or wrong.
    """
    weights = Path(config.weights) if config.weights else None
    backbone = find_backbone(config.backbone or DEFAULT_BACKBONE, weights, config.image_size)
    # 8 bits cost no accuracy that could be measured, and suit any processor.
    eight_bits = config.precision == "auto" and backbone.name in LITE_VARIANTS
    precision = "int8" if eight_bits else config.precision
    return backbone, frozen_network(backbone, precision=precision), precision


@dataclass(frozen=True, eq=False)
class PhotoEmbedder:
    """A frozen network, ready to embed photos as a configuration asks.

    Args:
        backbone: The pretrained body.
        network: Its converted network.
        precision: What it computes in.
        settings: How photos are decoded for it.
    """

    backbone: Backbone
    network: FrozenNetwork
    precision: str
    settings: DecodeSettings

    @cached_property
    def embedder(self) -> Embedder:
        """The network, compiled at first use."""
        return Embedder(self.network, self.precision)

    def embed(
        self,
        index: ImageIndex,
        views: tuple[View, ...] = (0,),
        cache: ContentCache | None = None,
        progress: Progress | None = None,
    ) -> EmbeddingTable:
        """Embed photos.

        Args:
            index: N photos.
            views: Views of each.
            cache: Where results are looked up and kept, or None.
            progress: Called with photos done and photos in all.

        Returns:
            Their embeddings; photos that cannot be decoded are in its `rejected`.
        """
        return embed_index(
            index, self.embedder, self.settings, views=views, cache=cache, progress=progress
        )


def prepare_embedder(config: TrainConfig, reporter: Reporter) -> PhotoEmbedder:
    """Take the network and the decoding that a configuration asks for.

    Args:
        config: What was asked.
        reporter: Told of the phase "convert".

    Returns:
        The network, ready to embed photos.

    Raises:
        WeightsError: When the backbone's weights are missing or wrong.
    """
    with reporter.phase("convert"):
        backbone, network, precision = choose_network(config)
    settings = DecodeSettings(network.image_size, config.decode_resize, config.max_megapixels)
    return PhotoEmbedder(backbone, network, precision, settings)


def split_photos(
    index: ImageIndex,
    table: EmbeddingTable,
    config: TrainConfig,
    manifest: Mapping[str, str],
    given: Split | None = None,
) -> Split:
    """Split photos as a configuration asks, nothing that belongs together on both sides.

    Args:
        index: N labelled photos.
        table: What they look like.
        config: Its fraction, seed and treatment of leaks are used.
        manifest: Content hash to part, of photos that stay in theirs.
        given: A split of these photos to take as it is; its leaks are found.

    Returns:
        The split; the leaks of parts that were given are among its index's warnings.

    Raises:
        DataError: When the photos cannot be split.
    """
    pairs = near_duplicate_pairs(table.fingerprints)
    if given is not None:
        return join_split(given, pairs, drop_leaks=config.drop_leaks)
    return assign_parts(
        index,
        pairs,
        validation_fraction=config.validation_fraction,
        seed=config.seed,
        manifest=manifest,
        drop_leaks=config.drop_leaks,
    )


def split_index(
    index: ImageIndex,
    *,
    validation_fraction: float = TrainConfig.validation_fraction,
    seed: int = TrainConfig.seed,
    manifest: Mapping[str, str] | None = None,
    drop_leaks: bool = False,
    use_cache: bool = True,
    reporter: Reporter | None = None,
) -> Split:
    """Give each photo its part: train, validation or test.

    The photos are decoded once, and near-duplicates (re-saved copies, slight crops, shots of a
    burst) kept together, as are those of one `group` in a CSV: as `train` itself splits photos,
    with the same seed. Parts that the photos come in are kept; leaks between those are in
    `split.leaks` and, named, in `split.index.warnings`, and logged as warnings.

    Args:
        index: N labelled photos.
        validation_fraction: Share of each class to hold out, in (0, 1).
        seed: Another seed, another split.
        manifest: Content hash to part: photos listed there stay there.
        drop_leaks: Leave training photos out that near-duplicate a held-out one.
        use_cache: Look up what photos look like, and keep it.
        reporter: Told how far decoding is.

    Returns:
        The split; photos that cannot be decoded are in its index's `rejected`.

    Raises:
        DataError: When a class is too small to be in both parts.
        ValueError: When the fraction is outside (0, 1).

    Example:
        ```python
        split = split_index(load_index("photos/"))
        print(len(split.train), len(split.validation), split.leaks)
        ```
    """
    config = TrainConfig(validation_fraction=validation_fraction, seed=seed, drop_leaks=drop_leaks)
    reporter = Reporter(reporter)
    with reporter.phase("decode"), open_cache(use_cache) as cache:
        found, table = scan_photos(index, config, cache=cache, progress=reporter.progress)
    split = split_photos(found, table, config, manifest or {})
    for warning in split.index.warnings:
        if warning not in index.warnings:
            logger.warning(printable(warning))
    return split


def keep_readable(
    index: ImageIndex, table: EmbeddingTable, split: Split | None = None
) -> tuple[ImageIndex, EmbeddingTable]:
    """Take the photos that can be decoded; of a given split that must be all.

    Args:
        index: N photos.
        table: What came out of decoding them.
        split: A split that the photos were given in, or None.

    Returns:
        Index, with the others among its rejected and a warning for values that were scaled, and
        table of those that can be decoded.

    Raises:
        DataError: When photos of a given split cannot be decoded.
    """
    bits = [line for line in _describe_bits(table) if line not in index.warnings]
    index = replace(index, warnings=(*index.warnings, *bits))
    if not table.rejected:
        return index, table
    if split is not None:
        lines = [f"{index.paths[row]} {reason}" for row, reason in table.rejected.items()]
        raise DataError(
            f"{len(lines)} photos of the split cannot be decoded: {'; '.join(lines[:5])}. Leave "
            "them out with `index.without`, and split again."
        )
    rows = np.array([row for row in range(len(index)) if row not in table.rejected], dtype=np.int64)
    return index.without(table.rejected), table.select(rows)


def _describe_bits(table: EmbeddingTable) -> list[str]:
    """A sentence for each number of bits in use that is not the number stored."""
    bits = Counter(facts.deep_bits for facts in table.facts if facts is not None)
    return [
        f"{count} photo{'s' * (count > 1)} with 16 bits a sample use{'s' * (count == 1)} {used} of "
        f"them: {2**used - 1:,} was taken for white, not 65,535"
        for used, count in sorted(bits.items())
        if 0 < used < 16
    ]


def embed_photos(
    index: ImageIndex, config: TrainConfig, use_cache: bool, reporter: Reporter
) -> tuple[Backbone, ImageIndex, EmbeddingTable]:
    """Embed photos as training does, so that what follows finds them in the cache.

    Args:
        index: The photos.
        config: Its network and decoding are used.
        use_cache: Look embeddings up and keep them.
        reporter: Told of the phases "convert" and "embed".

    Returns:
        The backbone, the photos that can be decoded, and their embeddings.

    Raises:
        WeightsError: When the backbone's weights are missing or wrong.
    """
    embedder = prepare_embedder(config, reporter)
    with reporter.phase("embed"), open_cache(use_cache) as cache:
        table = embedder.embed(index, cache=cache, progress=reporter.progress)
    return embedder.backbone, *keep_readable(index, table)


def scan_photos(
    index: ImageIndex,
    config: TrainConfig,
    *,
    split: Split | None = None,
    cache: ContentCache | None = None,
    progress: Progress | None = None,
) -> tuple[ImageIndex, EmbeddingTable]:
    """Decode photos for what is told without a network: thumbnails, sizes, sharpness.

    Args:
        index: The photos.
        config: Its limit of megapixels is used.
        split: A split that the photos were given in, or None.
        cache: Where results are looked up and kept, or None.
        progress: Called with photos done and photos in all.

    Returns:
        The photos that can be decoded, and what was seen of them.

    Raises:
        DataError: When photos of a given split cannot be decoded.
    """
    table = scan_index(index, config.max_megapixels, cache=cache, progress=progress)
    return keep_readable(index, table, split)


@contextmanager
def open_cache(use_cache: bool) -> Iterator[ContentCache | None]:
    """Open the user's embedding cache.

    Args:
        use_cache: False for none.

    Yields:
        The cache or None.
    """
    if not use_cache:
        yield None
        return
    with ContentCache(embedding_cache_path()) as cache:
        yield cache


def embedding_cache_path() -> Path:
    """Place of the embedding cache.

    Returns:
        A SQLite file in the cache folder.
    """
    return cache_folder() / "embeddings.sqlite"
