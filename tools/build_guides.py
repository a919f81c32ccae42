"""Make the notebooks, pages and figures of docs/guides from the Python scripts there.

    python tools/build_guides.py                             notebooks and pages
    python tools/build_guides.py --drawings                  and the figures of drawn pictures
    python tools/build_guides.py --comparison runs/NAME      and the curves, from a comparison

The scripts are in jupytext's percent format. The comparison is a folder that `handful compare
--recipe keras-tutorial` made, with scratch, augmented and transfer in it. No photos get into the
figures.
"""

import argparse
import io
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import jupytext
import nbformat
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handful.data.augmentation import EXERCISE_POLICY
from handful.files.atomic import read_json
from handful.reports.figures import plot
from handful.reports.sheets import example_sheet, preview_sheet
from handful.reports.training_charts import history_charts, strategy_colors, time_chart
from handful.run_store.store import RunStore
from handful.training.previews import draw_preview

PROJECT = Path(__file__).resolve().parent.parent
GUIDES = PROJECT / "docs" / "guides"
FIGURES = GUIDES / "figures"
STRATEGIES = ("scratch", "augmented", "transfer")
LARGEST_FIGURE = 150_000  # bytes
_COLORS = 64
# What the pages import that is no package; a notebook carries it along to Colab.
SHARED = ("guide.py", "own_network.py")
_BADGE = "https://colab.research.google.com/assets/colab-badge.svg"


def guide_scripts() -> list[Path]:
    """The pages' sources, in order."""
    return sorted(GUIDES.glob("[0-9]_*.py"))


def build_pages(script: Path) -> dict[Path, str]:
    """Make a page's notebook and Markdown, in memory.

    Args:
        script: Its source.

    Returns:
        Path -> text of the file.
    """
    cells = jupytext.reads(script.read_text(encoding="utf-8"), fmt="py:percent").cells
    return {
        script.with_suffix(".ipynb"): _notebook([colab_cell(script), *cells]),
        script.with_suffix(".md"): _markdown(cells, script),
    }


def colab_cell(script: Path) -> Any:
    """The cell that prepares a machine which has nothing but the notebook, as Colab's have."""
    lines = [
        "# @title In Colab: install handful, and write the files that the pages share",
        "import sys",
        "",
        'if "google.colab" in sys.modules:',
        '    %pip install --quiet "handful[figures,keras]"',
    ]
    for name in SHARED:
        text = script.with_name(name).read_text(encoding="utf-8")
        lines.append(f'    with open("{name}", "w") as file:')
        lines.append(f"        file.write({_quoted(text)})")
    metadata = {"cellView": "form", "jupyter": {"source_hidden": True}}
    return nbformat.v4.new_code_cell("\n".join(lines), metadata=metadata)


def _quoted(text: str) -> str:
    """A text as a literal that reads like the file it came from."""
    assert "'''" not in text and "\\" not in text
    return f"'''\\\n{text}'''"


def colab_link(script: Path, project: Mapping[str, Any]) -> str:
    """Markdown of the button that opens a notebook in Colab.

    Args:
        script: The page's source.
        project: Table `project` of pyproject.toml; `urls.Repository` says where it is published.

    Returns:
        The button; "" where no repository on GitHub is named, for Colab opens no others.
    """
    found = str(project.get("urls", {}).get("Repository", ""))
    _, at_github, repository = found.partition("https://github.com/")
    if not at_github:
        return ""
    path = f"{repository.strip('/')}/blob/main/docs/guides/{script.stem}.ipynb"
    return f" [![Open in Colab]({_BADGE})](https://colab.research.google.com/github/{path})"


def _notebook(cells: list[Any]) -> str:
    """A notebook without outputs; the same cells always give the same text."""
    made = []
    for number, cell in enumerate(cells, start=1):
        new = nbformat.v4.new_markdown_cell if cell.cell_type == "markdown" else None
        new = new or nbformat.v4.new_code_cell
        kept = {
            name: cell.metadata[name] for name in ("cellView", "jupyter") if name in cell.metadata
        }
        made.append(new(cell.source, id=f"cell-{number}", metadata=kept))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = nbformat.v4.new_notebook(
        cells=made, metadata={"kernelspec": kernel, "language_info": {"name": "python"}}
    )
    nbformat.validate(notebook)
    return nbformat.writes(notebook, version=4).rstrip() + "\n"


def _markdown(cells: list[Any], script: Path) -> str:
    """Text as it is, code in fences, and under the title where else the page can be had."""
    title, *rest = cells
    head, _, text = title.source.partition("\n")
    stem = script.stem
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    about = (
        f"<!-- Made by tools/build_guides.py from {script.name}; change that. -->\n\n"
        f"*This page also comes as a [notebook]({stem}.ipynb) and as a "
        f"[script]({script.name}) to run: `python docs/guides/{script.name}`.*"
        f"{colab_link(script, project)}"
    )
    parts = [head, about, text.strip()]
    for cell in rest:
        is_text = cell.cell_type == "markdown"
        parts.append(cell.source.strip() if is_text else f"```python\n{cell.source.strip()}\n```")
    return "\n\n".join(parts) + "\n"


