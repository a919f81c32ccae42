"""Cores to work with."""

import os

import pytest

from handful.cores import available_cores, in_order, is_share, num_workers


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


def test_work_comes_back_in_order_and_waits_to_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANDFUL_CORES", "2")
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        return item * item

    results = in_order(work, range(100))
    assert [next(results), next(results)] == [0, 1]
    assert len(begun) <= 6
    assert list(results) == [item * item for item in range(2, 100)]
    assert list(in_order(work, [])) == []


def test_an_error_ends_the_work() -> None:
    def work(item: int) -> int:
        return 1 // (3 - item)

    with pytest.raises(ZeroDivisionError):
        list(in_order(work, range(10)))


def test_a_share_is_fewer_cores_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handful.cores._allowed_cores", lambda: 4)
    monkeypatch.delenv("HANDFUL_CORES", raising=False)
    assert available_cores() == 4 and not is_share()
    for given, expected in (("1", True), ("3", True), ("4", False), ("9", False)):
        monkeypatch.setenv("HANDFUL_CORES", given)
        assert is_share() is expected
