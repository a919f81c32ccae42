import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import draw_photo, write_photo
from handful.cores import num_workers
from handful.data.augmentation import EXERCISE_POLICY, VIEWS_POLICY
from handful.data.decoding import DecodeSettings, decode, fingerprint, mirror
from handful.data.index import load_index
from handful.data.metadata import measure, read_metadata
from handful.errors import DataError
from handful.features import embed
from handful.features import table as table_module
from handful.features.conversion import FrozenNetwork
from handful.features.embed import EmbeddingSpec, PreparedImage, prepare_one
from handful.features.extractor import BATCH_SIZE
from handful.features.openvino import OpenVinoExtractor
from handful.features.store import SqliteStore
from handful.features.table import embed_index, scan_index

SETTINGS = DecodeSettings(32)


@pytest.fixture
def embedder(tiny_network: FrozenNetwork) -> OpenVinoExtractor:
    return OpenVinoExtractor(tiny_network, "f32")


def test_an_embedding_is_the_networks_answer(
    photo_folder: Path, embedder: OpenVinoExtractor
) -> None:
    index = load_index(photo_folder)
    table = embed_index(index, EmbeddingSpec(embedder, SETTINGS))
    assert table.embeddings.shape == (48, 1, 48) and table.embeddings.dtype == np.float32
    assert (table.hits, table.misses, table.rejected) == (0, 48, {})
    projection = np.random.default_rng(0).normal(size=(32 * 32 * 3, 48)).astype(np.float32) / 30
    for row in (0, 17, 47):
        image = decode(index.read(row), SETTINGS)
        expected = np.maximum((image.ravel() - 127.0) / 128.0 @ projection, 0)
        np.testing.assert_allclose(table.embeddings[row, 0], expected, atol=1e-4)
        looked = decode(index.read(row), DecodeSettings())
        assert np.array_equal(table.fingerprints[row], fingerprint(looked))


def test_views_are_told_apart(photo_folder: Path, embedder: OpenVinoExtractor) -> None:
    index = load_index(photo_folder).select([0, 1, 2])
    table = embed_index(index, EmbeddingSpec(embedder, SETTINGS, (0, "mirror", 1, 2)))
    assert table.embeddings.shape == (3, 4, 48)
    assert len({row.tobytes() for row in table.embeddings.reshape(12, 48)}) == 12
    image = mirror(decode(index.read(1), SETTINGS))
    assert np.array_equal(table.embeddings[1, 1], embedder.embed(image[np.newaxis])[0])
    assert np.array_equal(table.mean, table.embeddings.mean(axis=1))


def test_neighbors_and_runs_change_nothing(photo_folder: Path, embedder: OpenVinoExtractor) -> None:
    index = load_index(photo_folder)
    whole = embed_index(index, EmbeddingSpec(embedder, SETTINGS)).embeddings
    alone = embed_index(index.select([5]), EmbeddingSpec(embedder, SETTINGS)).embeddings
    another = OpenVinoExtractor(embedder.network, "f32")
    again = embed_index(index, EmbeddingSpec(another, SETTINGS)).embeddings
    assert np.array_equal(whole[5], alone[0])
    assert np.array_equal(whole, again)


def test_the_cache_gives_back_the_same_bits(
    photo_folder: Path, embedder: OpenVinoExtractor, tmp_path: Path
) -> None:
    index = load_index(photo_folder)
    with SqliteStore(tmp_path / "cache.sqlite") as store:
        first = embed_index(index, EmbeddingSpec(embedder, SETTINGS), store=store)
        second = embed_index(index, EmbeddingSpec(embedder, SETTINGS), store=store)
    assert (first.hits, first.misses) == (0, 48)
    assert (second.hits, second.misses) == (48, 0)
    assert np.array_equal(first.embeddings, second.embeddings)
    assert np.array_equal(first.fingerprints, second.fingerprints)


def test_the_limit_decides_and_the_cache_does_not(
    photo_folder: Path, embedder: OpenVinoExtractor, tmp_path: Path
) -> None:
    """Another limit finds all that was computed, and gives what it gives without a cache."""
    folder = tmp_path / "photos"
    shutil.copytree(photo_folder, folder)
    write_photo(folder / "round" / "wide.png", draw_photo("round", 1, (100, 4000)))
    index = load_index(folder)
    few, many = DecodeSettings(32, max_megapixels=0.3), DecodeSettings(32, max_megapixels=5)
    row = index.paths.index("round/wide.png")
    with SqliteStore(tmp_path / "cache.sqlite") as store:
        refused = embed_index(index, EmbeddingSpec(embedder, few), store=store)
        taken = embed_index(index, EmbeddingSpec(embedder, many), store=store)
        again = embed_index(index, EmbeddingSpec(embedder, few), store=store)
    assert list(refused.rejected) == [row] and refused.rejected == again.rejected
    assert refused.rejected[row] == "has 0 megapixels; the limit is 0.3, save it smaller"
    assert not taken.rejected and (taken.hits, taken.misses) == (48, 1)


