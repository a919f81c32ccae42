"""A project: photos that are taken where they lie, and what people say of them."""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from handful.data.index import ImageIndex, sort_key
from handful.data.project_folder import (
    LABELS_FILE,
    PHOTOS_FILE,
    PROJECT_FILE,
    PROJECT_FORMAT,
    PROJECT_VERSION,
    check_project_file,
)
from handful.data.target import ONE_CLASS
from handful.errors import DataError, OutputError
from handful.files.atomic import json_text, new_folder
from handful.files.json_lines import JsonLines
from handful.projects.inbox import Correction, Inbox
from handful.projects.label_files import (
    LabeledPhoto,
    WrittenLabels,
    write_class_folders,
    write_label_table,
)
from handful.projects.label_store import LabelStore, check_class_name
from handful.projects.photo_store import OWN_PHOTOS, PhotoStore, ProjectPhoto
from handful.projects.thumbnails import Thumbnails
from handful.reporting import Progress

_INBOX_FILE = "inbox.jsonl"
_ATTEMPTS = 10


class Project(PhotoStore):
    """A project's folder, opened; docs/file-formats.md says what is in it.

    Nothing outside the folder is ever written. Several may be open on one folder, in one process
    or in many: each sees what the others do. Safe to use from any number of threads.

    Args:
        folder: The project's.

    Attributes:
        labels: Classes, and which photo is of which.
        inbox: Corrections that wait for a decision.
        thumbnails: Small copies of the photos.

    Raises:
        DataError: When it is none, or cannot be read.
    """

    def __init__(self, folder: str | Path) -> None:
        path = Path(folder)
        self._metadata = check_project_file(path)
        super().__init__(path)
        self.labels = LabelStore(path / LABELS_FILE)
        self.inbox = Inbox(path / _INBOX_FILE)
        self.thumbnails = Thumbnails(path / "thumbnails")

    @classmethod
    def create(cls, folder: str | Path, name: str = "") -> "Project":
        """Make an empty project.

        Args:
            folder: Where; nothing may be there.
            name: What people call it; "" takes the folder's.

        Returns:
            The project.

        Raises:
            OutputError: When something is there, or it cannot be written.
        """
        path = Path(folder)
        metadata = {
            "format": PROJECT_FORMAT,
            "format_version": PROJECT_VERSION,
            "name": name or os.path.basename(os.path.abspath(path)).removesuffix(".handful"),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with new_folder(path) as made:
            (made / PROJECT_FILE).write_text(json_text(metadata) + "\n", encoding="utf-8")
            (made / OWN_PHOTOS).mkdir()
            (made / LABELS_FILE).touch()
            lines = JsonLines(made / PHOTOS_FILE)
            with lines.locked():
                lines.append([{"op": "source", "path": OWN_PHOTOS, "kind": "folder"}])
        return cls(path)

    @classmethod
    def open(cls, folder: str | Path) -> "Project":
        """Open a project, which is made where nothing is.

        Args:
            folder: Its folder.

        Returns:
            The project.

        Raises:
            DataError: When something else is there.
            OutputError: When it cannot be made.
        """
        path = Path(folder)
        for attempt in range(_ATTEMPTS):
            if os.path.lexists(path):
                break
            try:
                return cls.create(path)
            except OutputError:
                # Another process may just be making it.
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(0.02)
        return cls(path)

    @property
    def name(self) -> str:
        """What people call it."""
        return str(self._metadata.get("name", self.folder.name))

    @property
    def runs(self) -> Path:
        """Folder for the runs that are made of it; it need not exist."""
        return self.folder / "runs"

    def add_photo(self, name: str, data: bytes) -> str:
        """Keep a photo that is no file here: dropped on a page, or made by a camera.

        It is decoded first, so that nothing is kept that cannot be used.

        Args:
            name: Its file's name, which may be anything.
            data: Its bytes.

        Returns:
            Its id; the same as before for a photo that is there already.

        Raises:
            DataError: When it is no photo that can be used; names it.
            OutputError: When it cannot be written.
        """
        return self.keep(name, data, self.thumbnails.make)

    def thumbnail(self, id: str) -> bytes:
        """A small copy of a photo, made where there is none yet.

        Args:
            id: The photo.

        Returns:
            WebP file, upright, 256 pixels at most.

        Raises:
            DataError: When the photo is gone, has changed or cannot be decoded; then it is in
                `rejected` from now on.
            UsageError: When there is no such photo.
        """
        kept = self.thumbnails.get(id)
        if kept is not None:
            return kept
        data = self.read(id)
        try:
            return self.thumbnails.make(id, data)
        except DataError as error:
            self.refuse(id, str(error))
            raise

    def make_thumbnails(
        self,
        progress: Progress | None = None,
        *,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        """Make the thumbnails that are missing; photos that cannot be decoded are refused.

        Args:
            progress: Called with (thumbnails there, photos in all).
            cancelled: Asked after each; True stops.
        """
        by_id = self._current()[1]
        readers = {id: self._reader.photo(by_id[id]) for id in by_id}
        for id, reason in self.thumbnails.fill(readers, progress, cancelled=cancelled).items():
            try:
                readers[id]()
            except DataError:
                continue  # it may be there again tomorrow
            self.refuse(id, reason)

    def suggest(
        self, name: str, data: bytes, class_name: str, *, predicted: str = "", origin: str = ""
    ) -> Correction:
        """Keep a photo that was classified elsewhere, and what somebody says that it is.

        Args:
            name: Its file's name, which may be anything.
            data: Its bytes.
            class_name: What it is; a suggestion, until `accept` takes it over.
            predicted: What a classifier took it for.
            origin: Where this comes from: "serve", a run's name.

        Returns:
            The correction, which waits in `inbox`.

        Raises:
            DataError: As for `add_photo`.
            UsageError: When no class can be called so.
        """
        class_name = check_class_name(class_name)
        id = self.add_photo(name, data)
        return self.inbox.add(id, class_name, predicted=predicted, origin=origin)

    def accept(self, corrections: Iterable[Correction]) -> None:
        """Take corrections over as labels.

        Args:
            corrections: Of the inbox, which they leave.
        """
        by_class: dict[str, list[str]] = {}
        for correction in corrections:
            by_class.setdefault(correction.class_name, []).append(correction.id)
        for class_name, ids in by_class.items():
            self.labels.assign(ids, class_name)
            self.inbox.close(ids)

    def index(self) -> ImageIndex:
        """The labeled photos, as `handful.load_index` gives them, without reading a file.

        Returns:
            Photos that have a class, in the order of an index.
        """
        labels = self.labels.all()
        found = [photo for photo in self.photos if photo.id in labels]
        found.sort(key=lambda photo: sort_key("", labels[photo.id], photo.path))
        return self._index_of(found, labels)

    def photo_index(self) -> ImageIndex:
        """All photos but those left out, as `handful.load_index` would give them.

        Returns:
            In the order of `photos`; its labels are -1 where a photo has no class. Its content
            hashes are the photos' ids.
        """
        left_out = self.labels.left_out
        found = [photo for photo in self.photos if photo.id not in left_out]
        return self._index_of(found, self.labels.all())

    def write_csv(self, path: str | Path) -> WrittenLabels:
        """Write the labels as a table of path,label, which `train` takes.

        Args:
            path: CSV file to make.

        Returns:
            What was written; photos in archives are not.

        Raises:
            DataError: When no photo has a class.
            OutputError: When the file exists or cannot be written.
        """
        return write_label_table(self._labeled(), Path(path))

    def write_folders(self, path: str | Path, *, links: bool = False) -> WrittenLabels:
        """Write the labels as a folder for each class.

        Args:
            path: Folder to make.
            links: Whether photos are linked to instead of copied, where they are files.

        Returns:
            What was written.

        Raises:
            DataError: When no photo has a class.
            OutputError: When the folder exists or cannot be written.
        """
        return write_class_folders(self._labeled(), Path(path), links=links)

    def _index_of(self, photos: Sequence[ProjectPhoto], labels: dict[str, str]) -> ImageIndex:
        by_id = self._current()[1]
        names = [labels.get(photo.id, "") for photo in photos]
        class_names = ONE_CLASS.class_names(names)
        return ImageIndex(
            self.folder,
            tuple(photo.path for photo in photos),
            ONE_CLASS.encode(names, class_names),
            class_names,
            ("",) * len(photos),
            tuple(photo.id for photo in photos),
            (),
            (),
            tuple(self._reader.photo(by_id[photo.id]) for photo in photos),
        )

    def _labeled(self) -> list[LabeledPhoto]:
        labels, (_, by_id, photos) = self.labels.all(), self._current()
        return [
            LabeledPhoto(
                photo.path,
                self._reader.file(place := by_id[photo.id][0]),
                self._list.sources[place.source][1] != "zip",
                labels[photo.id],
                self._reader.photo(by_id[photo.id]),
            )
            for photo in photos
            if photo.id in labels
        ]
