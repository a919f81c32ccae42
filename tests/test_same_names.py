"""Python is the command line: the same verbs, and the same names of what they take."""

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import typer

import handful
from handful.augmentation_policy import AugmentationPolicy
from handful.cli.commands import app
from handful.cli.spelling import OPTIONS
from handful.config import (
    CHECK_OPTIONS,
    CURVE_OPTIONS,
    EMBED_OPTIONS,
    CompareConfig,
    ServeConfig,
    TrainConfig,
)
from handful.options import Options

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
# Each function to the command and to what its **options may be.
VERBS: dict[str, tuple[str, tuple[str, ...]]] = {
    "train": ("train", tuple(found.name for found in fields(TrainConfig))),
    "compare": ("compare", tuple(found.name for found in fields(CompareConfig))),
    "check": ("check", CHECK_OPTIONS),
    "curve": ("curve", CURVE_OPTIONS),
    "embed": ("embed", EMBED_OPTIONS),
    "serve": ("serve", tuple(found.name for found in fields(ServeConfig))),
    "load_data": ("data", ()),
    **{
        verb: (verb, ())
        for verb in ("evaluate", "predict", "explain", "preview", "summary", "figures", "export")
    },
    "runs": ("runs", ()),
    "backbones": ("backbones", ()),
    "labels": ("labels", ()),
}
# How a result is shown, and what all is explained, is the command line's alone.
SHOWN = {"--json", "--csv", "--quiet", "--help", "--help-all"}
# Python may be given values: options in one, a store, a reporter, who is told an address.
VALUES = {"config", "options", "reporter", "store", "announce"}
# For those who measure: `compare` has it measured.
MEASURED = {"measure_speed"}
# Objects of Keras'; no word stands for one.
OBJECTS = {"callbacks"}
# Python's name to what stands for it on the command line.
RENAMED = {"use_cache": "--no-cache", "image": "images"}
POLICY = {f"--{found.name.replace('_', '-')}" for found in fields(AugmentationPolicy)}


def of_python(verb: str) -> set[str]:
    """Names of arguments, and options as the command line spells them."""
    names = {*inspect.signature(getattr(handful, verb)).parameters, *VERBS[verb][1]}
    return names - VALUES - MEASURED - OBJECTS


def of_command(verb: str) -> set[str]:
    parameters = COMMANDS[VERBS[verb][0]].params
    arguments = {found.name for found in parameters if found.param_type_name == "argument"}
    options = {max(found.opts, key=len) for found in parameters if found.name not in arguments}
    # Of the server and of labels these are what is made, not how it is shown.
    own = {"serve": {"--quiet"}, "labels": {"--csv"}}.get(verb, set())
    return arguments | options - (SHOWN - own)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_takes_the_same_in_python_and_as_a_command(verb: str) -> None:
    asked, names = of_command(verb), of_python(verb)
    if "policy" in names:
        assert asked >= POLICY - {"--rescale"}
        asked, names = asked - POLICY, names - {"policy"}
    spelled = set()
    for name in names:
        option = RENAMED.get(name) or OPTIONS.get(name) or f"--{name.replace('_', '-')}"
        spelled.add(name if name in asked else option)
    assert spelled == asked


def test_every_command_is_a_function() -> None:
    """But for the cache, the demonstration, which is no work of one's own, and a page."""
    assert {name for name, _ in VERBS.values()} == set(COMMANDS) - {"cache", "demo", "studio"}


@pytest.mark.parametrize(
    ("job", "kind"),
    [
        (handful.train, TrainConfig),
        (handful.compare, CompareConfig),
        (handful.serve, ServeConfig),
    ],
)
def test_a_default_is_the_same_everywhere(job: Callable[..., Any], kind: type[Options]) -> None:
    command = {found.name: found for found in COMMANDS[job.__name__].params}
    for found in fields(kind):
        if "rule" not in found.metadata:  # a policy, whose options are their own
            continue
        given = command[found.name].default
        assert (given or None) == (found.default or None), found.name
