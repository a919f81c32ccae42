"""Where the cache lies, and what other libraries are told by variables."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder() -> Path:
    """Folder for everything that can be made again: embeddings and converted networks.

    Returns:
        The environment variable `HANDFUL_CACHE` where it is set, else the user's cache folder
        of the platform. Nothing is created. A place where nothing can be for a user without a
        home folder: such a job goes on without a cache.
    """
    given = os.environ.get("HANDFUL_CACHE")
    if given:
        return Path(given).expanduser()
    # platformdirs costs a few milliseconds that a set variable saves.
    from platformdirs import user_cache_path

    found = user_cache_path("handful")
    return found if found.is_absolute() else Path(os.devnull) / "handful"


def own_environment() -> dict[str, str]:
    """Variables with which other libraries write to our cache and send nothing.

    They are for processes of ours; in a host program, its user decides.

    Returns:
        Name -> value of those that are not set: matplotlib's list of fonts and Keras' settings
        go to `cache_folder`, where the user has no folder of Keras' yet; ONNX Runtime's telemetry
        is off.
    """
    wanted = {"MPLCONFIGDIR": cache_folder() / "matplotlib", "ORT_DISABLE_TELEMETRY": "1"}
    if not Path("~/.keras").expanduser().exists():
        wanted["KERAS_HOME"] = cache_folder() / "keras"
    return {name: str(value) for name, value in wanted.items() if name not in os.environ}


@contextmanager
def default_variables(**values: str) -> Iterator[None]:
    """Set environment variables that are not set, for as long as a block lasts.

    For libraries that read them once, when they are imported: they are the host program's.

    Args:
        **values: Name -> value.
    """
    missing = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)
