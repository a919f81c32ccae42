"""A compiled network that any number of threads ask, and that a forked process compiles anew."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from handful.forks import never_end, start_anew_in_children


class CompiledNetwork:
    """OpenVINO's network, compiled at first use.

    Requests are made, and the first inference too, by one thread at a time: OpenVINO's Python side
    sets itself up then; two threads doing so each wait for a lock that the other holds.

    Args:
        compile_network: Compiles it.
        warm_up: Called with the first request.
    """

    def __init__(
        self, compile_network: Callable[[], Any], warm_up: Callable[[Any], None] | None = None
    ) -> None:
        self._compile, self._warm_up = compile_network, warm_up
        self._opened = _Opened()
        start_anew_in_children(self)

    @contextmanager
    def request(self) -> Iterator[Any]:
        """An inference request that no other thread uses within the block.

        Yields:
            OpenVINO's request.
        """
        opened = self._opened
        try:
            request = opened.idle.pop()
        except IndexError:
            request = self._make(opened)
        try:
            yield request
        finally:
            opened.idle.append(request)

    def start_anew(self) -> None:
        """Leave the parent's network alone: its threads are not in this process."""
        never_end(self._opened)
        self._opened = _Opened()

    def _make(self, opened: "_Opened") -> Any:
        with opened.lock:
            is_first = opened.compiled is None
            if is_first:
                opened.compiled = self._compile()
            request = opened.compiled.create_infer_request()
            opened.requests.append(request)
            if is_first and self._warm_up is not None:
                self._warm_up(request)
        return request


class _Opened:
    """What belongs to one process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.compiled: Any = None
        self.requests: list[Any] = []  # all of them, so that a fork ends none
        self.idle: list[Any] = []
