"""HTML for the output of a cell: whole in itself, without a script, in the host's colors."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handful.reports.drawing import NARROW_SPACE
from handful.reports.run_page import page_environment
from handful.wording import format_duration, format_share, number_of, printable

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **view: Any) -> str:
    """Make a piece of HTML; all texts in it are escaped.

    Args:
        template: Name of a file in templates/.
        **view: What it names.

    Returns:
        One element with its style sheet. Its text has the color of what is around it, and its
        lines and faint texts are made of that one: Jupyter, VS Code and Colab each tell their
        light or dark theme in a way of their own, and all set that.
    """
    html = _environment().get_template(template).render(view)
    # Names may hold marks that turn writing round, or bytes that are no text; templates have none.
    return "\n".join(map(printable, html.split("\n"))).replace(" %", f"{NARROW_SPACE}%")


@cache
def _environment() -> "Environment":
    from jinja2 import FileSystemLoader

    made = page_environment()
    made.loader = FileSystemLoader(_TEMPLATES)
    made.filters |= {
        "duration": format_duration,
        "share": format_share,
        "number_of": number_of,
        "zip": lambda one, other: list(zip(one, other, strict=True)),
        # A path is read from its end.
        "tail": lambda text, most=40: text if len(text) <= most else f"…{text[1 - most :]}",
        "cut": lambda text, most=60: text if len(text) <= most else f"{text[: most - 1]}…",
    }
    made.globals["parts"] = made.get_template("parts.html").module
    return made
