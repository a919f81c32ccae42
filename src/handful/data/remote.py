"""Photos in buckets: listed and read where they lie, by Arrow's file systems or fsspec's.

Credentials, regions and addresses are those that the system has: `AWS_ACCESS_KEY_ID`,
`AWS_ENDPOINT_URL`, `AWS_REGION` and the like, or a machine's role.
"""

import os
import re
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

from handful.data.found_files import FoundFiles
from handful.data.ignored import is_ignored
from handful.data.sources import Listing
from handful.data.storage import MAX_PICTURE_BYTES, FoundFile
from handful.errors import DataError
from handful.extras import require
from handful.files.atomic import reason_of

# What decides how S3 is reached, besides what its own library reads.
_VARIABLES = (
    *("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"),
    *("AWS_NO_SIGN_REQUEST", "AWS_ACCESS_KEY_ID", "AWS_PROFILE"),
)
# Google's library would try for a quarter of an hour, and heed no Ctrl-C.
_GOOGLE_TRIES = timedelta(seconds=15)
_ADVICE = {
    "s3": " Check the name, the network and the credentials; AWS_REGION and AWS_ENDPOINT_URL say "
    "where the bucket is, and AWS_NO_SIGN_REQUEST=true that it is public."
}
# What Arrow says before what went wrong.
_OF_PROGRAMMERS = re.compile(r"^When .*?: (?=AWS Error)|AWS Error | during \w+ operation")
# A path makes one slash of two.
_URL = re.compile(r"([a-z][a-z0-9+.-]+):/{1,2}([^/].*)")


def url_of(source: str | Path) -> str:
    """Take what was given for an address.

    Args:
        source: What names photos; a path of an address has lost a slash, which is put back.

    Returns:
        Such as "s3://bucket/photos"; "" for a path on this machine.
    """
    found = _URL.fullmatch(os.fspath(source))
    if found is None or (isinstance(source, Path) and source.exists()):
        return ""
    return f"{found[1]}://{found[2]}"


def list_remote(url: str) -> Listing:
    """Find the files below an address.

    Args:
        url: Such as "s3://bucket/photos".

    Returns:
        All but the hidden and the system's, by path; paths are relative to the address, and ""
        where that is a file.

    Raises:
        DataError: When it cannot be listed.
        MissingExtraError: When what reads there is not installed.
    """
    from pyarrow import fs

    scheme, (system, root) = url.partition("://")[0], _open(url)
    try:
        (itself,) = system.get_file_info([root])
        if itself.type == fs.FileType.File:
            return Listing([FoundFile("", partial(read_remote, url))])
        found = system.get_file_info(fs.FileSelector(root, recursive=True))
    except OSError as error:
        advice = _ADVICE.get(scheme, "")
        raise DataError(f"{url} cannot be listed ({_why(error)}).{advice}") from error
    places = sorted(info.path.lstrip("/") for info in found if info.type == fs.FileType.File)
    del found
    files = (
        FoundFile(place.removeprefix(root).lstrip("/"), partial(read_remote, f"{scheme}://{place}"))
        for place in places
    )
    kept = FoundFiles.of(file for file in files if not any(map(is_ignored, file.path.split("/"))))
    return Listing(kept).kept(url)


def read_remote(url: str, first: int | None = None) -> bytes:
    """Read a file at an address.

    Args:
        url: Such as "s3://bucket/photos/cat.jpg".
        first: As for `read_file`.

    Returns:
        Its bytes.

    Raises:
        DataError: When it cannot be read or is too large for a picture; a clause.
    """
    system, path = _open(url)
    try:
        with system.open_input_file(path) as file:
            if first is None and file.size() > MAX_PICTURE_BYTES:
                raise DataError(f"is larger than {MAX_PICTURE_BYTES / 1e6:.0f} MB")
            return bytes(file.read(first))
    except FileNotFoundError:
        raise DataError("does not exist") from None
    except OSError as error:
        raise DataError(f"cannot be read ({_why(error)})") from error


def _why(error: OSError) -> str:
    """What a file system said, in one line."""
    text = reason_of(error) if error.errno else str(error)
    return _OF_PROGRAMMERS.sub("", " ".join(text.split()))[:300].rstrip(". ")


def _open(url: str) -> tuple[Any, str]:
    """The file system of an address, and the path there."""
    scheme, _, path = url.partition("://")
    require("parquet", f"Reading {scheme}:// addresses", "pyarrow")
    told = tuple(os.environ.get(name, "") for name in _VARIABLES)
    return _file_system(scheme, told), path.rstrip("/")


@cache
def _file_system(scheme: str, told: tuple[str, ...]) -> Any:
    from pyarrow import fs

    if scheme == "s3":
        own, general, region, default_region, unsigned = told[:5]
        return fs.S3FileSystem(
            endpoint_override=own or general or None,
            region=region or default_region or None,
            anonymous=unsigned.lower() in ("true", "yes", "1"),
        )
    if scheme in ("gs", "gcs"):
        return fs.GcsFileSystem(retry_time_limit=_GOOGLE_TRIES)
    require("parquet", f"Reading {scheme}:// addresses", "fsspec")
    import fsspec

    try:
        return fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem(scheme)))
    except (ImportError, ValueError) as error:
        raise DataError(f"{scheme}:// addresses cannot be read ({error}).") from error
