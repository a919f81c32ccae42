"""Photos' embeddings as Parquet."""

import json
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet
from typer.testing import CliRunner

import handful
from handful.cli.commands import app
from handful.data.index import load_unlabeled
from handful.errors import DataError, OutputError, UsageError
from handful.features.openvino import OpenVinoExtractor
from handful.features.table import embed_index
from handful.training.steps import open_backbone
from handful.workflows import parts
from reporters import Recorder

pytestmark = pytest.mark.usefixtures("tiny_backbone")
QUIET = handful.Reporter()


@pytest.fixture
def photos(photo_folder: Path, tmp_path: Path) -> Path:
    """48 drawn photos, a file that is damaged and one that is none."""
    (tmp_path / "photos").symlink_to(photo_folder)
    root = tmp_path / "all"
    root.mkdir()
    (root / "photos").symlink_to(photo_folder)
    (root / "bad.jpg").write_bytes((photo_folder / "round" / "000.jpg").read_bytes()[:500])
    (root / "notes.txt").write_text("no photo")
    return root


def test_each_file_is_a_row(photos: Path, tmp_path: Path) -> None:
    found = handful.embed(photos, output=tmp_path / "vectors", reporter=QUIET)
    table = parquet.read_table(tmp_path / "vectors")
    rows = {row["path"]: row for row in table.to_pylist()}
    assert table.column_names == ["path", "digest", "vector", "reason"]
    assert (found.num_photos, found.num_refused, found.num_parts) == (50, 2, 1) and len(rows) == 50
    assert rows[str(photos / "notes.txt")]["vector"] is None
    assert rows[str(photos / "bad.jpg")]["reason"] and rows[str(photos / "bad.jpg")]["digest"]
    index = load_unlabeled(photos)
    spec = open_backbone(handful.TrainConfig(), QUIET)[1]
    expected = embed_index(index, spec)
    for row in expected.readable:
        vector = np.array(rows[index.paths[row]]["vector"], np.float32)
        assert np.array_equal(vector, expected.mean[row])
        assert rows[index.paths[row]]["digest"] == index.content_hashes[row]
    assert repr(found).startswith("<PhotoEmbeddings: 50 photos, 2 of which cannot be used, as 48 x")


def test_half_the_space_is_half_the_bits(photo_folder: Path, tmp_path: Path) -> None:
    for dtype in ("float32", "float16"):
        handful.embed(photo_folder, output=tmp_path / dtype, dtype=dtype, reporter=QUIET)
    whole, half = (
        parquet.read_table(tmp_path / dtype)["vector"].combine_chunks().values.to_numpy()
        for dtype in ("float32", "float16")
    )
    assert half.dtype == np.float16 and np.array_equal(half, whole.astype(np.float16))
    with pytest.raises(UsageError, match="`dtype` is 'int8'; expected one of float32, float16"):
        handful.embed(photo_folder, output=tmp_path / "x", dtype="int8", reporter=QUIET)


def test_what_is_done_is_not_done_again(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handful.files.parts.ITEMS_A_PART", 8)
    monkeypatch.setattr(parts, "_PHOTOS_A_GROUP", 3)
    stopped = Recorder()
    monkeypatch.setattr(stopped, "progress", stop_after(20))
    with pytest.raises(KeyboardInterrupt):
        handful.embed(photos, output=tmp_path / "vectors", reporter=stopped)
    done = sorted((tmp_path / "vectors").glob("*.parquet"))
    stamps = [file.stat().st_mtime_ns for file in done]
    assert 1 <= len(done) < 7
    embedded: list[int] = []
    embed = OpenVinoExtractor.embed
    monkeypatch.setattr(
        OpenVinoExtractor,
        "embed",
        lambda self, images: embedded.append(len(images)) or embed(self, images),
    )
    told = Recorder()
    found = handful.embed(photos, output=tmp_path / "vectors", reporter=told)
    assert (found.num_photos, found.num_parts) == (50, 7)
    assert sum(embedded) < 48 - 8 * (len(done) - 1)  # with those that a network is tried on
    assert [file.stat().st_mtime_ns for file in done] == stamps
    assert told.of("progress")[-1][-2:] == (50, 50)
    names = parquet.read_table(tmp_path / "vectors")["path"].to_pylist()
    assert len(names) == len(set(names)) == 50


def stop_after(number: int):
    def progress(done: int, total: int) -> None:
        if done >= number:
            raise KeyboardInterrupt

    return progress


def test_wrong_asks_are_named(photo_folder: Path, tmp_path: Path) -> None:
    handful.embed(photo_folder, output=tmp_path / "vectors", reporter=QUIET)
    with pytest.raises(OutputError, match=r"`decoding` was .* and is "):
        handful.embed(photo_folder, output=tmp_path / "vectors", resize="crop", reporter=QUIET)
    with pytest.raises(UsageError, match="`epochs` is no option"):
        handful.embed(photo_folder, output=tmp_path / "x", epochs=3, reporter=QUIET)
    with pytest.raises(DataError, match="does not exist"):
        handful.embed(tmp_path / "nowhere", output=tmp_path / "x", reporter=QUIET)
    with pytest.raises(DataError, match="holds what handful made"):
        handful.embed(tmp_path / "vectors", output=tmp_path / "x", reporter=QUIET)
    assert not (tmp_path / "x").exists()


def test_the_command_says_what_it_wrote(photos: Path, tmp_path: Path) -> None:
    command = ["embed", str(photos), "--output", str(tmp_path / "vectors")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0
    assert "48 x float32 of efficientnet-lite0 for 48 photos" in done.stdout
    assert "Files that cannot be used, with reasons: 2" in done.stdout
    told = json.loads(CliRunner().invoke(app, [*command, "--json", "--quiet"]).stdout)
    assert told == {
        "path": str(tmp_path / "vectors"),
        "num_photos": 50,
        "num_refused": 2,
        "num_parts": 1,
        "backbone": "efficientnet-lite0",
        "embedding_dim": 48,
        "dtype": "float32",
    }