def draw_house(side: int = 150) -> NDArray[np.uint8]:
    """Draw a picture whose left and right, top and bottom differ: (S, S, 3) uint8 RGB."""
    image = np.empty((side, side, 3), np.uint8)
    image[:] = (170, 205, 235)
    image[round(0.72 * side) :] = (120, 165, 95)

    def box(left: float, top: float, right: float, bottom: float, color: Any) -> None:
        corners = [(round(x * side), round(y * side)) for x, y in ((left, top), (right, bottom))]
        cv2.rectangle(image, *corners, color, -1)

    box(0.64, 0.22, 0.71, 0.45, (120, 70, 60))
    roof = np.array([[0.2, 0.46], [0.5, 0.2], [0.8, 0.46]]) * side
    cv2.fillPoly(image, [np.rint(roof).astype(np.int32)], (185, 75, 60), cv2.LINE_AA)
    box(0.26, 0.46, 0.74, 0.8, (240, 225, 195))
    box(0.56, 0.56, 0.67, 0.8, (110, 75, 50))
    box(0.33, 0.54, 0.47, 0.68, (90, 130, 175))
    sun = (round(0.13 * side), round(0.16 * side))
    cv2.circle(image, sun, round(0.07 * side), (250, 215, 90), -1, cv2.LINE_AA)
    return image


def draw_shape(kind: str, seed: int, side: int = 150) -> NDArray[np.uint8]:
    """Draw a disc ("round") or a box ("square") on a plain background: (S, S, 3) uint8 RGB."""
    rng = np.random.default_rng(seed)
    image = np.empty((side, side, 3), np.uint8)
    image[:] = rng.integers(190, 245, 3)
    radius = int(rng.integers(side // 6, side // 3))
    x, y = (int(rng.integers(radius, side - radius)) for _ in range(2))
    color = [int(value) for value in rng.integers(20, 200, 3)]
    if kind == "round":
        cv2.circle(image, (x, y), radius, color, -1, cv2.LINE_AA)
    else:
        cv2.rectangle(image, (x - radius, y - radius), (x + radius, y + radius), color, -1)
    return image


def drawn_figures() -> Iterator[tuple[str, Image.Image]]:
    """Name -> picture of each that shows drawn pictures."""
    kinds = ["round" if seed * 7 % 5 < 3 else "square" for seed in range(16)]
    pictures = [draw_shape(kind, seed) for seed, kind in enumerate(kinds)]
    yield "1-pictures", example_sheet(pictures, kinds, "16 training pictures").draw()
    shown = draw_preview(draw_house(), EXERCISE_POLICY, name="A drawn house, the exercise's policy")
    yield "3-views", preview_sheet(shown).draw()


def compared_figures(folder: Path) -> Iterator[tuple[str, Image.Image]]:
    """Name -> picture of each that shows a comparison's curves.

    Args:
        folder: What `handful compare` made.

    Yields:
        Names and pictures; of a strategy trained several times the first training.
    """
    histories: dict[str, Mapping[str, Any]] = {}
    for name in STRATEGIES:
        paths = sorted(folder.glob(f"{name}-*/"))
        history = RunStore().read(paths[0]).history if paths else None
        if history is None:
            sys.exit(f"{folder} has no history of {name}; compare with --strategy {name} too.")
        histories[name] = history
    colors = strategy_colors(STRATEGIES)
    for figure, names in (
        ("2-curves", STRATEGIES[:1]),
        ("3-curves", STRATEGIES[:2]),
        ("4-histories", STRATEGIES),
    ):
        chosen = {name: histories[name] for name in names}
        yield figure, as_picture(plot(history_charts(chosen, colors)))
    facts = read_json(folder / "comparison.json")
    yield "4-comparison", as_picture(plot([time_chart(facts["result"]["strategies"])]))


def write_figure(name: str, picture: Image.Image) -> None:
    """Write a figure in few colors: lines and drawings stay sharp and get small.

    Args:
        name: Its name.
        picture: The figure.
    """
    few = picture.convert("RGB").quantize(_COLORS, dither=Image.Dither.NONE)
    path = FIGURES / f"{name}.png"
    few.save(path, optimize=True)
    size = path.stat().st_size
    if size > LARGEST_FIGURE:
        sys.exit(f"{path} has {size:,} bytes; expected {LARGEST_FIGURE:,} at most.")
    print(f"{path.relative_to(GUIDES.parent.parent)}: {size:,} bytes", file=sys.stderr)


def as_picture(figure: Any) -> Image.Image:
    """Draw a figure at 90 dots an inch.

    Args:
        figure: From `handful.reports.figures`.

    Returns:
        The picture.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return Image.open(buffer)


def main() -> None:
    """Parse and call."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drawings", action="store_true")
    parser.add_argument("--comparison", type=Path)
    arguments = parser.parse_args()
    FIGURES.mkdir(exist_ok=True)
    if arguments.drawings:
        for name, figure in drawn_figures():
            write_figure(name, figure)
    if arguments.comparison is not None:
        for name, figure in compared_figures(arguments.comparison):
            write_figure(name, figure)
    for script in guide_scripts():
        for path, text in build_pages(script).items():
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
