"""Options of the library as flags of a command, and help that tells the common ones first."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup

from handful.cli import terminal
from handful.options import Options, Rule, flag, headings, types_of

_COMMON = "Options"
_FEW = 4  # so many are explained at once


def _help_all(ctx: typer.Context, is_asked: bool) -> None:
    if is_asked:
        ctx.meta["help_all"] = True
        terminal.show(*ctx.get_help().splitlines())
        raise typer.Exit


_HELP_ALL = typer.Option(
    "--help-all", is_eager=True, callback=_help_all, help="Explain all options."
)


def takes(
    kind: type[Options], *names: str, into: str = "config", if_any: bool = False
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command a flag for each option of a class.

    Args:
        kind: The class.
        *names: Which of its options; all where none is named.
        into: What the command calls what was asked, one of the class.
        if_any: Whether the command gets None where no option was given.

    Returns:
        A decorator.
    """
    chosen = [
        found
        for found in fields(kind)
        if "rule" in found.metadata and found.name in (names or (found.name,))
    ]
    added = [_parameter(kind, found, len(chosen) < _FEW, if_any) for found in chosen]
    if len(chosen) > 1 and any(found.metadata["rule"].is_common for found in chosen):
        added.append(_keyword("help_all", Annotated[bool, _HELP_ALL], False))

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def command(**given: Any) -> None:
            given.pop("help_all", None)
            asked = {found.name: given.pop(found.name) for found in chosen}
            for found in chosen:
                if isinstance(found.default, tuple):
                    asked[found.name] = tuple(asked[found.name] or ())
            if if_any:
                asked = {
                    name: value
                    for name, value in asked.items()
                    if value is not None and value is not False
                }
            function(**given, **{into: None if if_any and not asked else kind(**asked)})

        own = inspect.signature(function, eval_str=True).parameters.values()
        kept = [_keyword(one.name, one.annotation, one.default) for one in own]
        known = {into, *(one.name for one in added)}
        parameters = [*(one for one in kept if one.name not in known), *added]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {one.name: one.annotation for one in parameters}
        return command

    return decorate


def _parameter(
    kind: type[Options], found: Field[Any], explained: bool, if_any: bool
) -> inspect.Parameter:
    """What the command line makes a flag of, for a field of a class."""
    rule: Rule = found.metadata["rule"]
    annotation, default = types_of(kind)[found.name], found.default
    takes_numbers = any(get_origin(one) is tuple for one in get_args(annotation))
    shown = typer.Option(
        *filter(None, (flag(found.name), rule.short)),
        help=rule.help,
        metavar=rule.metavar,
        rich_help_panel=_COMMON if rule.is_common or explained else headings(kind)[found.name],
        parser=_numbers if takes_numbers else None,
    )
    if takes_numbers:
        annotation = Any
    elif get_origin(annotation) is tuple:
        annotation, default = list[get_args(annotation)[0]] | None, None  # type: ignore[misc]
    if if_any and annotation is not bool:  # a default, given, is not the same as nothing given
        annotation, default = annotation | None, None
    return _keyword(found.name, Annotated[annotation, shown], default)


def _numbers(text: str) -> float | tuple[float, ...]:
    """Read a number, or several with commas between; whole ones stay whole."""
    try:
        found = tuple(int(one) if one.strip().isdigit() else float(one) for one in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no number, and no numbers with commas between"
        ) from None
    return found if len(found) > 1 else found[0]


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=annotation)


class _Unconverted:
    """What makes of an option's text what its command takes, but for what needs no converting.

    For the rest typer loads pydantic, which takes 60 ms.
    """

    def __init__(self, converter: Callable[[], Any]) -> None:
        self._converter = converter

    def __call__(self) -> "_Unconverted":
        """Stand in the place of the function that loads what converts."""
        return self

    def coerce(self, value: Any, param: Any, ctx: typer.Context) -> Any:
        """Convert a value.

        Args:
            value: What was given; None where nothing was.
            param: The option or argument.
            ctx: The command's context.

        Returns:
            What the command gets.
        """
        takes_several = param.multiple or param.nargs == -1
        if value is None:
            return () if takes_several else None
        kind = param.type_descriptor.annotation
        if takes_several and kind == list[Path]:
            return [Path(one) for one in value]
        if not takes_several and (value is param.default or kind is str):
            return value
        if not takes_several and kind is Path:
            return Path(value)
        return self._converter().coerce(value, param=param, ctx=ctx)


class _Quick:
    """A command that converts only what has to be converted."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Options and arguments.

        Args:
            ctx: The command's context.

        Returns:
            All of them, `--help` too.
        """
        found: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for one in found:
            converter = getattr(one, "get_runtime_param", None)  # older typers have none
            if converter is not None and not isinstance(converter, _Unconverted):
                one.get_runtime_param = _Unconverted(converter)
        return found


class Group(_Quick, TyperGroup):
    """All commands."""


class Command(_Quick, TyperCommand):
    """A command whose help fits a screen: common options explained, the others named.

    `--help-all` explains all of them, under their headings.
    """

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options.

        Args:
            ctx: The command's context; `ctx.meta` says whether all are asked for.
            formatter: What the help is written with.
        """
        groups: dict[str, list[Any]] = {"Arguments": [], _COMMON: []}
        for found in self.get_params(ctx):
            groups.setdefault(_heading(found), []).append(found)
        has_more = any(found.name == "help_all" for found in self.params)
        explains_all = ctx.meta.get("help_all", not has_more)
        named = []
        for heading, members in groups.items():
            if explains_all or heading in ("Arguments", _COMMON):
                records = [found.get_help_record(ctx) for found in members]
                if shown := [record for record in records if record]:
                    with formatter.section(heading):
                        formatter.write_dl(shown)
            else:
                named.append((heading, " ".join(found.opts[0] for found in members)))
        if named:
            with formatter.section("More options (--help-all explains them)"):
                formatter.write_dl(named)


def _heading(found: Any) -> str:
    if found.param_type_name == "argument":
        return "Arguments"
    return getattr(found, "rich_help_panel", None) or _COMMON
