"""What a run keeps of the photos it learned from, to know them again."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.data.index import ImageIndex
from handful.data.near_duplicates import near_duplicates_among
from handful.run_store.stored_run import StoredRun


@dataclass(frozen=True)
class SeenInTraining:
    """How many photos a classifier knows from its training.

    Args:
        num_photos: All that it knows, as copies or near-duplicates.
        num_copies: Those whose files it learned from.
        num_near_duplicates: Those that show the same shot as one that it learned from, copies
            among them; None where the run is of an older version, that kept copies alone.
        num_same_group: Those of a group, by the table's column, that it learned others of.
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
                f"learned from{others}: the figure flatters it. Give photos that it has not seen."
            )
        if self.num_same_group:
            found.append(
                f"{self.num_same_group:,} of these {num_photos:,} photos are of groups that the "
                "classifier learned from: the figure may flatter it."
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


def seen_in_training(
    run: StoredRun, index: ImageIndex, fingerprints: NDArray[np.uint8]
) -> SeenInTraining | None:
    """Count the photos that a run's classifier learned from, or from others of the same shot.

    Args:
        run: The run.
        index: N photos.
        fingerprints: (N, 1024) uint8 thumbnails of them.

    Returns:
        Their numbers; None for a run without its split.csv.

    Raises:
        DataError: When a file of the run cannot be read.
    """
    if run.manifest is None:
        return None
    parts = run.parts
    copies = np.array([parts.get(text) == "train" for text in index.content_hashes], dtype=bool)
    if run.training_photos is None:
        return SeenInTraining(int(copies.sum()), int(copies.sum()), None, 0)
    known, groups = run.training_photos
    alike = copies | near_duplicates_among(fingerprints, known)
    return SeenInTraining(
        int(alike.sum()),
        int(copies.sum()),
        int(alike.sum()),
        sum(name in groups for name in index.groups),
    )


def seen_warnings(seen: SeenInTraining | None, num_photos: int) -> tuple[str, ...]:
    """What makes a classifier's figure flattering, or cannot be told; sentences.

    Args:
        seen: What was learned from; None for a classifier whose run is not there to tell.
        num_photos: All that were scored.

    Returns:
        None where nothing was seen.
    """
    if seen is not None:
        return seen.warnings(num_photos)
    return (
        f"Which of these {num_photos:,} photos the classifier learned from cannot be told: the "
        "run.json and split.csv of its run are not there. The figure flatters it where it has "
        "seen them.",
    )
