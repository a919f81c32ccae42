"""Steps that jobs share: the network chosen, the cache opened, photos split."""

import logging
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace

from handful.config import TrainConfig
from handful.data.index import ImageIndex
from handful.data.near_duplicates import ALL_PAIRS, near_duplicate_pairs
from handful.data.splits import Split, assign_parts, join_split
from handful.display import job_reporter
from handful.engines.engine import Engine
from handful.errors import DataError
from handful.features.devices import suited_precision
from handful.features.embed import EmbeddingSpec
from handful.features.extractor import BackboneMetadata
from handful.features.store import EmbeddingStore, open_store
from handful.features.table import EmbeddingTable, embed_index, scan_index
from handful.reporting import Reporter
from handful.training.jobs import EmbeddedImages, asked_backbone, embedding_spec
from handful.training.rungs import Rung, first_rung
from handful.wording import printable

logger = logging.getLogger("handful")


def open_backbone(
    config: TrainConfig, reporter: Reporter, rung: Rung | None = None
) -> tuple[BackboneMetadata, EmbeddingSpec]:
    """Take the network and the decoding that a head is to be fitted to, converted at first use.

    Args:
        config: What was asked.
        reporter: Told of the phase "convert".
        rung: Decides what the configuration leaves open; None takes that of its quality.

    Returns:
        What is known of the backbone, and how it embeds an image as it is named.

    Raises:
        WeightsError: When the backbone's weights are missing or wrong.
    """
    config = (rung or first_rung(config)).settle(config)
    with reporter.phase("convert"):
        backbone = asked_backbone(config, image_size=config.image_size, reporter=reporter)
        suited = backbone.metadata.precision
        precision = suited_precision(config.precision, suited, config.device)
        spec = embedding_spec(backbone, config, precision, mirrors=config.tta, scans=True)
    return backbone.metadata, spec


def split_images(
    index: ImageIndex,
    table: EmbeddingTable,
    config: TrainConfig,
    manifest: Mapping[str, str],
    given: Split | None = None,
    reporter: Reporter | None = None,
) -> Split:
    """Split photos as a configuration asks, nothing that belongs together on both sides.

    Args:
        index: N labeled photos.
        table: What they look like.
        config: Its fraction, seed and treatment of leaks are used.
        manifest: Content hash to part, of photos that stay in theirs.
        given: A split of these photos to take as it is; its leaks are found.
        reporter: Told how far the search for near-duplicates is, where that takes a while.

    Returns:
        The split; the leaks of parts that were given are among its index's warnings.

    Raises:
        DataError: When the photos cannot be split.
    """
    reporter = reporter or Reporter()
    takes_long = len(table.fingerprints) > ALL_PAIRS
    with reporter.phase("compare") if takes_long else nullcontext():
        pairs = near_duplicate_pairs(table.fingerprints, progress=reporter.progress)
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
    use_cache: EmbeddingStore | bool = True,
    reporter: Reporter | None = None,
) -> Split:
    """Give each photo its part: train, validation or test.

    The photos are decoded once, and near-duplicates (re-saved copies, slight crops, shots of a
    burst) kept together, as are those of one `group` in a CSV: as `train` itself splits photos,
    with the same seed. Parts that the photos come in are kept; leaks between those are in
    `split.leaks` and, named, in `split.index.warnings`, and logged as warnings.

    Args:
        index: N labeled photos.
        validation_fraction: Share of each class to hold out, in (0, 1).
        seed: Another seed, another split.
        manifest: Content hash to part: photos listed there stay there.
        drop_leaks: Leave training photos out that near-duplicate a held-out one.
        use_cache: Look up what photos look like, and keep it.
        reporter: Told how far decoding is; None shows it, see `train`.

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
    reporter = job_reporter(reporter)
    with open_store(use_cache) as store:
        found, table = scan_images(index, config, store, reporter)
    split = split_images(found, table, config, manifest or {})
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
    return index.without(table.rejected), table.select(table.readable)


def _describe_bits(table: EmbeddingTable) -> list[str]:
    """A sentence for each number of bits in use that is not the number stored."""
    bits = Counter(image.deep_bits for image in table.metadata if image is not None)
    return [
        f"{count} photo{'s' * (count > 1)} with 16 bits a sample use{'s' * (count == 1)} {used} of "
        f"them: {2**used - 1:,} was taken for white, not 65,535"
        for used, count in sorted(bits.items())
        if 0 < used < 16
    ]


def embed_images(
    index: ImageIndex,
    config: TrainConfig,
    store: EmbeddingStore | None,
    reporter: Reporter,
    split: Split | None = None,
    engine: Engine | None = None,
) -> tuple[ImageIndex, EmbeddedImages]:
    """Embed photos for a head, and see in the same pass what they look like.

    Args:
        index: The photos.
        config: Its network and decoding are used.
        store: Where embeddings are looked up and kept, or None.
        reporter: Told of the phases "convert" and "embed".
        split: A split that the photos were given in, or None.
        engine: Who embeds; None takes threads of this process.

    Returns:
        The photos that can be decoded, and their embeddings.

    Raises:
        DataError: When photos of a given split cannot be decoded.
        WeightsError: When the backbone's weights are missing or wrong.
    """
    metadata, spec = open_backbone(config, reporter)
    with reporter.phase("embed"):
        table = embed_index(index, spec, store=store, progress=reporter.progress, engine=engine)
    index, table = keep_readable(index, table, split)
    return index, EmbeddedImages(metadata, spec, table)


def scan_images(
    index: ImageIndex,
    config: TrainConfig,
    store: EmbeddingStore | None,
    reporter: Reporter,
    split: Split | None = None,
    engine: Engine | None = None,
) -> tuple[ImageIndex, EmbeddingTable]:
    """Decode photos for what is told without a network: thumbnails, sizes, sharpness.

    Args:
        index: The photos.
        config: Its limit of megapixels is used.
        store: Where results are looked up and kept, or None.
        reporter: Told of the phase "decode".
        split: A split that the photos were given in, or None.
        engine: Who decodes; None takes threads of this process.

    Returns:
        The photos that can be decoded, and what was seen of them.

    Raises:
        DataError: When photos of a given split cannot be decoded.
    """
    with reporter.phase("decode"):
        table = scan_index(
            index,
            config.max_megapixels,
            store=store,
            progress=reporter.progress,
            engine=engine,
        )
    return keep_readable(index, table, split)
