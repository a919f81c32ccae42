"""Files that pass for photos until they are decoded, in folders and zips."""

import zipfile
from pathlib import Path

from handful.data.index import ImageIndex

PNG = b"\x89PNG\r\n\x1a\n"


def put(root: Path, *names: str) -> Path:
    """Files that begin as a PNG does, each of its own content."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG + name.encode())
    return root


def pack(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, PNG + name.encode())
    return path


def labeled(index: ImageIndex) -> dict[str, str]:
    return {
        path: f"{index.class_names[label]} {split}".strip()
        for path, label, split in zip(index.paths, index.labels, index.splits, strict=True)
    }
