"""uvicorn, held to limits: what a connection may do before it is a request, and how serving ends.

uvicorn waits for a request's head as long as the client likes, takes heads and trailers of any
size, trailers among the headers, and messages that a proxy may have understood otherwise. None of
its settings bounds these; with h11 in place of httptools the head is bounded, but folded headers
and lone line ends are taken.
"""

import contextlib
import logging
import re
import signal
import socket
from asyncio import TimerHandle
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from handful.config import ServeConfig
from handful.serving.application import create_app
from handful.serving.problems import MEDIA_TYPE, Problem
from handful.serving.service import Service

_KEEP_ALIVE_SECONDS = 15
_LINGER_SECONDS = 1.0
# So many bytes of frames and trailers a chunked body may have for each of its own.
_FRAMING = 8
# Headers of which a proxy may have gone by the first and this server by the last.
_SINGLE = frozenset(
    b"host content-length content-type transfer-encoding origin authorization expect "
    b"sec-fetch-site x-forwarded-host x-forwarded-prefix".split()
)
_HOST = re.compile(rb"([A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?")

logger = logging.getLogger("handful.serve")


def make_server(
    service: Service, config: ServeConfig, on_started: Callable[[], None] | None = None
) -> uvicorn.Server:
    """Make the HTTP server around a service, without starting it.

    Args:
        service: What it serves; told when it ends.
        config: Its limits in time.
        on_started: Called once connections are taken.

    Returns:
        A server that ends with success when it was told to; `run(sockets=[...])` starts it.
    """
    raise_file_limit(_Protocol.max_connections + 200)
    settings = uvicorn.Config(
        create_app(service),
        # One for each server, so that its limits can be set without setting those of others.
        http=type("Protocol", (_Protocol,), {}),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        # uvicorn takes whole seconds.
        timeout_graceful_shutdown=max(1, round(config.drain_seconds)),
    )
    return _Server(settings, service, on_started)


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


class _Server(uvicorn.Server):
    """uvicorn's, which tells the service of its beginning and end."""

    def __init__(
        self, config: uvicorn.Config, service: Service, on_started: Callable[[], None] | None
    ) -> None:
        super().__init__(config)
        self.service = service
        self.on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.on_started is not None:
            self.on_started()

    def handle_exit(self, sig: int, frame: Any) -> None:
        # Nothing is logged here: the signal may have come while the log's lock was held. uvicorn's
        # own would have the signal raised again after the end.
        self.service.stop()
        self.force_exit |= self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.service.stop()
        fields = {"connections": len(self.server_state.connections)}
        logger.info("stopping", extra={"fields": fields})
        await super().shutdown(sockets)


