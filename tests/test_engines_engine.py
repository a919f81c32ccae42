"""The engine of threads, and how engines are named."""

import threading
from collections.abc import Iterator, Sequence

import pytest

from handful.cores import num_workers
from handful.engines.engine import LocalEngine, in_groups
from handful.errors import DataError


class Doubling:
    def __call__(self, group: Sequence[int]) -> list[int]:
        return [2 * item for item in group]

    def give_up(self, item: int, reason: str) -> int:
        return -1


def test_items_are_done_in_groups_and_in_threads() -> None:
    groups = list(in_groups(range(100), 7))
    assert [len(group) for group in groups] == [7] * 13 + [9]
    names: set[str] = set()

    class Noting(Doubling):
        def __call__(self, group: Sequence[int]) -> list[int]:
            names.add(threading.current_thread().name)
            return super().__call__(group)

    found = dict(LocalEngine().map(Noting(), groups))
    assert found == {number: [2 * item for item in group] for number, group in enumerate(groups)}
    assert all(name.startswith("work") for name in names)
    assert list(LocalEngine().map(Doubling(), [])) == []


@pytest.mark.parametrize(
    ("count", "sizes"), [(0, []), (3, [3]), (4, [4]), (7, [7]), (8, [4, 4]), (11, [4, 7])]
)
def test_nothing_is_left_over_by_itself(count: int, sizes: list[int]) -> None:
    groups = list(in_groups(range(count), 4))
    assert [len(group) for group in groups] == sizes
    assert [one for group in groups for one in group] == list(range(count))


def test_groups_are_taken_a_few_ahead() -> None:
    taken = 0

    def endless() -> Iterator[list[int]]:
        nonlocal taken
        while True:
            taken += 1
            yield [taken]

    found = LocalEngine().map(Doubling(), endless())
    assert [next(found) for _ in range(50)] == [(number, [2 * number + 2]) for number in range(50)]
    found.close()  # type: ignore[attr-defined]
    assert taken <= 50 + 2 * num_workers()


def test_what_the_work_raises_is_raised() -> None:
    class Failing(Doubling):
        def __call__(self, group: Sequence[int]) -> list[int]:
            raise DataError("is no number")

    with pytest.raises(DataError, match="is no number"):
        list(LocalEngine().map(Failing(), [[1], [2]]))
