"""What the documentation's pages take from the code: commands, public names, docstrings.

`docs/conf.py` puts it into the pages where they have a marker such as `<!-- commands -->`. Nothing
here needs Sphinx.
"""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperOption

import handful
from handful.cli.commands import app
from handful.options import Options

Parameter = TyperArgument | TyperOption
PROJECT = Path(__file__).resolve().parent.parent
# The order of the reference of Python; a public name that no line has comes last.
PUBLIC_NAMES: Mapping[str, str] = {
    "Jobs": "train evaluate predict explain check compare curve export keras_model serve preview "
    "summary figures",
    "Photos": "load_index load_data split_index batches ImageIndex Split AugmentationPolicy "
    "ImageFolder",
    "Runs": "runs RunStore Run",
    "What jobs give": "Evaluation Classifier Prediction Explanation PhotoCheck Comparison CurveRun "
    "Export Preview NetworkSummary Figures",
    "Pretrained networks": "backbones BackboneInfo",
    "Options": "TrainConfig CompareConfig",
    "Progress": "Reporter PrintReporter NotebookReporter Epoch",
}
# What public values are made of, by module.
PARTS: Mapping[str, str] = {
    "handful.data.index": "RejectedFile",
    "handful.run_store.store": "RunRow",
    "handful.evaluation.evaluation": "ClassScore ConfusedPair",
    "handful.evaluation.guarantees": "Guarantees AbstainingCheck SetsCheck",
    "handful.evaluation.resampling": "Resampling Resample Spread",
    "handful.evaluation.learning_curve": "LearningCurve CurvePoint PhotosNeeded",
    "handful.evaluation.comparison": "StrategySummary StrategyRun Difference",
    "handful.checks.findings": "Finding",
    "handful.checks.labels": "LabelReview",
    "handful.checks.shortcuts": "Shortcut",
    "handful.data.fixes": "Fix",
    "handful.models.calibration": "Calibration Abstention",
    "handful.models.novelty": "NoveltyDetector",
    "handful.models.heads": "LinearHead",
    "handful.training.jobs": "TrainedNetwork",
    "handful.training.rungs": "Ladder Rung",
    "handful.statistics.intervals": "CalibrationError",
    "handful.training.previews": "Strip",
    "handful.exporting.parity": "Parity",
}


def command_reference() -> str:
    """Every command with its options, under their headings.

    Returns:
        Markdown for MyST: a table of the commands, then a section for each.
    """
    found = sorted_commands()
    table = ["| command | what it does |", "|---|---|"]
    for name, command in found.items():
        table.append(f"| [`handful {name}`](#handful-{name}) | {_first_sentence(command)} |")
    sections = [_command_section(name, command) for name, command in found.items()]
    return "\n\n".join(["\n".join(table), *sections])


def sorted_commands() -> dict[str, TyperCommand]:
    """The commands in the order of their help."""
    group: Any = typer.main.get_command(app)
    return dict(group.commands)


def _first_sentence(command: TyperCommand) -> str:
    return (command.help or "").strip().splitlines()[0]


def _command_section(name: str, command: TyperCommand) -> str:
    context = typer.Context(command, info_name=f"handful {name}")
    arguments = [_argument(found) for found in command.params if _is_argument(found)]
    usage = " ".join(["handful", name, *arguments, "[OPTIONS]"])
    parts = [f"## handful {name}", _text(command.help or ""), f"```text\n{usage}\n```"]
    parts.append(f"```{{program}} handful {name}\n```")
    for heading, parameters in _by_heading(command, context).items():
        parts.append(f"```{{rubric}} {heading}\n```")
        parts += [_option(parameter, context) for parameter in parameters]
    return "\n\n".join(parts)


def _by_heading(command: TyperCommand, context: typer.Context) -> dict[str, list[Parameter]]:
    """Arguments and options as `--help-all` groups them, without the two helps themselves."""
    groups: dict[str, list[Parameter]] = {}
    for parameter in command.get_params(context):
        if parameter.name in ("help", "help_all"):
            continue
        given = getattr(parameter, "rich_help_panel", None)
        heading = "Arguments" if _is_argument(parameter) else given
        groups.setdefault(heading or "Options", []).append(parameter)
    return groups


def _option(parameter: Parameter, context: typer.Context) -> str:
    record: Any = parameter.get_help_record(context)
    spelled, text = record
    if _is_argument(parameter):
        spelled, text = _argument(parameter), text.removesuffix("[required]")
    spelled = re.sub(r"<list\[(\w+)\]>", r"<\1>", spelled)
    return f"```{{option}} {spelled}\n\n{_text(text)}\n```"


def _is_argument(parameter: Parameter) -> bool:
    return parameter.param_type_name == "argument"


def _argument(parameter: Parameter) -> str:
    """How an argument is written where commands are explained: PHOTOS, IMAGES..., [FOLDER]."""
    name = (parameter.name or "").upper() + ("..." if parameter.nargs == -1 else "")
    return name if parameter.required else f"[{name}]"


