"""Optional dependencies: whether they are installed, and the one error where they are not."""

import sys
from importlib.util import find_spec

from handful.errors import MissingExtraError


def is_installed(module: str) -> bool:
    """Whether a module can be imported; it is not, for that may take seconds.

    Args:
        module: Name of a top-level module.

    Returns:
        True where Python finds it.
    """
    if module in sys.modules:
        return sys.modules[module] is not None
    return find_spec(module) is not None


def require(extra: str, purpose: str, *modules: str) -> None:
    """Find out, before the work, whether all is installed that it needs.

    Args:
        extra: The extra that brings the modules.
        purpose: What needs them, at the beginning of a sentence.
        *modules: Top-level modules, named as their packages are but for underscores.

    Raises:
        MissingExtraError: When one is not; says how it is installed.
    """
    missing = [module.replace("_", "-") for module in modules if not is_installed(module)]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise missing_extra(
            extra, f"{purpose} needs {' and '.join(missing)}, which {verb} not installed."
        )


def missing_extra(extra: str, found: str) -> MissingExtraError:
    """The error that says which extra is missing.

    Args:
        extra: Its name in pyproject.toml.
        found: What needs what, one sentence.

    Returns:
        The error, to be raised.
    """
    return MissingExtraError(f"{found} Install it with: pip install 'handful[{extra}]'")
