"""What a project holds, and its labels written out for other programs."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from handful.data.index import RejectedFile
from handful.errors import UsageError
from handful.projects.label_files import WrittenLabels
from handful.projects.project import Project


@dataclass(frozen=True)
class ProjectLabels:
    """What a project holds, and what was written of it.

    Args:
        path: The project's folder.
        counts: Number of photos by class, in the order in which the classes were made.
        num_unsorted: Photos without a class.
        num_left_out: Photos that were left out.
        num_corrections: Corrections that wait for a decision.
        rejected: Files that are no photos, each with its reason.
        written: Tables and folders that were made.
    """

    path: Path
    counts: dict[str, int]
    num_unsorted: int
    num_left_out: int
    num_corrections: int
    rejected: tuple[RejectedFile, ...]
    written: tuple[WrittenLabels, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON.

        Returns:
            What `handful labels --json` prints.
        """
        written = [
            {
                "path": str(one.path),
                "counts": one.counts,
                "skipped": [asdict(file) for file in one.skipped],
            }
            for one in self.written
        ]
        return {
            "project": str(self.path),
            "counts": self.counts,
            "num_unsorted": self.num_unsorted,
            "num_left_out": self.num_left_out,
            "num_corrections": self.num_corrections,
            "rejected": [asdict(file) for file in self.rejected],
            "written": written,
        }


def labels(
    project: str | Path,
    *,
    csv: str | Path | None = None,
    folders: str | Path | None = None,
    links: bool = False,
) -> ProjectLabels:
    """Tell what a project holds, and write its labels out.

    Args:
        project: The project's folder.
        csv: Table of path,label to make, or None.
        folders: Folder with a folder for each class to make, or None.
        links: Whether photos in these are links instead of copies.

    Returns:
        Both.

    Raises:
        DataError: When it is no project, or no photo has a class.
        OutputError: When something is there already, or cannot be written.
        UsageError: When links are asked for without folders.
    """
    if links and folders is None:
        raise UsageError("`links` is given without `folders`; expected a folder to make them in.")
    found = Project(project)
    written = []
    if csv is not None:
        written.append(found.write_csv(csv))
    if folders is not None:
        written.append(found.write_folders(folders, links=links))
    ids = {photo.id for photo in found.photos}
    labeled = {id: name for id, name in found.labels.all().items() if id in ids}
    left_out = found.labels.left_out & ids
    names = list(labeled.values())
    return ProjectLabels(
        found.folder,
        {name: names.count(name) for name in found.labels.classes},
        len(ids) - len(labeled) - len(left_out),
        len(left_out),
        len(found.inbox.waiting),
        found.rejected,
        tuple(written),
    )