def test_more_photos_embed_only_themselves(
    photo_folder: Path, embedder: OpenVinoExtractor, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photo_folder, folder)
    with SqliteStore(tmp_path / "cache.sqlite") as store:
        embed_index(load_index(folder), EmbeddingSpec(embedder, SETTINGS), store=store)
        for number in range(5):
            write_photo(folder / "round" / f"new{number}.jpg", draw_photo("round", 500 + number))
        (folder / "square" / "000.jpg").rename(folder / "square" / "renamed.jpg")
        table = embed_index(load_index(folder), EmbeddingSpec(embedder, SETTINGS), store=store)
    assert (table.hits, table.misses) == (48, 5)


@pytest.mark.parametrize("change", ["decode", "network", "precision", "view"])
def test_whatever_an_embedding_depends_on_is_in_its_key(
    photo_folder: Path, tiny_network: FrozenNetwork, tmp_path: Path, change: str
) -> None:
    index = load_index(photo_folder).select(range(4))
    with SqliteStore(tmp_path / "cache.sqlite") as store:
        embedder = OpenVinoExtractor(tiny_network, "f32")
        embed_index(index, EmbeddingSpec(embedder, SETTINGS), store=store)
        settings, views = SETTINGS, (0,)
        if change == "decode":
            settings = DecodeSettings(32, "crop")
        elif change == "network":
            embedder = OpenVinoExtractor(replace(tiny_network, digest="another"), "f32")
        elif change == "precision":
            embedder.precision = "bf16"
        else:
            views = (1,)
        table = embed_index(index, EmbeddingSpec(embedder, settings, views), store=store)
    assert (table.hits, table.misses) == (0, 4)


def test_undecodable_photos_are_listed_and_remembered(
    photo_folder: Path, embedder: OpenVinoExtractor, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photo_folder, folder)
    path = folder / "round" / "003.jpg"
    path.write_bytes(path.read_bytes()[:-300])
    index = load_index(folder)
    row = index.paths.index("round/003.jpg")
    with SqliteStore(tmp_path / "cache.sqlite") as store:
        for hits, misses in ((0, 47), (47, 0)):
            table = embed_index(index, EmbeddingSpec(embedder, SETTINGS), store=store)
            assert list(table.rejected) == [row]
            assert "truncated" in table.rejected[row]
            assert (table.hits, table.misses) == (hits, misses)
        kept = np.delete(np.arange(48), row)
        assert len(table.select(kept).embeddings) == 47
        assert table.select(kept).rejected == {}


def test_what_could_not_be_read_is_tried_again(
    photo_folder: Path, embedder: OpenVinoExtractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photo_folder, folder)
    index = load_index(folder)
    path = folder / index.paths[5]
    content = path.read_bytes()
    with SqliteStore(tmp_path / "cache.sqlite") as store:
        path.unlink()
        table = embed_index(index, EmbeddingSpec(embedder, SETTINGS), store=store)
        assert "No such file" in table.rejected[5]
        path.write_bytes(content[:-1])
        table = embed_index(index, EmbeddingSpec(embedder, SETTINGS), store=store)
        assert table.rejected == {5: "has changed while it was being used"}
        path.write_bytes(content)
        with monkeypatch.context() as short:
            short.setattr(embed, "decode", out_of_memory)
            assert (
                "damaged"
                in embed_index(index, EmbeddingSpec(embedder, SETTINGS), store=store).rejected[5]
            )
        table = embed_index(index, EmbeddingSpec(embedder, SETTINGS), store=store)
        assert (table.rejected, table.misses) == ({}, 1)
        assert embed_index(index, EmbeddingSpec(embedder, SETTINGS), store=store).misses == 0


def out_of_memory(*_: object) -> None:
    raise DataError("is damaged") from MemoryError()


