"""Contact sheets of photos as PNG files: what augmentation does, examples of a data set.

A sheet is laid out in pixels as plain values and drawn by Pillow with the font it brings, which
has the letters of English: others lose their accents, or are shown as "?".
"""

import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from handful.data.ignored import mark_figure
from handful.errors import UsageError
from handful.files.atomic import new_file
from handful.training.previews import Preview

_INK, _MUTED = "#1d1f23", "#6b7078"
# In pixels: the rim, between tiles, a view's tile, an example's tile, above and below a strip.
_RIM, _GAP, _TILE, _EXAMPLE, _HEAD, _FOOT = 52, 12, 150, 210, 45, 63
_TEXT, _TITLE = 18, 26
# Tiles enlarged by more than this show their pixels as squares.
_BLURRED = 5
_HAS = "°…·"
_SPELLED = str.maketrans(
    {"−": "-", "–": "-", "—": "-", "×": "x", "ß": "ss", "ø": "o", "ł": "l", "æ": "ae"}
)


@dataclass(frozen=True)
class Words:
    """A line of text on a sheet.

    Args:
        text: The line.
        x: Its left end, or its middle, in pixels.
        y: Middle of its height.
        size: Of its letters, in pixels.
        color: Of its letters.
        centered: Whether `x` is the middle.
    """

    text: str
    x: float
    y: float
    size: int = _TEXT
    color: str = _INK
    centered: bool = False

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom in pixels."""
        left, top, right, bottom = _font(self.size).getbbox(
            self.text, anchor="mm" if self.centered else "lm"
        )
        return self.x + left, self.y + top, self.x + right, self.y + bottom


@dataclass
class Sheet:
    """Photos and words at their places on a white page.

    Args:
        width: In pixels.
        height: In pixels.
        tiles: (H, W, 3) uint8 photos, each with left, top, width and height in pixels.
        words: The text.
    """

    width: int
    height: int
    tiles: list[tuple[NDArray[np.uint8], tuple[int, int, int, int]]] = field(default_factory=list)
    words: list[Words] = field(default_factory=list)

    def draw(self) -> Image.Image:
        """Draw the sheet.

        Returns:
            An RGB picture.
        """
        picture = Image.new("RGB", (self.width, self.height), "white")
        for photo, (left, top, width, height) in self.tiles:
            squares = width > _BLURRED * photo.shape[1]
            how = Image.Resampling.NEAREST if squares else Image.Resampling.LANCZOS
            tile = Image.fromarray(np.ascontiguousarray(photo)).resize((width, height), how)
            picture.paste(tile, (left, top))
        pen = ImageDraw.Draw(picture)
        for line in self.words:
            place, anchor = (line.x, line.y), "mm" if line.centered else "lm"
            pen.text(place, line.text, line.color, _font(line.size), anchor)
        return picture

    def save(self, path: Path, *, replace: bool = False) -> None:
        """Write the sheet as a PNG file that says that it is none of the user's photos.

        Args:
            path: File to make; its name ends in `.png`.
            replace: Whether a file that is there is replaced.

        Raises:
            UsageError: When the name has another ending.
            OutputError: When the file exists, or cannot be written.
        """
        if path.suffix.lower() != ".png":
            raise UsageError(f"output is {path}; expected a name that ends in .png.")
        encoded = io.BytesIO()
        self.draw().save(encoded, "PNG")
        with new_file(path, replace=replace) as temporary:
            temporary.write_bytes(mark_figure(encoded.getvalue()))


def preview_sheet(preview: Preview) -> Sheet:
    """A photo as the network sees it, random views of it, and a strip for each parameter.

    Args:
        preview: From `handful.training.previews`.

    Returns:
        The sheet.
    """
    height, width = preview.photo.shape[:2]
    tall = max(round(_TILE * height / width), 1)
    photo = (_RIM, _TILE, 4 * _TILE + 3 * _GAP, 4 * tall + 3 * _GAP)
    top = photo[1] + photo[3] + 48
    strip = _HEAD + tall + _FOOT
    bottom = top + len(preview.strips) * strip + 36 * len(preview.notes) + _RIM
    sheet = Sheet(2 * _RIM + 8 * _TILE + 7 * _GAP, bottom)
    left = _RIM + 4 * (_TILE + _GAP)
    sheet.words += [
        Words(_plain(preview.name, 70) or "Photo", _RIM, 62, _TITLE),
        Words(f"as the network sees it, {width} x {height} pixels", _RIM, 127),
        Words(f"{len(preview.views)} random views", left, 127),
    ]
    sheet.tiles.append((preview.photo, photo))
    for number, view in enumerate(preview.views):
        row, column = divmod(number, 4)
        place = left + column * (_TILE + _GAP), photo[1] + row * (tall + _GAP)
        sheet.tiles.append((view, (*place, _TILE, tall)))
    for one in preview.strips:
        name = Words(_plain(one.name), _RIM, top + 20)
        sheet.words += [name, Words(_plain(one.range, 99), name.box[2] + 16, name.y, color=_MUTED)]
        for number, (view, label) in enumerate(zip(one.views, one.labels, strict=True)):
            x, y = _RIM + number * (_TILE + _GAP), top + _HEAD
            sheet.tiles.append((view, (x, y, _TILE, tall)))
            sheet.words.append(Words(_plain(label), x + _TILE / 2, y + tall + 22, centered=True))
        top += strip
    for number, note in enumerate(preview.notes):
        sheet.words.append(Words(_plain(note, 150), _RIM, top + 15 + 36 * number, color=_MUTED))
    return sheet


def example_sheet(images: Sequence[NDArray[np.uint8]], labels: Sequence[str], title: str) -> Sheet:
    """Square photos in rows of four, each with its class.

    Args:
        images: N of (S, S, 3) uint8; their sizes may differ.
        labels: (N,) class names.
        title: What they are.

    Returns:
        The sheet.
    """
    pitch, room, head = _EXAMPLE + 2 * _GAP, _EXAMPLE + 57, 105
    rows = -(-len(images) // 4)
    sheet = Sheet(2 * _RIM + 4 * pitch - 2 * _GAP, head + rows * room + 15)
    sheet.words.append(Words(_plain(title, 60), _RIM, 60, _TITLE))
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        row, column = divmod(number, 4)
        left, top = _RIM + column * pitch, head + row * room
        sheet.tiles.append((image, (left, top, _EXAMPLE, _EXAMPLE)))
        middle = left + _EXAMPLE / 2, top + _EXAMPLE + 24
        sheet.words.append(Words(_plain(label, 24), *middle, centered=True))
    return sheet


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # Pillow's wheels have FreeType
    return font


def _plain(text: str, length: int = 40) -> str:
    """One line, in letters that the font has, with an ellipsis where it was cut."""
    letters = unicodedata.normalize("NFKD", text.translate(_SPELLED).replace("…", "\0"))
    bare = "".join(c for c in letters if not unicodedata.combining(c)).replace("\0", "…")
    spelled = "".join(c if c.isascii() or c in _HAS else "?" for c in bare)
    line = " ".join(spelled.split())
    line = "".join(c if c.isprintable() else "?" for c in line)
    return line if len(line) <= length else line[: length - 1] + "…"
