"""How many processor cores there are to work with, and work that all of them do."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice, pairwise
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def available_cores() -> int:
    """Processor cores this process may use.

    Returns:
        1 or more; fewer than the machine has under `taskset`, or where the environment variable
        `HANDFUL_CORES` says so: a container's share of a processor is not told otherwise.
    """
    given = os.environ.get("HANDFUL_CORES", "")
    if given.isdecimal() and int(given):
        return int(given)
    return _allowed_cores()


def is_share() -> bool:
    """Whether the available cores are any of those there are, which others use too."""
    return available_cores() < _allowed_cores()


def _allowed_cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def num_workers() -> int:
    """Threads that decode and wait for a network: two a core keep every core busy."""
    return 2 * available_cores()


def in_order(
    work: Callable[[_Item], _Result], items: Iterable[_Item], num_threads: int | None = None
) -> Iterator[_Result]:
    """Do work in threads, and a little ahead: few results wait to be taken.

    Args:
        work: From an item to its result.
        items: Any number.
        num_threads: Threads; None takes one a core.

    Yields:
        The results, in the order of the items.
    """
    num_threads = num_threads or available_cores()
    left, ahead = iter(items), 2 * num_threads
    pending: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(num_threads, thread_name_prefix="work") as pool:
        try:
            while True:
                pending += [pool.submit(work, item) for item in islice(left, ahead - len(pending))]
                if not pending:
                    return
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def stretches(count: int, number: int, unit: int = 1) -> list[slice]:
    """Divide rows into stretches of about one length.

    Args:
        count: Rows.
        number: Stretches.
        unit: All but the last are multiples of so many rows.

    Returns:
        A slice for each.
    """
    ends = [count * part // number // unit * unit for part in range(number)] + [count]
    return [slice(start, end) for start, end in pairwise(ends)]


class Parts:
    """Threads that share a computation, each a stretch of its rows, one stretch here.

    Args:
        number: Stretches.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._pool = ThreadPoolExecutor(number - 1, "fit") if number > 1 else None

    def run(self, compute: Callable[[slice], None], count: int, unit: int = 1) -> None:
        """Compute all rows.

        Args:
            compute: Computes those of a slice.
            count: How many there are.
            unit: As in `stretches`.
        """
        *others, own = stretches(count, self.number, unit)
        given = [self._pool.submit(compute, rows) for rows in others] if self._pool else []
        compute(own)
        for part in given:
            part.result()

    def __enter__(self) -> "Parts":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()
