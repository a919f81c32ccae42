"""Fields in messages, and the options that they are on the command line."""

import typer

from handful.cli.commands import app
from handful.cli.spelling import OPTIONS, with_options


def test_fields_become_options() -> None:
    assert (
        with_options("`epochs` is 0; expected 1 or more.") == "--epochs is 0; expected 1 or more."
    )
    assert with_options("leave `folds` or `sizes` out") == "leave --folds or --at out"
    kept = "a `word`, `handful check`, `Epochs` and epochs"
    assert with_options(kept) == kept


def test_each_option_exists() -> None:
    commands = typer.main.get_command(app).commands.values()  # type: ignore[attr-defined]
    known = {name for command in commands for option in command.params for name in option.opts}
    assert set(OPTIONS.values()) <= known
