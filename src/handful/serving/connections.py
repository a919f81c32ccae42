"""uvicorn, held to limits: what a connection may do before it is a request, and how serving ends.

uvicorn waits for a request's head as long as the client likes, and takes a head of any size.
"""

import asyncio
import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from handful.serving.problems import KINDS, MEDIA_TYPE, Problem
from handful.serving.service import Service

logger = logging.getLogger("handful.serve")


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, with limits on a request's head and on the number of connections."""

    head_seconds = 10.0
    head_bytes = 65_536
    max_connections = 2000

    _timer: asyncio.TimerHandle | None = None
    _reads_head = True
    _num_head_bytes = 0
    _has_other_bytes = False
    _postponed: Problem | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for a head.

        Args:
            transport: The connection.
        """
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            self.connections.discard(self)
            transport.abort()
            return
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more.

        Args:
            exc: Why it was lost.
        """
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes, of which a head may have so many.

        Args:
            data: What came.
        """
        if self.parser is None or self.transport.is_closing() or self._postponed is not None:
            return
        if self._is_idle and self._timer is None:
            # uvicorn stops its own timer now, and a line break alone begins no head.
            self._start_timer()
        self._has_other_bytes = not self._reads_head
        super().data_received(data)
        # How much of a piece is head is known only where nothing else is in it.
        self._num_head_bytes = 0 if self._has_other_bytes else self._num_head_bytes + len(data)
        if self._num_head_bytes > self.head_bytes:
            self._refuse(
                "head-too-large", f"the head has more than {self.head_bytes} bytes; shorten it."
            )

    def on_message_begin(self) -> None:
        """A head begins."""
        self._reads_head = True
        self._start_timer()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head is whole."""
        self._reads_head = False
        self._has_other_bytes = True
        self._stop_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """A request is whole; what follows is the next one's head."""
        self._reads_head = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """A request is answered; now what came behind it may be refused."""
        super().on_response_complete()
        if self._postponed is not None and self._is_idle:
            self._write(self._postponed)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP.

        Args:
            msg: What is wrong.
        """
        self._refuse("bad-request", f"{msg} Expected HTTP/1.1.")

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _start_timer(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(self.head_seconds, self._on_time)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_time(self) -> None:
        if self.transport.is_closing():
            return
        if self._is_idle:
            self._refuse("too-slow", f"no whole head came in {self.head_seconds:g} s.")
        else:  # the answer to an earlier request comes first
            self._start_timer()

    def _refuse(self, kind: str, detail: str) -> None:
        problem = Problem(kind, detail)
        if self._is_idle or self.cycle.more_body:
            self._write(problem)
        else:  # the answers to earlier requests, which came whole, are sent first
            self._postponed = problem

    def _write(self, problem: Problem) -> None:
        if self.transport.is_closing():
            return
        status, title = KINDS[problem.kind]
        body = problem.body()
        head = (
            f"HTTP/1.1 {status} {title}\r\ncontent-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


class Server(uvicorn.Server):
    """uvicorn's, which ends with success when it was told to end.

    Args:
        config: uvicorn's.
        service: Told when it ends.
        on_started: Called once connections are taken; or None.
    """

    def __init__(
        self, config: uvicorn.Config, service: Service, on_started: Callable[[], None] | None
    ) -> None:
        super().__init__(config)
        self.service = service
        self.on_started = on_started

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take signals for as long as the block lasts, and do not raise them again after it.

        Yields:
            Nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        names = (signal.SIGINT, signal.SIGTERM)
        before = {name: signal.signal(name, self.handle_exit) for name in names}
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to take connections.

        Args:
            sockets: Where.
        """
        await super().startup(sockets)
        if self.on_started is not None:
            self.on_started()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Begin to stop.

        Args:
            sig: The signal that came.
            frame: What it interrupted.
        """
        # Nothing is logged here: the signal may have come while the log's lock was held.
        self.service.is_stopping = True
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what is under way, and close.

        Args:
            sockets: Where connections were taken.
        """
        self.service.is_stopping = True
        facts = {"connections": len(self.server_state.connections)}
        logger.info("stopping", extra={"facts": facts})
        await super().shutdown(sockets)


def raise_file_limit(wanted: int) -> None:
    """Let the process have more open connections, as far as the system allows.

    Args:
        wanted: Open files.
    """
    try:
        import resource
    except ImportError:  # not on Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
