"""Files of networks in others' formats: which belong together, their digest, and how one is opened.

OpenVINO's own readers take them: ONNX, TensorFlow Lite and its own format. A Keras file is
converted once, in a process of its own.
"""

import hashlib
import mmap
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from handful.errors import WeightsError
from handful.features.extractor import unreadable_weights, weights_sha256
from handful.files.atomic import explain_damage, open_regular
from handful.files.drafts import Draft

READABLE = (".onnx", ".xml", ".tflite")
# A tensor's data in another file: protobuf's entry "location" of the map `external_data`.
_EXTERNAL = re.compile(rb"\x0a\x08location\x12([\x01-\x7f])")


def files_of(path: Path) -> tuple[Path, ...]:
    """The files that a network consists of.

    Args:
        path: Its file.

    Returns:
        That first; then the weights beside an OpenVINO graph, or those that an ONNX file names.

    Raises:
        WeightsError: When one cannot be read, or lies outside of the folder.
    """
    suffix = path.suffix.lower()
    if suffix == ".xml":
        return path, path.with_suffix(".bin")
    if suffix != ".onnx":
        return (path,)
    names = external_names(path)
    for name in names:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise WeightsError(
                f"{path} names the weights {name!r}; expected a file below its own folder."
            )
    return path, *(path.parent / name for name in names)


def external_names(path: Path) -> list[str]:
    """Names of the files that an ONNX file keeps weights in, as it writes them.

    Args:
        path: The ONNX file.

    Returns:
        Each once, sorted.

    Raises:
        WeightsError: When it cannot be read.
    """
    try:
        with open_regular(path) as file:
            if not os.fstat(file.fileno()).st_size:
                return []
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                spans = [(found.end(), found[1][0]) for found in _EXTERNAL.finditer(data)]
                found = {bytes(data[start : start + length]) for start, length in spans}
    except OSError as error:
        raise unreadable_weights(path, error) from error
    return sorted(name.decode("utf-8", "surrogateescape") for name in found)


def digest_of(files: tuple[Path, ...]) -> str:
    """Digest of a network's files.

    Args:
        files: From `files_of`.

    Returns:
        SHA-256 in hexadecimal: of the file, or of the digests of several.

    Raises:
        WeightsError: When one cannot be read.
    """
    found = [weights_sha256(path) for path in files]
    return found[0] if len(found) == 1 else hashlib.sha256("\n".join(found).encode()).hexdigest()


@contextmanager
def open_graph(files: tuple[Path, ...]) -> Iterator[Any]:
    """Read a network.

    Args:
        files: From `files_of` a file of `READABLE`.

    Yields:
        An `openvino.Model`, as it stands in the file; its weights may lie there until the block
        ends.

    Raises:
        WeightsError: When it cannot be read.
    """
    from handful.features.runtime import openvino

    path = files[0]
    with _plain(path, files) as (place, is_copy):
        core = openvino.Core()
        if is_copy:  # nothing may hold on to files that go
            core.set_property({"ENABLE_MMAP": False})
        try:
            graph = core.read_model(place)
        except RuntimeError as error:
            raise WeightsError(
                f"{path} cannot be read as a network: {explain_damage(error)}. Expected an ONNX, "
                "TensorFlow Lite or OpenVINO file, whole and with its weights beside it."
            ) from error
        yield graph


@contextmanager
def _plain(path: Path, files: tuple[Path, ...]) -> Iterator[tuple[Path, bool]]:
    """The network's file with its weights beside it as plain files, and whether these are copies.

    OpenVINO refuses weights behind a link, as the cache of a hub has them.
    """
    if not any(file.is_symlink() for file in files[1:]):
        yield path, False
        return
    with Draft(Path(tempfile.gettempdir())) as draft:
        folder = draft.place("network")
        for file in files:
            place = folder / file.relative_to(path.parent)
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(file.resolve(), place)
            except OSError:  # another disk, or a system without links
                shutil.copyfile(file, place)
        yield folder / path.name, True
