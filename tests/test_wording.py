"""Shares and differences in words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handful.wording import (
    format_duration,
    format_points,
    format_rate,
    format_share,
    list_names,
    printable,
    rounded_duration,
)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\x1b[2Jclear\x1b]8;;http:evil\x07", r"\x1b[2Jclear\x1b]8;;http:evil\x07"),
        ("new\nline\r\u2028", r"new\nline\r\u2028"),
        ("\u202egpj.exe\u2066", r"\u202egpj.exe\u2066"),
        ("a\u200b\u200db\ufeff", r"a\u200b\u200db\ufeff"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("surrogate\udcff", r"surrogate\udcff"),
        ("[bold]Größe 图 \u3000🐈 a\\b", "[bold]Größe 图 \u3000🐈 a\\b"),
    ],
)
def test_names_are_seen_and_do_not_act(name: str, shown: str) -> None:
    assert printable(name) == shown


@pytest.mark.parametrize(
    ("fraction", "text"),
    [
        (0.9843, "98.4 %"),
        (2999 / 3000, "99.97 %"),
        (1 / 3000, "0.03 %"),
        (1.0, "100 %"),
        (0.0, "0 %"),
        (1 - 1e-9, "99.999 %"),
        (1e-9, "0.001 %"),
        (0.999996, "99.999 %"),
    ],
)
def test_shares(fraction: float, text: str) -> None:
    assert format_share(fraction) == text


@given(st.floats(0, 1))
def test_all_and_nothing_are_said_only_of_these(fraction: float) -> None:
    number = float(format_share(fraction).removesuffix(" %")) / 100
    assert (number in (0, 1)) == (fraction in (0, 1))
    assert number == pytest.approx(fraction, abs=0.00051)


@pytest.mark.parametrize(
    ("fraction", "text"),
    [
        (0.171, "17.1"),
        (-0.005, "-0.5"),
        (0.0, "0.0"),
        (-1e-9, "0.0"),
        (0.0004, "0.04"),
        (1, "100.0"),
    ],
)
def test_points(fraction: float, text: str) -> None:
    assert format_points(fraction) == text


def test_lists_of_names_stay_short() -> None:
    assert list_names([]) == "none"
    assert list_names("ab") == '"a", "b"'
    assert list_names("abcdefg") == '"a", "b", "c", "d", "e" and 2 more'
    assert list_names(["a\nb"]) == r'"a\nb"'
    assert len(list_names(["x" * 4000 + ".jpg"])) < 110 and list_names(["x" * 200]).count("…") == 1


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0.01, "1 %"), (0.07, "7 %"), (0.005, "0.5 %"), (0.076, "7.6 %"), (0.99995, "99.995 %")],
)
def test_rates(rate: float, text: str) -> None:
    assert format_rate(rate) == text


def test_few_digits_are_made_more_where_they_would_say_all() -> None:
    shown = [format_share(share, 0) for share in (0.97, 0.996, 0.004, 1.0)]
    assert shown == ["97 %", "99.6 %", "0.4 %", "100 %"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (1.44, "1.4 s"),
        (9.97, "10 s"),
        (59.4, "59 s"),
        (59.7, "1 min 00 s"),
        (312, "5 min 12 s"),
        (3599.6, "1 h 00 min"),
        (4998, "1 h 23 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (7.4, "7 s"), (43, "45 s"), (58, "1 min"), (200, "3 min"), (4800, "1 h 20 min")],
)
def test_an_estimate_has_round_numbers(seconds: float, text: str) -> None:
    assert rounded_duration(seconds) == text
