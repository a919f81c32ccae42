"""Cores to work with."""

import os

import pytest

from handful.cores import available_cores, num_workers


def test_cores_are_those_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)
    monkeypatch.setenv("HANDFUL_CORES", "3")
    assert (available_cores(), num_workers()) == (3, 6)


@pytest.mark.parametrize("given", ["", "0", "-1", "many"])
def test_what_is_no_number_of_cores_says_nothing(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = available_cores()
    monkeypatch.setenv("HANDFUL_CORES", given)
    assert available_cores() == own
