"""The seam `Engine`: who runs one function over many photos; in threads here, or others elsewhere.

An engine knows nothing of photos. What it runs is pure and can be pickled, and does not care which
thread, process or machine it is in, so that every engine gives the same.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol, TypeVar

from handful.cores import in_order, num_workers

Item = TypeVar("Item")
Row = TypeVar("Row")
_Item = TypeVar("_Item", contravariant=True)
_Row = TypeVar("_Row", covariant=True)


class Work(Protocol[_Item, _Row]):
    """What is done to items, wherever; it can be pickled and changes nothing."""

    def __call__(self, group: Sequence[_Item]) -> Sequence[_Row]:
        """Do it to some items, one after the other.

        Args:
            group: The items.

        Returns:
            What came of each, in order.
        """

    def give_up(self, item: _Item, reason: str) -> _Row:
        """What stands for an item that no worker outlived.

        Args:
            item: The item.
            reason: A clause that follows its name.

        Returns:
            What comes of it.
        """


class Engine(Protocol):
    """Runs work, on however many threads, processes or machines.

    Attributes:
        group_size: Items that are best given together, where each takes some milliseconds.
    """

    group_size: int

    def map(
        self, work: Work[Item, Row], groups: Iterable[Sequence[Item]]
    ) -> Iterator[tuple[int, Sequence[Row]]]:
        """Run work over groups of items, each of which is done by one thread.

        Args:
            work: What is done.
            groups: The items; taken a few groups ahead of the work, so that there may be any
                number of them.

        Yields:
            Number of a group, from 0, and what came of its items; in any order, as it is done.
            What `work` raises is raised.
        """


class LocalEngine:
    """Threads of this process: decoding and inference let others run."""

    group_size = 4

    def map(
        self, work: Work[Item, Row], groups: Iterable[Sequence[Item]]
    ) -> Iterator[tuple[int, Sequence[Row]]]:
        """Run work in threads, see `Engine`.

        Args:
            work: What is done.
            groups: The items.

        Yields:
            Number of a group and what came of it, in order.
        """
        yield from enumerate(in_order(work, groups, num_workers()))


def in_groups(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Cut items into groups; what is left over joins the last.

    Args:
        items: Any number of them.
        size: Items in each group but the last, which is less than twice as large; fewer items are
            one group.

    Yields:
        The groups.
    """
    remaining = iter(items)
    group = list(islice(remaining, size))
    while following := list(islice(remaining, size)):
        if len(following) < size:
            group += following
            break
        yield group
        group = following
    if group:
        yield group