class _Protocol(HttpToolsProtocol):
    """uvicorn's HTTP, with limits on a request's head and framing and on connections."""

    head_seconds = 10.0
    head_bytes = 65_536
    max_headers = 100
    max_pipelined = 16  # requests that wait for the answer to an earlier one
    write_seconds = 30.0
    max_connections = 2000

    _timer: TimerHandle | None = None
    _write_timer: TimerHandle | None = None
    _answered: Any = None  # the request that is being answered
    _reads_head = True
    _num_bytes = 0  # that came for this message,
    _num_body_bytes = 0  # and those of them that are its body
    _fault: Problem | None = None
    _postponed: Problem | None = None
    _is_refused = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            self.connections.discard(self)
            transport.abort()
            return
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        if self._write_timer is not None:
            self._write_timer.cancel()
        if self._answered is not None and not self._answered.response_complete:
            # uvicorn tells the request that came last; this one may be before it.
            self._answered.disconnected = True
            self._answered.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.parser is None or self.transport.is_closing():
            return
        if self._is_refused or self._postponed is not None:
            return
        if self._is_idle and self._timer is None:
            # uvicorn stops its own timer now, and a line break alone begins no head.
            self._start_timer()
        self._num_bytes += len(data)
        super().data_received(data)
        others = self._num_bytes - self._num_body_bytes
        if others > self.head_bytes + _FRAMING * self._num_body_bytes:
            if self._reads_head:
                self._refuse(self._too_large_a_head)
            else:
                detail = f"{others:,} bytes of the body are chunks' frames or trailers."
                self._refuse(Problem("too-large", detail))

    def on_message_begin(self) -> None:
        self._reads_head = True
        self._start_timer()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reads_head:  # a trailer is dropped, for it must not pass for a header
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._reads_head = False
        self._stop_timer()
        if len(self.url) + sum(len(n) + len(v) + 4 for n, v in self.headers) > self.head_bytes:
            self._fail(self._too_large_a_head)
        if len(self.headers) > self.max_headers:
            detail = f"the head has more than {self.max_headers} headers."
            self._fail(Problem("head-too-large", detail))
        reason = _why_ambiguous(self.parser.get_http_version(), self.url, self.headers)
        wants_other = self.parser.should_upgrade()
        has_body = {name for name, _ in self.headers} & {b"content-length", b"transfer-encoding"}
        if wants_other and has_body:  # the parser takes the body for that protocol's
            reason = "the request asks for another protocol (Upgrade), and has a body"
        if len(self.pipeline) >= self.max_pipelined:
            reason = f"more than {self.max_pipelined} requests came before their answers"
        if reason:
            self._fail(Problem("bad-request", f"{reason}."))
        super().on_headers_complete()
        if wants_other:  # nothing behind such a request is understood any more
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._num_body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._reads_head = True
        self._num_bytes = self._num_body_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._postponed is not None and self._is_idle:
            self._write(self._postponed)

    def pause_writing(self) -> None:
        """The client does not read its answers; it has so long to begin."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(self.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, or what `_fail` stopped the parser for."""
        self._refuse(self._fault or Problem("bad-request", f"{msg} Expected HTTP/1.1."))

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    def _unsupported_upgrade_warning(self) -> None:
        """Ignore the wish for another protocol, as HTTP allows; each would be two lines of log."""

    @property
    def _too_large_a_head(self) -> Problem:
        detail = f"the head has more than {self.head_bytes} bytes; shorten it."
        return Problem("head-too-large", detail)

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _fail(self, problem: Problem) -> NoReturn:
        """Stop the parser, which ends in `send_400_response`."""
        self._fault = problem
        raise problem

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
            self._refuse(Problem("too-slow", f"no whole head came in {self.head_seconds:g} s."))
        else:  # the answer to an earlier request comes first
            self._start_timer()

    def _refuse(self, problem: Problem) -> None:
        if self._is_idle or (self.cycle.more_body and not self.cycle.response_started):
            self._write(problem)
        elif self.cycle.response_started:  # to the same request: it is refused already
            self.transport.close()
        else:  # the answers to earlier requests, which came whole, are sent first
            self._postponed = problem

    def _write(self, problem: Problem) -> None:
        """Answer, and take and drop what still comes: closed at once, the answer would be lost."""
        if self.transport.is_closing() or self._is_refused:
            return
        self._is_refused = True
        self._stop_timer()
        self._unset_keepalive_if_required()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        body = problem.body()
        head = (
            f"HTTP/1.1 {problem.status} {problem.title}\r\ncontent-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)


def _why_ambiguous(
    version: str, address: bytes, headers: Sequence[tuple[bytes, bytes]]
) -> str | None:
    """What two programs on the way may understand differently in a head; or None.

    What the parser refuses by itself (several lengths, a length beside chunks, folded lines, lone
    line ends, control characters) is not looked for.

    Source:
        RFC 9112, 3.2, 6.1 and 6.3; RFC 9110, 5.3.
    """
    if version not in ("1.0", "1.1"):
        return f"the request is HTTP/{version}; expected HTTP/1.1"
    counts = Counter(name for name, _ in headers)
    twice = next((name for name in counts if name in _SINGLE and counts[name] > 1), None)
    if twice is not None:
        return f"the header {twice.decode('latin-1')} came {counts[twice]} times; expected it once"
    values = dict(headers)
    host = values.get(b"host")
    if host is None and version == "1.1":
        return "the header host is missing"
    if host is not None and not _HOST.fullmatch(host):
        return "the header host is no name with or without a port"
    if b"transfer-encoding" in values:
        if version == "1.0":
            return "chunks came in HTTP/1.0, which has none"
        if values[b"transfer-encoding"].strip().lower() != b"chunked":
            return "the header transfer-encoding is not chunked alone"
    if not address.startswith((b"/", b"*")):
        _, _, rest = address.partition(b"://")
        if rest.partition(b"/")[0].lower() != (host or b"").lower():
            return "the address names another host than the header host"
    return None