def test_a_scan_finds_what_embedding_finds(
    photo_folder: Path, embedder: OpenVinoExtractor, tmp_path: Path
) -> None:
    index = load_index(photo_folder)
    steps: list[tuple[int, int]] = []
    with SqliteStore(tmp_path / "cache.sqlite") as store:
        scan = scan_index(
            index, store=store, progress=lambda done, total: steps.append((done, total))
        )
        assert (scan.hits, scan.misses) == (0, 48)
        assert scan_index(index, store=store).hits == 48
        table = embed_index(index, EmbeddingSpec(embedder, SETTINGS), store=store)
    assert np.array_equal(scan.fingerprints, table.fingerprints)
    assert np.array_equal(scan.measures, table.measures)
    assert scan.embeddings.size == 0
    assert steps[0] == (1, 48) and steps[-1] == (48, 48)


def test_facts_and_measures_come_with_the_photos(
    photo_folder: Path, embedder: OpenVinoExtractor, tmp_path: Path
) -> None:
    index = load_index(photo_folder)
    with SqliteStore(tmp_path / "cache.sqlite") as store:
        first = embed_index(index, EmbeddingSpec(embedder, SETTINGS), store=store)
        second = embed_index(index, EmbeddingSpec(embedder, SETTINGS), store=store)
    assert first.metadata == second.metadata and np.array_equal(first.measures, second.measures)
    row = 30
    data = index.read(row)
    assert first.metadata[row] == read_metadata(data)
    assert np.array_equal(first.measures[row], measure(decode(data, DecodeSettings())))
    some = first.select(np.array([4, row]))
    assert some.metadata == (first.metadata[4], first.metadata[row])
    assert np.array_equal(some.measures, first.measures[[4, row]])


@pytest.mark.parametrize("settings", [DecodeSettings(32, "squash"), DecodeSettings(32, "crop")])
def test_what_photos_look_like_does_not_depend_on_what_a_network_takes(
    photo_folder: Path, embedder: OpenVinoExtractor, settings: DecodeSettings, tmp_path: Path
) -> None:
    index = load_index(photo_folder)
    with SqliteStore(tmp_path / "cache.sqlite") as store:
        table = embed_index(index, EmbeddingSpec(embedder, settings), store=store)
        scan = scan_index(index, store=store)
    assert scan.hits == 48
    assert np.array_equal(table.fingerprints, scan_index(index).fingerprints)
    assert np.array_equal(table.measures, scan.measures)


