"""Options: one place for names, ranges and help, for Python and the command line."""

import json
import re
from dataclasses import Field, asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from handful.augmentation_policy import AugmentationPolicy
from handful.cli.commands import app
from handful.cli.flags import Command, takes
from handful.config import CompareConfig, ServeConfig, TrainConfig
from handful.errors import UsageError
from handful.options import Options, changed, headings

HEADINGS = ("Data", "Device", "Training", "Network", "Trust", "Output")


def options_of(kind: type[Options]) -> list[Field[Any]]:
    """The fields that are options; a policy is none, for it has options of its own."""
    return [found for found in fields(kind) if "rule" in found.metadata]


def test_options_are_changed_by_name() -> None:
    config = changed(TrainConfig(seed=3), {"strategy": "augmented", "epochs": 20})
    assert config == TrainConfig(seed=3, strategy="augmented", epochs=20)
    with pytest.raises(UsageError, match=r"`epoch` is no option; expected epochs\."):
        changed(TrainConfig(), {"epoch": 20})
    with pytest.raises(UsageError, match=r"`seeds` is 0; expected 1 to 100\."):
        changed(CompareConfig(), {"seeds": 0})


def test_every_option_has_a_heading_and_help() -> None:
    for kind in (TrainConfig, CompareConfig, ServeConfig):
        assert set(headings(kind)) == {found.name for found in fields(kind)}
        assert all(found.metadata["rule"].help for found in options_of(kind))
    assert set(headings(TrainConfig).values()) == {*HEADINGS} - {"Output"}


def test_a_first_look_at_the_help_fits_a_screen_and_names_the_rest() -> None:
    short = CliRunner().invoke(app, ["train", "-h"], terminal_width=80).stdout
    assert len(short.splitlines()) <= 48
    for found in (*options_of(TrainConfig), *options_of(AugmentationPolicy)):
        assert f"--{found.name.replace('_', '-')}" in short
    for heading in HEADINGS:
        assert f"\n  {heading} " in short


def test_all_of_the_help_explains_every_option_under_its_heading() -> None:
    whole = CliRunner().invoke(app, ["train", "--help-all"], terminal_width=80)
    assert whole.exit_code == 0
    parts = dict(part.split(":\n", 1) for part in whole.stdout.split("\n\n") if ":\n" in part)
    for found in options_of(TrainConfig):
        rule = found.metadata["rule"]
        heading = "Options" if rule.is_common else headings(TrainConfig)[found.name]
        assert f"--{found.name.replace('_', '-')} " in parts[heading]
        assert rule.help.split()[0] in parts[heading]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("epochs", "ten", "'ten'; expected 1 to 100000"),
        ("epochs", 2.5, "2.5; expected 1 to 100000"),
        ("seed", None, "None; expected 0 to 4294967295"),
        ("tta", "yes", "'yes'; expected True or False"),
        ("fixes", 3, "3; expected a text"),
        ("strategy", 3, "3; expected one of transfer, scratch, "),
        ("validation_fraction", [0.2], "[0.2]; expected a number between 0 and 1"),
    ],
)
def test_a_value_of_another_type_is_refused(name: str, value: Any, expected: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"`{name}` is {expected}")):
        TrainConfig(**{name: value})


def test_a_value_becomes_one_of_pythons_own_types() -> None:
    """So that it can be written as JSON, and read back as the same."""
    config = TrainConfig(
        fixes=Path("my/fixes.csv"),  # type: ignore[arg-type]
        seed=np.int64(3),  # type: ignore[arg-type]
        validation_fraction=np.float32(0.25),  # type: ignore[arg-type]
        max_megapixels=50,
    )
    assert json.loads(json.dumps(asdict(config))) == asdict(config) | {"metrics": []}
    assert (config.fixes, config.seed, config.validation_fraction) == ("my/fixes.csv", 3, 0.25)
    assert CompareConfig(strategy=["scratch"]).strategy == ("scratch",)  # type: ignore[arg-type]


def test_a_policy_is_made_of_the_options_given() -> None:
    """Whole numbers stay whole, for they are pixels; a default that is given counts as given."""
    asked: list[AugmentationPolicy | None] = []

    @takes(AugmentationPolicy, into="policy", if_any=True)
    def draw(photo: str, policy: AugmentationPolicy | None) -> None:
        asked.append(policy)

    draws = typer.Typer()
    draws.command(cls=Command)(draw)
    for arguments in (
        "p.jpg",
        "p.jpg --rotation-range 0",
        "p.jpg --zoom-range 0.65,1.05 --horizontal-flip --width-shift-range 5",
        "p.jpg --height-shift-range 0.1,0.2 --brightness-range .5,2 --fill-mode wrap",
    ):
        done = CliRunner().invoke(draws, arguments.split(), catch_exceptions=False)
        assert done.exit_code == 0, done.output
    assert asked == [
        None,
        AugmentationPolicy(),
        AugmentationPolicy(zoom_range=(0.65, 1.05), horizontal_flip=True, width_shift_range=5),
        AugmentationPolicy(
            height_shift_range=(0.1, 0.2), brightness_range=(0.5, 2), fill_mode="wrap"
        ),
    ]
    assert asked[2] is not None and isinstance(asked[2].width_shift_range, int)
    refused = CliRunner().invoke(draws, ["p.jpg", "--zoom-range", "wide"])
    assert refused.exit_code == 2 and "'wide' is no number" in refused.output
    # What the network does at the end is no matter of a command.
    assert "rescale" not in CliRunner().invoke(draws, ["--help"]).stdout


def test_few_options_are_explained_at_once() -> None:
    said = CliRunner().invoke(app, ["evaluate", "--help"], terminal_width=80).stdout
    assert "--fixes FILE" in said and "--help-all" not in said and "More" not in said
