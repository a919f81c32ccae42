"""The process that serves a classifier: its socket, its signals, its log."""

import contextlib
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from threadpoolctl import threadpool_limits

from handful.config import ServeConfig
from handful.errors import HandfulError, MissingExtraError, ModelFileError, OutputError, UsageError
from handful.models.classifier import Classifier
from handful.serving.addresses import invitation, open_at
from handful.serving.batching import Batcher
from handful.serving.model_card import make_card
from handful.serving.watchdog import watchdog

if TYPE_CHECKING:
    from handful.serving.connections import Server
    from handful.serving.service import Service

TOKEN_VARIABLE = "HANDFUL_TOKEN"
_LEAST_TOKEN = 16
_KEEP_ALIVE_SECONDS = 15
# Beyond the time to drain: what decoding has to end in, and when the process is killed instead.
_LAST_SECONDS = 0.8
_KILL_SECONDS = 1.6
_LOG_LINES = 10_000
_LOG_SECONDS = 0.1
_M_MMAP_THRESHOLD = -3  # of malloc.h

logger = logging.getLogger("handful.serve")


def serve(run: Path, config: ServeConfig, announce: Callable[[str], None] | None = None) -> None:
    """Serve a classifier until SIGINT or SIGTERM, then end what was begun.

    Args:
        run: Folder of a run, or of a classifier.
        config: Where, and how much.
        announce: Called with lines on the address, once requests can be made.

    Raises:
        HandfulError: When the classifier cannot be read, the address cannot be listened at, or
            fastapi and its like are not installed.
        ValueError: When HANDFUL_TOKEN is too short to be a secret.
    """
    token = read_token()
    return_large_memory()
    with (
        _noting_interrupts() as interrupts,
        _listening(config) as listener,
        threadpool_limits(1, user_api="blas"),
        json_log(config) as log,
        watchdog(config.drain_seconds + _KILL_SECONDS) as watch_signals,
    ):
        classifier = Classifier.load(run)
        card = make_card(classifier, run)
        batcher = Batcher(classifier, max_waiting=config.max_waiting)
        # The network is compiled in a thread while FastAPI is imported.
        preparation = _Preparation(batcher)
        try:
            service = _make_service(batcher, card, config, token)
            _warn_of_exposure(config, token)
            server = _run_server(
                service, preparation, listener, config, announce, interrupts, watch_signals
            )
        except BaseException:
            preparation.thread.join()
            batcher.close()
            raise
        preparation.thread.join()
        if not batcher.close(_seconds_left(server, config)):
            # Threads cannot be ended, and the interpreter's own end waits for them.
            logger.warning("ended in the middle of decoding")
            log.stop()
            os._exit(0)
    if log.is_stuck:
        # The interpreter's own end would wait for standard error, which nobody reads.
        os._exit(0)


def _seconds_left(server: "Server", config: ServeConfig) -> float | None:
    """Time that decoding still has after the server's end; None where nobody told it to end."""
    if server.told_at is None:
        return None
    end = server.told_at + max(1.0, config.drain_seconds) + _LAST_SECONDS
    return max(0.2, end - time.monotonic())


