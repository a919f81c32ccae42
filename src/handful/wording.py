"""Shares, differences and names in words, the same wherever people read them."""

import unicodedata
from collections.abc import Iterable, Mapping

_NAMED, _LONGEST_NAME = 5, 100
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control, format, surrogate, line and paragraph ends


def printable(text: str) -> str:
    r"""Write out what would act on a terminal or a page instead of being seen.

    Control characters (colors, titles, line ends), marks that turn the direction of writing or
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


def list_names(names: Iterable[str]) -> str:
    """Write a list of names, of which there may be very many, and very long ones.

    Args:
        names: Of photos, folders, classes, columns.

    Returns:
        Such as '"cats", "dogs" and 3 more'; "none" where there are none.
    """
    listed = list(names)
    shown = ", ".join(f'"{printable(_shorten(name))}"' for name in listed[:_NAMED])
    more = f" and {len(listed) - _NAMED:,} more" if len(listed) > _NAMED else ""
    return shown + more if listed else "none"


def number_of(number: int, what: str = "photo") -> str:
    """Say how many there are.

    Args:
        number: 0 or more.
        what: A noun that takes an s in the plural.

    Returns:
        Such as "1 photo" or "1,200 photos".
    """
    return f"{number:,} {what}{'s' * (number != 1)}"


def name_counts(counts: Mapping[str, int]) -> str:
    """Write how many there are of each class.

    Args:
        counts: Name to number; there may be very many, with very long names.

    Returns:
        Such as "cats 24, dogs 30 and 3 more"; "" where there are none.
    """
    shown = [f"{_shorten(name, 24)} {count:,}" for name, count in counts.items()][:_NAMED]
    more = f" and {len(counts) - _NAMED:,} more" if len(counts) > _NAMED else ""
    return ", ".join(shown) + more


def _shorten(name: str, longest: int = _LONGEST_NAME) -> str:
    half = longest // 2
    return name if len(name) <= longest else f"{name[:half]}…{name[-half:]}"


def format_share(fraction: float, digits: int = 1) -> str:
    """Write a share in percent; 0 and 100 are said only of exactly these.

    2,999 of 3,000 is not "100.0 %", and one wrong answer in 3,000 is not "0.0 %". `percent` in
    `serving/page/app.js` does the same.

    Args:
        fraction: In [0, 1].
        digits: Digits after the point, 0 to 3; more are taken where these would say 0 or 100.

    Returns:
        Such as "98.4 %", "99.97 %", "100 %"; what is nearer than 0.001 to 0 or 100 is written
        "0.001 %" or "99.999 %".
    """
    if fraction in (0, 1):
        return f"{fraction:.0%}".replace("%", " %")
    for places in range(digits, 4):
        text = f"{fraction * 100:.{places}f}"
        if 0 < float(text) < 100:
            return f"{text} %"
    return "0.001 %" if fraction < 0.5 else "99.999 %"


def format_rate(rate: float) -> str:
    """Write a share that somebody asked for or set, with no more digits than it has.

    Args:
        rate: In (0, 1).

    Returns:
        Such as "1 %", "0.5 %", "7.6 %".
    """
    return f"{rate * 100:.6g} %"


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


def format_duration(seconds: float) -> str:
    """Write a duration so that it is read at a glance.

    Args:
        seconds: 0 or more.

    Returns:
        Such as "1.4 s", "52 s", "5 min 12 s", "1 h 23 min".
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    if round(seconds) < 3600:
        return "{} min {:02d} s".format(*divmod(round(seconds), 60))
    return "{:,} h {:02d} min".format(*divmod(round(seconds / 60), 60))


def rounded_duration(seconds: float) -> str:
    """Say about how long something takes, as exactly as that can be known.

    Args:
        seconds: 0 or more.

    Returns:
        Such as "3 s", "45 s", "4 min", "1 h 20 min".
    """
    if seconds < 9.5:
        return f"{max(round(seconds), 1)} s"
    if seconds < 57.5:
        return f"{5 * round(seconds / 5)} s"
    minutes = max(round(seconds / 60), 1)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"
