"""Engines by name."""

from collections.abc import Iterator
from contextlib import contextmanager

from handful.engines.engine import Engine, LocalEngine
from handful.errors import UsageError

ENGINES = ("local", "ray")


@contextmanager
def open_engine(engine: Engine | str) -> Iterator[Engine]:
    """Open the engine that a job is asked to use.

    Args:
        engine: "local", "ray", or an engine, which stays open.

    Yields:
        The engine.

    Raises:
        MissingExtraError: For "ray", when it is not installed.
        UsageError: When it is none, nor the name of one.
    """
    if hasattr(engine, "map") and hasattr(engine, "group_size"):
        yield engine
    elif engine == "local":
        yield LocalEngine()
    elif engine == "ray":
        from handful.engines.ray_engine import RayEngine

        with RayEngine() as opened:
            yield opened
    else:
        raise UsageError(f"`engine` is {engine!r}; expected one of {', '.join(ENGINES)}.")
