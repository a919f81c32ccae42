"""What pages to try photos on share: the server's, and the one that works offline."""

import re
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent / "templates"
# A module for pages that have modules.
CAMERA = _FOLDER / "camera.js"
_MODULE_WORDS = re.compile(r"^export ", re.MULTILINE)


def page_style(own: str) -> str:
    """The style of a page.

    Args:
        own: What it has besides.

    Returns:
        CSS.
    """
    return "\n".join([_read("tokens.css"), _read("photo_page.css"), own])


def page_script(own: str) -> str:
    """The script of a page; a plain one, for pages that are opened as files have no modules.

    Args:
        own: What it has besides.

    Returns:
        JavaScript.
    """
    camera = _MODULE_WORDS.sub("", _read(CAMERA.name))
    return "\n".join(['"use strict";', camera, _read("photo_page.js"), own])


def render_page(file: Path, **values: Any) -> str:
    """Fill a page's template, which includes `photo_page.html`.

    Args:
        file: The template.
        **values: Its own; and `hint`, a sentence in the drop field, and `is_live`, whether the
            camera's image is answered all the time.

    Returns:
        HTML.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([file.parent, _FOLDER]), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(file.name).render(**values)


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
