"""Options: fields that know their help, range and heading, so that each is written once.

A room has a frozen dataclass of its options (a child of `Options`); what a job is asked to do is a
child of several. Python, JSON and the command line take the same names from it.
"""

import difflib
import inspect
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from inspect import get_annotations
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, ClassVar, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from handful.errors import UsageError

Asked = TypeVar("Asked", bound="Options")
# Not `functools.cache`: to mypy, a class whose instances cannot be hashed cannot be either.
_TYPES: dict[type["Options"], Mapping[str, Any]] = {}


class Rule(NamedTuple):
    """What holds of an option besides its type.

    Args:
        help: A sentence for the command line.
        choices: The texts that it takes; empty for any.
        least: Smallest number, included.
        most: Largest number, included.
        above: A number that it is larger than.
        below: A number that it is smaller than.
        metavar: What stands for its value in the help.
        short: The command line's letter for it, such as "-q".
        is_common: Whether a first look at the command line's help explains it.
    """

    help: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    metavar: str | None = None
    short: str | None = None
    is_common: bool = False

    def expected(self, found: Any = None) -> str:
        """What values it takes, in words; of texts the one that is nearest to what was found.

        "" where it takes any.
        """
        if self.choices:
            near = difflib.get_close_matches(str(found).lower(), self.choices, 1)
            return f"one of {', '.join(self.choices)}" + "".join(
                f" ({name} is nearest)" for name in near
            )
        if self.above is not None and self.below is not None:
            return f"a number between {self.above} and {self.below}"
        if self.above is not None:
            return f"more than {self.above}" + (
                "" if self.most is None else f", at most {self.most}"
            )
        if self.least is None:
            return ""
        return f"{self.least} or more" if self.most is None else f"{self.least} to {self.most}"

    def allows(self, value: Any) -> bool:
        """Whether it takes a value; numbers that are none are never taken."""
        if self.choices:
            return value in self.choices
        return bool(
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )


def option(default: Any, help: str, **rule: Any) -> Any:
    """A field of an `Options` class.

    Args:
        default: Its default; None where that is decided elsewhere.
        help: A sentence for the command line.
        **rule: The rest of a `Rule`.

    Returns:
        The field.
    """
    return field(default=default, metadata={"rule": Rule(help, **rule)})


@dataclass(frozen=True, kw_only=True)
class Options:
    """A group of options, checked when it is made.

    Raises:
        UsageError: When a value is outside its range.
    """

    heading: ClassVar[str] = ""

    def __post_init__(self) -> None:
        hints = types_of(type(self))
        for found in fields(self):
            if (rule := found.metadata.get("rule")) is None:
                continue
            given = getattr(self, found.name)
            try:
                value = _plain(given, hints[found.name])
            except TypeError:
                expected = rule.expected(given) or _in_words(hints[found.name])
                raise UsageError(f"`{found.name}` is {given!r}; expected {expected}.") from None
            object.__setattr__(self, found.name, value)
            for one in value if isinstance(value, tuple) else (value,):
                if one is not None and not rule.allows(one):
                    raise UsageError(f"`{found.name}` is {one!r}; expected {rule.expected(one)}.")


def types_of(kind: type[Options]) -> Mapping[str, Any]:
    """What its options are, by name; reading the texts of hints takes a millisecond.

    Args:
        kind: A class of options.

    Returns:
        Name of each option to its type.
    """
    if kind not in _TYPES:
        _TYPES[kind] = get_type_hints(kind)
    return _TYPES[kind]


def _kinds(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _plain(value: Any, hint: Any) -> Any:
    """A value of the type that a hint says; numbers of others' types, paths and lists are taken.

    What is something else is a TypeError.
    """
    kinds = _kinds(hint)
    if value is None and NoneType in kinds:
        return None
    for kind in kinds:
        if get_origin(kind) is tuple and isinstance(value, tuple | list):
            return tuple(_plain(one, get_args(kind)[0]) for one in value)
    if str in kinds and isinstance(value, str | os.PathLike):
        return os.fspath(value)
    if bool in kinds and isinstance(value, bool):
        return value
    if int in kinds and isinstance(value, Integral):
        return int(value)
    if float in kinds and isinstance(value, Real):
        return int(value) if isinstance(value, Integral) else float(value)
    raise TypeError


def _in_words(hint: Any) -> str:
    """What values a hint allows."""
    kinds = _kinds(hint)
    words = {str: "a text", bool: "True or False", int: "a whole number", float: "a number"}
    found = [words[kind] for kind in kinds if kind in words]
    for kind in kinds:
        if get_origin(kind) is tuple:
            found.append("several" if ... in get_args(kind) else "two numbers")
    return " or ".join(found)


_FRACTION = Rule("", above=0, below=1)


def check_fraction(value: Any, name: str, example: float) -> None:
    """Refuse an argument that is no number between 0 and 1.

    Args:
        value: As the user gave it.
        name: The argument's name.
        example: A value that it may have.

    Raises:
        UsageError: When it is something else.
    """
    if not isinstance(value, Real) or not _FRACTION.allows(value):
        raise UsageError(
            f"`{name}` is {value!r}; expected {_FRACTION.expected()}, such as {example}."
        )


def changed(
    config: Asked,
    asked: dict[str, Any],
    *,
    job: Callable[..., Any] | None = None,
    names: Sequence[str] = (),
) -> Asked:
    """Options with some of them changed, by name.

    Args:
        config: The options.
        asked: Name to value.
        job: The function that was asked; what it takes besides may have been meant.
        names: Those of the options that it uses; all where none is named.

    Returns:
        The changed options.

    Raises:
        UsageError: For a name that is none, with the nearest that is one.
    """
    used = [found.name for found in fields(config) if found.name in (names or (found.name,))]
    parameters = () if job is None else inspect.signature(job).parameters.values()
    others = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY]
    for name in asked:
        if name not in used:
            near = difflib.get_close_matches(name, [*used, *others], 1) or [*others, *used]
            raise UsageError(f"`{name}` is no option; expected {', '.join(near)}.")
    return replace(config, **asked)


def flag(name: str) -> str:
    """How the command line spells an option.

    Args:
        name: Its name in Python.

    Returns:
        Such as "--batch-size".
    """
    return "--" + name.replace("_", "-")


def command_line(verb: str, *arguments: str, **options: object) -> str:
    """A command for people to run.

    Args:
        verb: Such as "train".
        *arguments: What it is about, such as a folder of photos.
        **options: Name to value: True for one that takes none, a tuple for one given repeatedly.

    Returns:
        One line for a shell.
    """
    words = ["handful", verb, *arguments]
    for name, value in options.items():
        for one in value if isinstance(value, tuple) else (value,):
            words += [flag(name)] if one is True else [flag(name), str(one)]
    return shlex.join(words)


def headings(kind: type[Options]) -> dict[str, str]:
    """Where the options of a class belong.

    Args:
        kind: A child of several groups.

    Returns:
        Name of each option to the heading of the group that has it.
    """
    names = [found.name for found in fields(kind)]
    return {
        name: group.heading
        for group in reversed(kind.__mro__)
        if issubclass(group, Options)
        for name in get_annotations(group)
        if name in names
    }
