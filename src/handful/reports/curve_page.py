"""One self-contained HTML page about a learning curve; it computes nothing but layout."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from handful.reports.charts import learning_curve_chart
from handful.reports.run_page import page_environment, write_page

CURVE_FILE = "curve.html"


def write_curve_page(
    data: Mapping[str, Any], sentences: Sequence[str], name: str, folder: Path
) -> Path:
    """Write curve.html: one file that works offline, in light and dark, and on a phone.

    Args:
        data: What curve.json keeps.
        sentences: What the curve says.
        name: Of the photos.
        folder: Existing folder to write to.

    Returns:
        The page's path.

    Raises:
        OSError: When it cannot be written.
    """
    html = (
        page_environment()
        .get_template(CURVE_FILE)
        .render(
            title=f"{name}: would more photos help?",
            name=name,
            sentences=sentences,
            warnings=data["warnings"],
            chart=learning_curve_chart(data["curve"], data["target"]),
            points=data["curve"]["points"],
            backbone=data["backbone"],
        )
    )
    return write_page(html, folder / CURVE_FILE)
