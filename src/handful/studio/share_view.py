"""What the card of sharing shows, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass

from handful.errors import MissingExtraError
from handful.exporting.export_runtime import check_extra
from handful.studio.sharing import WEB, Shared

# The offline page first: most people need no other.
_PURPOSES = {
    WEB: ("One web page that works offline", "for any phone or laptop: a file to mail or to copy"),
    "onnx": ("ONNX", "for most programs and languages"),
    "openvino": ("OpenVINO", "for computers with Intel processors"),
    "litert": ("LiteRT", "for phones and small devices, once called TensorFlow Lite"),
    "keras": ("Keras", "for Python"),
}

# What no page shows.
_FEW_POINTS = 0.05


@dataclass(frozen=True)
class ShareLine:
    """Something that a classifier can be written as.

    Args:
        format: As `export` calls it.
        title: What it is.
        purpose: Whom it is for.
        made: What is said of it, once it is made; or "".
        address: Where it is downloaded, or "".
        missing: Why it cannot be made, a sentence; or "".
    """

    format: str
    title: str
    purpose: str
    made: str = ""
    address: str = ""
    missing: str = ""


def share_view(made: Mapping[str, Shared]) -> tuple[ShareLine, ...]:
    """Show what a run can be written as.

    Args:
        made: What it was written as.

    Returns:
        The lines, the offline page first.
    """
    return tuple(_line(format, made.get(format)) for format in _PURPOSES)


def _line(format: str, made: Shared | None) -> ShareLine:
    title, purpose = _PURPOSES[format]
    if made is not None:
        return ShareLine(format, title, purpose, _told(made), f"/data/shared/{format}")
    try:
        check_extra(format)
    except MissingExtraError as error:
        return ShareLine(format, title, purpose, missing=str(error))
    return ShareLine(format, title, purpose)


def _told(made: Shared) -> str:
    points = 100 * made.largest_difference
    same = (
        "the same as here" if points < _FEW_POINTS else f"within {points:.1g} points of those here"
    )
    told = f"{made.num_bytes / 1e6:,.1f} MB. Tried on photos, its probabilities are {same}."
    if made.format == WEB and not made.tells_unusual:
        told += " It does not tell unusual photos."
    return f"{told} {made.note}".strip()


def phones_told(addresses: tuple[str, ...]) -> str:
    """Say how phones nearby get in.

    Args:
        addresses: Where others reach the studio, with the token; none where they do not.

    Returns:
        A sentence or two.
    """
    if addresses:
        return (
            "Point a phone's camera at this. Whoever has this address can do all that you can, "
            "as long as the studio is open; nothing is encrypted on the way."
        )
    return (
        "The studio is open to this computer alone. Start it with host 0.0.0.0 to let in phones "
        "nearby that have its address with the token."
    )
