"""What a run keeps of the photos it learnt from, to know them again."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.data.decoding import FINGERPRINT_SIDE
from handful.data.index import ImageIndex
from handful.data.near_duplicates import near_duplicates_among
from handful.data.splits import Split, read_manifest
from handful.errors import DataError
from handful.runs.folders import run_around
from handful.runs.store import MANIFEST_FILE

FINGERPRINTS_FILE = "training.safetensors"
_FORMAT, _VERSION = "handful training photos", "1"


@dataclass(frozen=True)
class SeenInTraining:
    """How many photos a classifier knows from its training.

    Args:
        num_photos: All that it knows, as copies or near-duplicates.
        num_copies: Those whose files it learnt from.
        num_near_duplicates: Those that show the same shot as one that it learnt from, copies
            among them; None where the run is of an older version, that kept copies alone.
        num_same_group: Those of a group, by the table's column, that it learnt others of.
    """

    num_photos: int
    num_copies: int
    num_near_duplicates: int | None
    num_same_group: int

    def warnings(self, num_photos: int) -> tuple[str, ...]:
        """What makes a figure flattering, or cannot be told; sentences.

        Args:
            num_photos: All that were scored.

        Returns:
            None where nothing was seen.
        """
        found = []
        if self.num_photos:
            others = ", or show the same shots" if self.num_photos > self.num_copies else ""
            found.append(
                f"{self.num_photos:,} of these {num_photos:,} photos are those the classifier "
                f"learnt from{others}: the figure flatters it. Give photos that it has not seen."
            )
        if self.num_same_group:
            found.append(
                f"{self.num_same_group:,} of these {num_photos:,} photos are of groups that the "
                "classifier learnt from: the figure may flatter it."
            )
        if self.num_near_duplicates is None:
            found.append(
                "This run keeps no thumbnails of its training photos, so only exact copies of "
                "them are known again; train again to have near-duplicates found too."
            )
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """The numbers in plain values, as `handful evaluate --json` prints them.

        Returns:
            Names and values are described in docs/file-formats.md.
        """
        facts = asdict(self)
        return {"num_seen_in_training": facts.pop("num_photos"), "seen_in_training": facts}


def write_training_photos(split: Split, fingerprints: NDArray[np.uint8], folder: Path) -> None:
    """Write the thumbnails of a run's training photos, and the groups that they are of.

    Args:
        split: Which photos are for training.
        fingerprints: (N, 1024) uint8 thumbnails of all photos of the split.
        folder: Existing folder of the run.
    """
    from safetensors.numpy import save

    groups = sorted({split.index.groups[row] for row in split.train} - {""})
    facts = {"format": _FORMAT, "format_version": _VERSION, "groups": json.dumps(groups)}
    tensors = {"fingerprints": fingerprints[split.train]}
    # Written here, for `save_file` gives the file to its owner alone.
    (folder / FINGERPRINTS_FILE).write_bytes(save(tensors, metadata=facts))


def seen_in_training(
    run: str | Path, index: ImageIndex, fingerprints: NDArray[np.uint8]
) -> SeenInTraining | None:
    """Count the photos that a run's classifier learnt from, or from others of the same shot.

    Args:
        run: Folder of a run, or the classifier's own in it.
        index: N photos.
        fingerprints: (N, 1024) uint8 thumbnails of them.

    Returns:
        Their numbers; None for a classifier without its run's split.csv.

    Raises:
        DataError: When a file of the run cannot be read.
    """
    folder = run_around(Path(run))
    if folder is None or not (folder / MANIFEST_FILE).is_file():
        return None
    parts = read_manifest(folder / MANIFEST_FILE)
    copies = np.array([parts.get(text) == "train" for text in index.content_hashes], dtype=bool)
    if not (folder / FINGERPRINTS_FILE).is_file():
        return SeenInTraining(int(copies.sum()), int(copies.sum()), None, 0)
    known, groups = _read(folder / FINGERPRINTS_FILE)
    alike = copies | near_duplicates_among(fingerprints, known)
    return SeenInTraining(
        int(alike.sum()),
        int(copies.sum()),
        int(alike.sum()),
        sum(name in groups for name in index.groups),
    )


def _read(file: Path) -> tuple[NDArray[np.uint8], set[str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as opened:
            facts = opened.metadata() or {}
            found = facts.get("format"), facts.get("format_version")
            if found != (_FORMAT, _VERSION):
                raise ValueError(f"its format is {found}")
            fingerprints = opened.get_tensor("fingerprints")
        if fingerprints.dtype != np.uint8 or fingerprints.shape[1:] != (FINGERPRINT_SIDE**2,):
            raise ValueError(f"fingerprints are {fingerprints.dtype} {fingerprints.shape}")
        return fingerprints, set(map(str, json.loads(facts["groups"])))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise DataError(
            f"{file} does not hold a run's training photos ({error}); restore it from a copy, or "
            "remove it: only exact copies are known again without it."
        ) from error
