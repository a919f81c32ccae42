import os
from pathlib import Path

import pytest

from handful.crashes import keep_traceback


def raised(text: str) -> Exception:
    try:
        raise IndexError(text)
    except IndexError as error:
        return error


def test_a_traceback_is_kept_and_the_oldest_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANDFUL_CACHE", str(tmp_path))
    places = [keep_traceback(raised(f"number {n} \x1b[31m\udcff")) for n in range(25)]
    assert len(list((tmp_path / "logs").iterdir())) == 20
    assert places[-1] is not None and places[-1].parent == tmp_path / "logs"
    text = places[-1].read_text(encoding="utf-8")
    assert "Traceback" in text and r"IndexError: number 24 \x1b[31m\udcff" in text
    assert "def raised" not in text and "in raised" in text and "handful" in text
    assert places[-1].stat().st_mode & 0o077 == 0  # what was done is nobody else's business


def test_without_a_cache_it_goes_among_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HANDFUL_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    place = keep_traceback(raised("x"))
    assert place is not None and place.parent == tmp_path / "temporary"
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    assert keep_traceback(raised("x")) is None
    assert sorted(os.listdir(tmp_path)) == ["file", "temporary"]