def test_what_an_older_version_embedded_is_only_decoded_again(
    photo_folder: Path, embedder: OpenVinoExtractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept of a picture may change; its embedding stays good."""
    index = load_index(photo_folder)
    with SqliteStore(tmp_path / "cache.sqlite") as store:
        first = embed_index(index, EmbeddingSpec(embedder, SETTINGS), store=store)
        monkeypatch.setattr(embed, "METADATA_VERSION", "another")
        monkeypatch.setattr(embedder, "embed", lambda _: pytest.fail("embedded again"))
        second = embed_index(index, EmbeddingSpec(embedder, SETTINGS), store=store)
        third = embed_index(index, EmbeddingSpec(embedder, SETTINGS), store=store)
    assert (second.hits, second.misses) == (third.hits, third.misses) == (48, 0)
    assert second.decode_seconds > 0 and third.decode_seconds == 0
    assert np.array_equal(first.embeddings, second.embeddings)
    assert first.metadata == second.metadata == third.metadata


@pytest.mark.parametrize("value", [b"", b"F", b"F" + bytes(380), b"R\xff", bytes(4000)])
def test_values_of_another_kind_are_made_again(
    photo_folder: Path, embedder: OpenVinoExtractor, tmp_path: Path, value: bytes
) -> None:
    index = load_index(photo_folder).select([0, 1, 2])
    with SqliteStore(tmp_path / "cache.sqlite") as store:
        first = embed_index(index, EmbeddingSpec(embedder, SETTINGS), store=store)
        with closing(sqlite3.connect(tmp_path / "cache.sqlite")) as file:
            keys = dict(file.execute("SELECT key, kind FROM rows").fetchall())
        for key, kind in keys.items():
            store.cache.put_many(kind, {key: value})
        again = embed_index(index, EmbeddingSpec(embedder, SETTINGS), store=store)
    assert len(keys) == 6 and not again.rejected
    assert np.array_equal(again.embeddings, first.embeddings)
    assert np.array_equal(again.fingerprints, first.fingerprints)
    assert again.metadata == first.metadata


def test_progress_counts_photos_not_views(photo_folder: Path, embedder: OpenVinoExtractor) -> None:
    steps: list[tuple[int, int]] = []
    index = load_index(photo_folder)
    embed_index(
        index,
        EmbeddingSpec(embedder, SETTINGS, (0, "mirror")),
        progress=lambda done, total: steps.append((done, total)),
    )
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert steps[-1] == (48, 48) and {total for _, total in steps} == {48}


def test_an_interrupt_keeps_what_was_done(
    photo_folder: Path, embedder: OpenVinoExtractor, tmp_path: Path
) -> None:
    index = load_index(photo_folder)

    def interrupt(done: int, total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with SqliteStore(tmp_path / "cache.sqlite") as store:
        with pytest.raises(KeyboardInterrupt):
            embed_index(index, EmbeddingSpec(embedder, SETTINGS), store=store, progress=interrupt)
        table = embed_index(index, EmbeddingSpec(embedder, SETTINGS), store=store)
    assert table.hits == 20
    assert table.misses == 28


@pytest.mark.slow
def test_a_killed_process_is_resumed_from(
    photo_folder: Path, tiny_network: FrozenNetwork, tmp_path: Path
) -> None:
    """`kill -9` while embedding: the next run starts from the last commit."""
    script = textwrap.dedent(
        f"""
        import time
        from pathlib import Path
        from handful.data.decoding import DecodeSettings
        from handful.data.index import load_index
        from handful.features import table
        from handful.features.conversion import FrozenNetwork
        from handful.features.embed import EmbeddingSpec
        from handful.features.openvino import OpenVinoExtractor
        from handful.features.store import SqliteStore
        table._ROWS_A_COMMIT = 8
        network = {tiny_network!r}
        def wait(done, total):
            if done == 30:
                print("ready", flush=True)
                time.sleep(60)
        with SqliteStore(Path({str(tmp_path / "cache.sqlite")!r})) as store:
            table.embed_index(
                load_index({str(photo_folder)!r}),
                EmbeddingSpec(OpenVinoExtractor(network, "f32"), DecodeSettings(32)),
                store=store,
                progress=wait,
            )
        """
    ).replace("PosixPath", "Path")
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, signal.SIGKILL)
    with SqliteStore(tmp_path / "cache.sqlite") as store:
        spec = EmbeddingSpec(OpenVinoExtractor(tiny_network, "f32"), SETTINGS)
        table = embed_index(load_index(photo_folder), spec, store=store)
    assert table.hits == 24
    assert table.misses == 24


class CountedExtractor:
    """Embeds nothing, slowly: it tells how far decoding is ahead of it."""

    key = digest = precision = "counted"
    image_size, embedding_dim = 32, 1

    def embed(self, images: np.ndarray) -> np.ndarray:
        return np.zeros((len(images), 1), np.float32)


@pytest.mark.slow
def test_decoding_does_not_run_far_ahead(
    photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory stays flat: whoever takes the results holds the decoders back."""
    decoded: list[int] = []
    ahead: list[int] = []

    def counted(data: bytes, spec: EmbeddingSpec) -> PreparedImage:
        decoded.append(1)
        return prepare_one(data, spec)

    monkeypatch.setattr(table_module, "prepare_one", counted)
    index = load_index(photo_folder)
    index = index.select(list(range(48)) * 10)
    embed_index(
        index,
        EmbeddingSpec(CountedExtractor(), SETTINGS),
        progress=lambda done, _: ahead.append(len(decoded) - done),
    )
    assert max(ahead) <= 2 * BATCH_SIZE * num_workers()


def test_views_are_cached_by_what_they_are_drawn_from(
    photo_folder: Path, embedder: OpenVinoExtractor, tmp_path: Path
) -> None:
    index = load_index(photo_folder).select([0, 1, 2])
    mild, strong = VIEWS_POLICY, EXERCISE_POLICY
    with SqliteStore(tmp_path / "cache.sqlite") as store:
        tables = [
            embed_index(index, EmbeddingSpec(embedder, SETTINGS, (0, 1), **drawn), store=store)
            for drawn in ({}, {"policy": strong}, {"policy": mild})
        ]
    assert [table.hits for table in tables] == [0, 3, 6]  # the photos themselves are the same
    assert np.array_equal(tables[0].embeddings, tables[2].embeddings)
    assert not np.array_equal(tables[0].embeddings[:, 1], tables[1].embeddings[:, 1])


def test_views_are_drawn_mildly() -> None:
    """A head that is fitted to few photos is to see nothing that the photos could not show."""
    assert VIEWS_POLICY.rotation_range == 0 and VIEWS_POLICY.shear_range == 0
    assert not VIEWS_POLICY.changes_nothing and VIEWS_POLICY.zoom_range <= 0.1