def _text(text: str) -> str:
    """Help as Markdown: options in the type of code, nothing taken for markup."""
    plain = re.sub(r"([\[\]<>*_])", r"\\\1", inspect.cleandoc(text))
    return re.sub(r"(?<![\w`-])(--[a-z][a-z-]*[a-z])", r"`\1`", plain)


def python_reference() -> str:
    """Every public name, by what it is for.

    Returns:
        Markdown for MyST, in which Sphinx's autodoc fills in the docstrings.
    """
    errors = [name for name in handful.__all__ if is_error(name)]
    listed = {heading: names.split() for heading, names in PUBLIC_NAMES.items()}
    known = {*errors, *(name for names in listed.values() for name in names)}
    listed["Errors"] = sorted(errors, key=_depth)
    listed["Other names"] = [name for name in handful.__all__ if name not in known]
    sections = []
    for heading, names in listed.items():
        public = [name for name in names if name in handful.__all__]
        if public:
            sections.append(f"## {heading}")
            sections += [f"### {name}\n\n{_autodoc(name)}" for name in public]
        if heading == "Options":
            sections += [f"### {kind.__name__}\n\n{_part(kind)}" for kind in option_groups()]
    return "\n\n".join(sections)


def is_error(name: str) -> bool:
    """Whether a public name is an exception.

    Args:
        name: One of `handful.__all__`.

    Returns:
        True for `HandfulError` and its children.
    """
    value = getattr(handful, name)
    return isinstance(value, type) and issubclass(value, Exception)


def _depth(name: str) -> tuple[int, str]:
    return len(getattr(handful, name).__mro__), name


def _autodoc(name: str) -> str:
    is_class = isinstance(getattr(handful, name), type)
    lines = [f".. auto{'class' if is_class else 'function'}:: handful.{name}"]
    if is_class and not is_error(name):
        lines.append("   :members:")
    if is_error(name) or (is_class and issubclass(getattr(handful, name), Options)):
        lines.append("   :show-inheritance:")
    return "```{eval-rst}\n" + "\n".join(lines) + "\n```"


def option_groups() -> list[type]:
    """What `TrainConfig` is made of, in the order of its help, without what is public itself."""
    kinds = handful.TrainConfig.__mro__[:0:-1]
    groups = [kind for kind in kinds if issubclass(kind, Options) and kind is not Options]
    return [kind for kind in groups if kind.__name__ not in handful.__all__]


def parts_reference() -> str:
    """What public values are made of.

    Returns:
        Markdown for MyST, as `python_reference`.
    """
    kinds = [
        getattr(import_module(module), name)
        for module, names in PARTS.items()
        for name in names.split()
    ]
    return "\n\n".join(f"## {kind.__name__}\n\n{_part(kind, ':members:')}" for kind in kinds)


def _part(kind: type, *options: str) -> str:
    lines = [f".. autoclass:: {kind.__module__}.{kind.__name__}", *(f"   {one}" for one in options)]
    return "```{eval-rst}\n" + "\n".join(lines) + "\n```"


def top_page(name: str) -> str:
    """A page of the project's first folder, as one of docs/.

    Args:
        name: Its file, such as "CHANGELOG.md".

    Returns:
        Its text, with links that lead on from docs/.
    """
    text = (PROJECT / name).read_text(encoding="utf-8").replace("](docs/", "](")
    return re.sub(r"\]\(([A-Z]+\.md)", lambda found: f"]({found[1].lower()}", text)


def restructured(lines: Sequence[str], is_attribute: bool = False) -> Iterator[str]:
    """A docstring in the form that Sphinx's autodoc and napoleon read.

    Fences of code become blocks, names of pages of docs/ links, and a word such as val_ none. What
    is returned has no type in a docstring, so a colon gets before it: else napoleon took all up to
    the first one for that.

    Args:
        lines: The docstring's.
        is_attribute: Whether it is that of a property.

    Yields:
        Its lines.
    """
    indent: str | None = None
    has_no_type = is_attribute
    for line in lines:
        if indent is None:
            line = re.sub(r"\bdocs/([\w-]+)\.md", r":doc:`/\1`", line)
            line = re.sub(r"(?<![\w`])(\w+)_(?![\w`])", r"\1\\_", line)
        fence = re.fullmatch(r"( *)```(\w*)", line)
        if has_no_type and line.strip():
            yield re.sub(r"^( *)", r"\1: ", line)
            has_no_type = False
        elif fence and indent is None:
            indent = fence[1]
            yield from (f"{indent}.. code-block:: {fence[2] or 'text'}", "")
        elif fence:
            indent = None
            yield ""
        else:
            has_no_type = has_no_type or line in ("Returns:", "Yields:")
            yield line if indent is None or not line else f"   {line}"
