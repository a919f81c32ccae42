"""Errors a user can mend: each says what was found, what was expected and what to do."""

from handful.wording import printable


class HandfulError(Exception):
    """Base of every error that handful raises about data, files or weights.

    The command line prints it as one line and exits with 1. Names in its text may be any.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class UsageError(HandfulError, ValueError):
    """An argument or option is not one that can be asked for; the command line exits with 2."""


class DataError(HandfulError):
    """A folder, archive, table or picture is not what a classifier can be made of."""


class CostError(DataError):
    """A picture takes more memory or time to decode than is allowed; another limit may allow it."""


class ModelFileError(HandfulError):
    """A saved classifier or network file is missing, changed or unsafe to load."""


class WeightsError(HandfulError):
    """A pretrained network is absent, is not the one whose digest is known, or cannot be used."""


class OutputError(HandfulError):
    """A result cannot be written where it was asked for."""


class MissingExtraError(HandfulError):
    """An optional dependency is needed and not installed; the message names the extra."""


class DeviceError(HandfulError):
    """A GPU is there and cannot be used, or computes something else than the processor."""


class TrainingError(HandfulError):
    """Training cannot go on: the loss is no number any more."""
