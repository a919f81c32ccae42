"""What a connection may do before it is a request: nothing for long, and nothing large.

uvicorn waits for a request's head as long as the client likes, and takes a head of any size.
"""

import asyncio
import contextlib
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from handful.serving.problems import KINDS, MEDIA_TYPE, Problem


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, with limits on a request's head and on the number of connections."""

    head_seconds = 10.0
    head_bytes = 65_536
    max_connections = 2000

    _timer: asyncio.TimerHandle | None = None
    _reads_head = True
    _num_head_bytes = 0

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
        if self.parser is None or self.transport.is_closing():
            return
        if self._is_idle and self._timer is None:
            # uvicorn stops its own timer now, and a line break alone begins no head.
            self._start_timer()
        super().data_received(data)
        if not self._reads_head:
            self._num_head_bytes = 0
            return
        self._num_head_bytes += len(data)
        if self._num_head_bytes > self.head_bytes and not self.transport.is_closing():
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
        self._stop_timer()
        super().on_headers_complete()

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
        status, title = KINDS[kind]
        body = Problem(kind, detail).body()
        head = (
            f"HTTP/1.1 {status} {title}\r\ncontent-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


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
