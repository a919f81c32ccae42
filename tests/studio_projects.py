"""Projects for tests of what the studio's pages show."""

from pathlib import Path

from conftest import draw_photo, write_photo
from handful.projects.project import Project


def unsorted_project(folder: Path) -> Project:
    """Six photos without labels, three round ones and three square ones: round0.png, ..."""
    for kind in ("round", "square"):
        for number in range(3):
            write_photo(folder / "heap" / f"{kind}{number}.png", draw_photo(kind, number))
    found = Project.create(folder / "work")
    found.add_source(folder / "heap")
    return found


def ids_of(project: Project) -> dict[str, str]:
    """File's name to id."""
    return {photo.name: photo.id for photo in project.photos}
