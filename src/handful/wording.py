"""Shares, differences and names in words, the same wherever people read them."""

import unicodedata

_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control, format, surrogate, line and paragraph ends


def printable(text: str) -> str:
    r"""Write out what would act on a terminal or a page instead of being seen.

    Control characters (colours, titles, line ends), marks that turn the direction of writing or
    take no room, and bytes of a name that are no text. All that handful prints goes through here.

    Args:
        text: One line; names of files and classes in it may be any.

    Returns:
        It, each such character as an escape: "\n", "\x1b", "\u202e".
    """
    if text.isprintable():
        return text
    return "".join(_escape(c) if unicodedata.category(c) in _UNSEEN else c for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def format_share(fraction: float) -> str:
    """Write a share in percent; 0 and 100 are said only of exactly these.

    2,999 of 3,000 is not "100.0 %", and one wrong answer in 3,000 is not "0.0 %".

    Args:
        fraction: In [0, 1].

    Returns:
        Such as "98.4 %", "99.97 %", "100 %"; what is nearer than 0.001 to 0 or 100 is written
        "0.001 %" or "99.999 %".
    """
    if fraction in (0, 1):
        return f"{fraction:.0%}".replace("%", " %")
    for digits in (1, 2, 3):
        text = f"{fraction * 100:.{digits}f}"
        if 0 < float(text) < 100:
            return f"{text} %"
    return "0.001 %" if fraction < 0.5 else "99.999 %"


def format_points(fraction: float) -> str:
    """Write a difference of two shares in percentage points.

    Args:
        fraction: In [-1, 1].

    Returns:
        Such as "17.1", "-0.5", "0.0"; "0.0" only for what is below 0.0005 points.
    """
    for digits in (1, 2, 3):
        text = f"{fraction * 100:.{digits}f}"
        if float(text) != 0:
            return text
    return "0.0"
