"""The job behind `handful embed`: photos' embeddings, as Parquet for other tools."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from handful.config import EMBED_OPTIONS, TrainConfig
from handful.data.inputs import path_of
from handful.data.storage import FoundFile
from handful.display import Shown, job_reporter
from handful.engines.engine import Engine
from handful.errors import UsageError
from handful.features.files import EmbeddedFile, FileEmbedder
from handful.options import changed
from handful.reporting import Reporter
from handful.training.steps import open_backbone
from handful.wording import number_of
from handful.workflows.parts import PartWork, Sources, do_parts, photo_table

if TYPE_CHECKING:
    import pyarrow

DTYPES = ("float32", "float16")


@dataclass(frozen=True, repr=False)
class PhotoEmbeddings(Shown):
    """Embeddings of photos, as Parquet.

    Args:
        path: Folder of the files: each row has `path`, `digest`, `vector` and `reason`.
        num_photos: Rows in all.
        num_refused: Those without a vector, each with a reason.
        num_parts: Files.
        backbone: The network's name.
        embedding_dim: Length of a vector.
        dtype: "float32" or "float16".
    """

    path: Path
    num_photos: int
    num_refused: int
    num_parts: int
    backbone: str
    embedding_dim: int
    dtype: str

    def _in_words(self) -> str:
        refused = f", {self.num_refused:,} of which cannot be used" if self.num_refused else ""
        return (
            f"{number_of(self.num_photos)}{refused}, as {self.embedding_dim:,} x {self.dtype} of "
            f"{self.backbone}, in {str(self.path)[-60:]}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `handful embed --json` prints them.

        Returns:
            Names and values are described in docs/file-formats.md.
        """
        return {**vars(self), "path": str(self.path)}


def embed(
    photos: Sources,
    config: TrainConfig | None = None,
    *,
    output: str | Path,
    dtype: str = "float32",
    engine: Engine | str = "local",
    reporter: Reporter | None = None,
    **options: Any,
) -> PhotoEmbeddings:
    """Write photos' embeddings as Parquet, for other tools.

    Where the job was killed, the same call goes on: parts that are there are not made again.

    Args:
        photos: Files, folders, zips or projects, or folders and files in a bucket, such as
            "s3://bucket/photos"; or one of them. Folders are searched to any depth.
        config: Its network and decoding are used; None takes the defaults.
        output: Folder to make, or to go on with: Parquet files with the columns `path`, `digest`,
            `vector` and, for what is no photo, `reason`.
        dtype: "float32", or "float16" for half the space.
        engine: Who computes: "local" is this process, "ray" the cluster that `RAY_ADDRESS` names,
            or processes of this machine.
        reporter: Told how far it is; None shows it, see `train`.
        **options: Options of `TrainConfig` by name: those that decide the network and decoding.

    Returns:
        What was written.

    Raises:
        DataError: When there are no photos.
        MissingExtraError: When an engine, or what writes Parquet, is not installed.
        OutputError: When the output holds something else, or cannot be written.
        UsageError: When an argument is none that can be asked for.
        WeightsError: When the network's weights are missing or wrong.

    Example:
        ```python
        handful.embed("photos/", output="vectors/", backbone="efficientnet-lite0")
        vectors = pyarrow.parquet.read_table("vectors/")
        ```
    """
    if dtype not in DTYPES:
        raise UsageError(f"`dtype` is {dtype!r}; expected one of {', '.join(DTYPES)}.")
    config = changed(config or TrainConfig(), options, job=embed, names=EMBED_OPTIONS)
    path = path_of(output, "output", "a path")
    reporter = job_reporter(reporter)
    metadata, spec = open_backbone(config, reporter)
    spec = replace(spec, scans=False)
    assert spec.extractor is not None  # a backbone embeds
    dim = spec.embedding_dim
    job = {
        "kind": "embeddings",
        "network": spec.extractor.key,
        "decoding": spec.settings.key(),
        "max_megapixels": config.max_megapixels,
        "dtype": dtype,
    }

    def table(
        files: list[FoundFile], rows: list[EmbeddedFile]
    ) -> "tuple[pyarrow.Table, dict[str, Any]]":
        return _table(files, rows, dim, dtype)

    asked = PartWork(FileEmbedder(spec), job, table)
    notes = do_parts(photos, path, asked, engine, reporter)
    return PhotoEmbeddings(
        path,
        sum(note["num_photos"] for note in notes),
        sum(note["num_refused"] for note in notes),
        len(notes),
        metadata.name,
        dim,
        dtype,
    )


def _table(
    files: list[FoundFile], rows: list[EmbeddedFile], dim: int, dtype: str
) -> "tuple[pyarrow.Table, dict[str, Any]]":
    import pyarrow

    vectors = np.zeros((len(rows), dim), dtype)
    for place, row in enumerate(rows):
        if row.vector is not None:
            vectors[place] = row.vector
    refused = [row.vector is None for row in rows]
    column = pyarrow.FixedSizeListArray.from_arrays(
        pyarrow.array(vectors.ravel()), dim, mask=pyarrow.array(refused)
    )
    note = {"num_photos": len(rows), "num_refused": sum(refused)}
    return photo_table(files, rows, {"vector": column}), note