@contextmanager
def _noting_interrupts() -> Iterator[list[int]]:
    """Keep the first Ctrl-C or SIGTERM until the server can heed it.

    Raised within an import it may leave Python's import lock taken, and then the thread that
    compiles the network never ends.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    names = (signal.SIGINT, signal.SIGTERM)
    # A signal without a handler of Python's raises nothing, and is left as it is.
    before = {name: found for name in names if callable(found := signal.getsignal(name))}

    def note(sig: int, frame: Any) -> None:
        came.append(sig)
        if len(came) > 1:
            before[signal.Signals(sig)](sig, frame)

    for name in before:
        signal.signal(name, note)
    try:
        yield came
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def return_large_memory() -> None:
    """Have glibc give large blocks back to the system as soon as they are free.

    Left alone, it keeps what the largest pictures took for ever after: 500 MB instead of 250 MB,
    measured with broken pictures of up to 100 megapixels. Elsewhere nothing is done.
    """
    if sys.platform != "linux":
        return
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 20)


def read_token() -> str | None:
    """Token that clients must send.

    Returns:
        The environment variable HANDFUL_TOKEN, or None where it is unset or empty.

    Raises:
        ValueError: When it is too short to be a secret.
    """
    token = os.environ.get(TOKEN_VARIABLE)
    if not token:
        return None
    if len(token) < _LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(
            f"{TOKEN_VARIABLE} has {len(token)} characters; expected {_LEAST_TOKEN} or more, "
            "letters, digits and signs without spaces. Make one with: "
            "python3 -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    return token


class _Preparation:
    """A batcher being warmed up in a thread; `error` is why that failed."""

    def __init__(self, batcher: Batcher) -> None:
        self.batcher = batcher
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name="compile")
        self.thread.start()

    def _run(self) -> None:
        try:
            self.batcher.warm_up()
        except BaseException as error:  # raised again by the main thread
            self.error = error


def _make_service(
    batcher: Batcher, card: dict[str, Any], config: ServeConfig, token: str | None
) -> "Service":
    try:
        import_module(
            "handful.serving.application"
        )  # all that is needed later, so that it is said now
        from handful.serving.guards import LOOPBACK_NAMES
        from handful.serving.service import Service
        from handful.serving.uploads import UploadLimits
    except ImportError as error:
        raise MissingExtraError(
            f"serving needs {error.name}, which is not installed; "
            "in handful's folder, python -m pip install -e '.[serve]' installs all it needs."
        ) from error
    hosts = config.allowed_hosts
    if config.is_loopback or hosts:
        hosts = (*hosts, *LOOPBACK_NAMES, config.host)
    limits = UploadLimits(
        body_bytes=int(config.max_body_megabytes * 1e6),
        num_files=config.max_files,
        body_seconds=config.body_seconds,
        decode_seconds=config.decode_seconds,
        held_bytes=max(256_000_000, int(4e6 * config.max_body_megabytes)),
    )
    service = Service(
        batcher,
        card,
        limits,
        allowed_hosts=hosts,
        public_names=config.allowed_hosts,
        root_path=config.root_path,
        token=token,
    )
    batcher.on_batch = service.metrics.batch_size.observe
    return service


def _warn_of_exposure(config: ServeConfig, token: str | None) -> None:
    if config.is_loopback:
        return
    who = f"only with the {TOKEN_VARIABLE}" if token else "by anyone, without a token"
    names = (
        ""
        if config.allowed_hosts
        else (" Any Host header is taken; --allow-host NAME restricts it.")
    )
    logger.warning(
        f"{config.host} is reached from other machines: photos can be sent {who}, and nothing "
        f"is encrypted. Put a proxy with TLS before it, or leave --host out.{names}"
    )


@contextmanager
def _listening(config: ServeConfig) -> Iterator[socket.socket]:
    """A socket that is bound before anything slow is done, so that a taken port is said at once."""
    try:
        found = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise OutputError(
            f"{config.host} is no address of this machine ({error.strerror}); give another `host`."
        ) from error
    with listener:
        try:
            if sys.platform != "win32":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError as error:
            raise OutputError(
                f"cannot listen at {config.host}, port {config.port} ({error.strerror}); choose "
                "another `port`, or 0 for a free one."
            ) from error
        yield listener


def _run_server(
    service: "Service",
    preparation: _Preparation,
    listener: socket.socket,
    config: ServeConfig,
    announce: Callable[[str], None] | None,
    interrupts: Sequence[int],
    watch_signals: Callable[[], None],
) -> "Server":
    addresses = open_at(config.host, listener)
    url = addresses[0]

    def wait_until_ready() -> None:
        preparation.thread.join()
        if preparation.error is not None:
            server.should_exit = True
            return
        service.is_ready = True
        logger.info("ready", extra={"facts": {"url": url}})
        if announce is not None:
            announce(f"{url} names photos as {_some(service.card['class_names'])}; Ctrl-C stops it")
            if not config.is_loopback and sys.stdout.isatty():
                for line in invitation(addresses, sys.stdout.encoding).splitlines():
                    announce(line)

    def begin() -> None:
        watch_signals()
        if interrupts:  # it came while the server was being made
            server.handle_exit(interrupts[0], None)
        else:
            threading.Thread(target=wait_until_ready).start()

    server = make_server(service, config, begin)
    server.run(sockets=[listener])
    error = preparation.error
    if isinstance(error, HandfulError):
        raise error
    if error is not None:
        raise ModelFileError(f"the network cannot be compiled: {error!r}") from error
    logger.info("stopped")
    return server


def _some(names: Sequence[str]) -> str:
    more = len(names) - 5
    return ", ".join(names[:5]) + (f" and {more} more" if more > 0 else "")


def make_server(
    service: "Service", config: ServeConfig, on_started: Callable[[], None] | None = None
) -> "Server":
    """Make the HTTP server around a service, without starting it.

    Args:
        service: What it serves.
        config: Its limits in time.
        on_started: Called once connections are taken.

    Returns:
        uvicorn's server; `run(sockets=[...])` starts it.
    """
    import uvicorn

    from handful.serving.application import create_app
    from handful.serving.connections import GuardedProtocol, Server, raise_file_limit

    raise_file_limit(GuardedProtocol.max_connections + 200)
    # One for each server, so that its limits can be set without setting those of others.
    protocol = type("Protocol", (GuardedProtocol,), {})
    return Server(
        uvicorn.Config(
            create_app(service),
            http=protocol,
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
        ),
        service,
        on_started,
    )


@contextmanager
def json_log(config: ServeConfig) -> Iterator["LogWriter"]:
    """Write the log as JSON lines on standard error, for as long as the block lasts.

    A thread writes them: a reader of standard error that stands still does not make the server
    stand still; lines that find no room are counted and dropped.

    Args:
        config: Whether requests are logged.

    Yields:
        What writes it.
    """
    writer = LogWriter(sys.stderr)
    root = logging.getLogger()
    before = root.handlers[:], root.level, logger.level
    root.handlers[:] = [writer]
    root.setLevel(logging.WARNING)
    logger.setLevel(logging.WARNING if config.quiet else logging.INFO)
    logging.captureWarnings(True)
    # Each malformed form is a problem to its sender, and logged as a request already.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    writer.start()
    try:
        yield writer
    finally:
        writer.stop()
        logging.captureWarnings(False)
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        logger.setLevel(before[2])


class LogWriter(logging.Handler):
    """Writes records out from a thread of its own, a few times a second, many at once.

    Args:
        stream: Where lines go.
        most: Lines that may wait for the stream; more are counted and dropped.
    """

    def __init__(self, stream: TextIO, most: int = _LOG_LINES) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self._stream, self._most = stream, most
        # Appending takes no lock that a signal's handler could find taken.
        self._records: deque[logging.LogRecord] = deque()
        self._num_dropped = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record, or drop it; never wait.

        Args:
            record: What is logged.
        """
        if len(self._records) < self._most:
            self._records.append(record)
        else:
            self._num_dropped += 1

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is left, for a second at most: nobody may be reading."""
        self._ended.set()
        self._thread.join(1.0)

    @property
    def is_stuck(self) -> bool:
        """Whether it still waits for its stream, though it was stopped."""
        return self._ended.is_set() and self._thread.is_alive()

    def _run(self) -> None:
        while not self._ended.wait(_LOG_SECONDS):
            self.write_out()
        self.write_out()

    def write_out(self) -> None:
        """Write all that is kept."""
        lines = []
        while self._records:
            record = self._records.popleft()
            record.dropped, self._num_dropped = self._num_dropped, 0
            lines.append(self._line(record) + "\n")
        if lines:
            with contextlib.suppress(OSError, ValueError):  # the reader has gone
                self._stream.write("".join(lines))
                self._stream.flush()

    def _line(self, record: logging.LogRecord) -> str:
        try:
            return self.format(record)
        except Exception as error:  # one record must not end the thread that writes all
            facts = {"place": f"{record.pathname}:{record.lineno}", "error": type(error).__name__}
            values = {"msg": "unwritable record", "args": (), "exc_info": None, "facts": facts}
            return self.format(logging.makeLogRecord({**record.__dict__, **values}))


class JsonFormatter(logging.Formatter):
    """One JSON object a line, in ASCII, so that nothing in it can pass for another line."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record out.

        Args:
            record: Its message is the event; `facts` are added to it.

        Returns:
            One line.
        """
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.name != logger.name:
            entry["from"] = record.name
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        if getattr(record, "dropped", 0):
            entry["dropped_lines"] = record.dropped  # type: ignore[attr-defined]
        return json.dumps(entry)
