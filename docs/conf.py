"""How Sphinx makes pages of this folder and of the docstrings: `make docs`."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))

from docutils import nodes
from site_pages import (
    command_reference,
    parts_reference,
    python_reference,
    restructured,
    top_page,
)
from sphinx.domains.python import PyXRefRole

import handful

project = "handful"
author = "the handful authors"
release = version = handful.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_static"]
highlight_language = "text"
smartquotes_action = "D"  # dashes alone; quotes stay as they were written

myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Source"]
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 70
add_module_names = False
default_role = "word"
# What others' packages have is named and not linked: pages are built without a network.
nitpick_ignore_regex = [
    (
        r"py:.*",
        r"(numpy|os|pathlib|PIL|collections|contextlib|functools|keras|typing|datetime)\..*",
    ),
    # A signature of several forms is shown as it is written.
    (r"py:.*", r"(AnyRun)"),
    (r"py:.*", r"(NDArray|Path|Any|Callable|Sequence|Mapping|Iterator|TextIO|Self|optional)"),
]

html_theme = "furo"
html_title = f"handful {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

GENERATED = {
    "<!-- commands -->": command_reference,
    "<!-- python -->": python_reference,
    "<!-- parts -->": parts_reference,
    "<!-- CONTRIBUTING.md -->": lambda: top_page("CONTRIBUTING.md"),
    "<!-- CHANGELOG.md -->": lambda: top_page("CHANGELOG.md"),
}


class Word(PyXRefRole):
    """What docstrings have in backticks: code, and a link where a page explains that name."""

    def run(self):
        """Make nodes of a word."""
        if not re.fullmatch(r"\w+(\.\w+)*", self.text):
            return [nodes.literal(self.rawtext, self.text)], []
        self.name = "py:obj"
        return super().run()


def fill_in(app, docname, source):
    """Put what stands elsewhere where a page has its marker, and link pages of the first folder."""
    for marker, make in GENERATED.items():
        if marker in source[0]:
            source[0] = source[0].replace(marker, make())
    source[0] = re.sub(
        r"\]\((?:\.\./)+(CONTRIBUTING|CHANGELOG)\.md",
        lambda found: f"]({'../' * docname.count('/')}{found[1].lower()}.md",
        source[0],
    )


def convert_docstring(app, what, name, thing, options, lines):
    """Make of a docstring what Sphinx reads."""
    lines[:] = restructured(lines, is_attribute=what in ("property", "attribute"))


def hide_protocol_arguments(app, what, name, thing, options, signature, returned):
    """A protocol is not called: it has no arguments."""
    return ("", None) if getattr(thing, "_is_protocol", False) else None


def shorten_arrays(app, domain, kind, content):
    """Arrays as the code writes them, not as NumPy spells them out."""
    for text in content.findall(nodes.Text):
        short = re.sub(
            r"~numpy\.ndarray\[tuple\[.*?\], ~numpy\.dtype\[(.*?)\]\]", r"NDArray[\1]", text
        )
        if short != text:
            text.parent.replace(text, nodes.Text(short))


def leave_unlinked(app, env, node, content):
    """A word in backticks that no page explains, and a type that is not public, are plain code."""
    is_word = node.get("reftype") == "obj"
    is_own = str(node.get("reftarget", "")).startswith("handful.")
    return content if node.get("refdomain") == "py" and (is_word or is_own) else None


def setup(app):
    """Connect what is above."""
    app.add_role("word", Word(innernodeclass=nodes.literal))
    app.connect("source-read", fill_in)
    # Before napoleon, which makes fields of sections.
    app.connect("autodoc-process-docstring", convert_docstring, priority=400)
    app.connect("autodoc-process-signature", hide_protocol_arguments)
    # After autodoc has put the types in.
    app.connect("object-description-transform", shorten_arrays, priority=600)
    app.connect("missing-reference", leave_unlinked)
