import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handful.data.decoding import decode_whole
from handful.data.ignored import is_figure, is_ignored, mark_figure
from handful.reports.figures import plot_confusion, save_png

SYSTEM = (
    "@eaDir #recycle @Recycle @Recently-Snapshot .@__thumb $RECYCLE.BIN __MACOSX .Trashes .git .svn"
    " .hg CVS Thumbs.db desktop.ini ._0.jpg .DS_Store lost+found .ipynb_checkpoints .thumbnails"
    " .picasaoriginals Picasa.ini SYNOPHOTO_THUMB_M.jpg SYNOFILE_THUMB_S.png @tmp #snapshot"
    " found.000 0.jpg@SynoEAStream 0.jpg:Zone.Identifier RECYCLER _DS_Store node_modules"
    " __pycache__ ~$notes.docx"
).split()


@pytest.mark.parametrize("name", [*SYSTEM, "System Volume Information", "Temporary Items"])
def test_what_systems_leave_is_no_photo(name: str) -> None:
    assert is_ignored(name)


@pytest.mark.parametrize("name", ["cats", "cvs", "@home", "#1", "Thumbs up", "recycling", "sync"])
def test_what_may_be_a_class_is_none_of_the_systems(name: str) -> None:
    assert not is_ignored(name)


def test_a_marked_figure_is_the_same_picture() -> None:
    pixels = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    marked = mark_figure(file.getvalue())
    assert is_figure(marked) and not is_figure(file.getvalue())
    assert np.array_equal(decode_whole(marked), pixels)


@pytest.mark.slow
def test_figures_say_that_they_are_no_photos(tmp_path: Path) -> None:
    figure = plot_confusion(np.eye(2, dtype=np.int64), ["a", "b"])
    save_png(figure, tmp_path / "figure.png")
    assert is_figure((tmp_path / "figure.png").read_bytes())
