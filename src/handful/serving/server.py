"""The process that serves a classifier: its socket, its signals, its end."""

import asyncio
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threadpoolctl import threadpool_limits

from handful.config import ServeConfig
from handful.errors import HandfulError, ModelFileError, OutputError, UsageError
from handful.extras import missing_extra
from handful.models.classifier import Classifier
from handful.options import changed
from handful.run_store.store import AnyRun, RunStore
from handful.serving.addresses import invitation, open_at
from handful.serving.batching import Batcher
from handful.serving.log import json_log
from handful.serving.model_card import make_card
from handful.serving.watchdog import watchdog

if TYPE_CHECKING:
    from handful.serving.service import Service

TOKEN_VARIABLE = "HANDFUL_TOKEN"
_LEAST_TOKEN = 16
# Beyond the time to drain: what decoding has to end in, and when the process is killed instead.
_LAST_SECONDS = 0.8
_KILL_SECONDS = 1.6
_M_MMAP_THRESHOLD = -3  # of malloc.h

logger = logging.getLogger("handful.serve")


@dataclass
class _Stop:
    """How a server is stopped from another thread than its own."""

    interrupts: list[int] = field(default_factory=list)
    server: Any = None
    owns_process: bool = True

    def __call__(self) -> None:
        self.interrupts.append(signal.SIGINT)
        if self.server is not None:
            self.server.handle_exit(signal.SIGINT, None)


def serve(
    run: AnyRun,
    config: ServeConfig | None = None,
    *,
    announce: Callable[[str], None] | None = None,
    **options: Any,
) -> None:
    """Classify photos over HTTP until Ctrl-C or SIGTERM, then end what was begun.

    It is made for a process of its own, as `handful serve` is: the log goes to standard error, and
    signals are heeded. In a notebook, interrupting the cell stops it.

    Args:
        run: As for `handful.predict`; or the folder of a classifier.
        config: Where, and how much; None takes the defaults.
        announce: Called with lines on the address, once requests can be made; None prints them.
        **options: Options of `ServeConfig` by name, instead of a `config` or changing it.

    Raises:
        HandfulError: When the classifier cannot be read, the address cannot be listened at, or
            fastapi and its like are not installed.
        UsageError: For an option that is none, what is no run, or when HANDFUL_TOKEN is too short
            to be a secret.

    Example:
        ```python
        handful.serve("latest", port=8080)
        ```
    """
    config = changed(config or ServeConfig(), options, job=serve)
    folder, stop = RunStore().find(run), _Stop()
    announce = announce or partial(print, flush=True)
    if not _has_event_loop():
        _serve(folder, config, announce, stop)
        return
    # A notebook's: the server gets a loop in a thread, and signals stay the notebook's.
    stop.owns_process = False
    with ThreadPoolExecutor(1, "serve") as pool:
        served = pool.submit(_serve, folder, config, announce, stop)
        try:
            served.result()
        except KeyboardInterrupt:
            stop()
            served.result()


def _has_event_loop() -> bool:
    """Whether code is run by an event loop, in which no other can be run."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _serve(run: Path, config: ServeConfig, announce: Callable[[str], None], stop: _Stop) -> None:
    given = read_token()
    # Others reach it with a token only.
    token = given or (None if config.is_loopback else secrets.token_urlsafe(24))
    return_large_memory()
    with (
        _noting_interrupts(stop.interrupts),
        listening(config.host, config.port) as listener,
        threadpool_limits(1, user_api="blas"),
        json_log(config.quiet) as log,
        watchdog(config.drain_seconds + _KILL_SECONDS) as watch_signals,
        ThreadPoolExecutor(1, "compile") as pool,
    ):
        classifier = Classifier.load(run, config.device)
        card = make_card(classifier)
        batcher = Batcher(classifier, max_waiting=config.max_waiting)
        # The network is compiled in a thread while FastAPI is imported.
        compiled = pool.submit(batcher.warm_up)
        try:
            service = _make_service(batcher, card, config, token, run)
            _warn_of_exposure(config)
            service.shows_token = given is None
            _run_server(service, compiled, listener, config, announce, stop, watch_signals)
            ends_at = (service.told_at or 0.0) + max(1.0, config.drain_seconds) + _LAST_SECONDS
        except BaseException:
            pool.shutdown()
            batcher.close()
            raise
        if not batcher.close(max(0.2, ends_at - time.monotonic())):
            # Threads cannot be ended, and the interpreter's own end waits for them.
            logger.warning("ended in the middle of decoding")
            if stop.owns_process:
                log.stop()
                os._exit(0)
    if log.is_stuck and stop.owns_process:
        # The interpreter's own end would wait for standard error, which nobody reads.
        os._exit(0)


@contextmanager
def _noting_interrupts(came: list[int]) -> Iterator[None]:
    """Keep the first Ctrl-C or SIGTERM until the server can heed it.

    Raised within an import it may leave Python's import lock taken, and then the thread that
    compiles the network never ends.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
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
        yield
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


def _make_service(
    batcher: Batcher, card: dict[str, Any], config: ServeConfig, token: str | None, run: Path
) -> "Service":
    try:
        import handful.serving.connections  # noqa: F401 - all that is needed later, said now
        from handful.serving.corrections import find_project
        from handful.serving.guards import LOOPBACK_NAMES
        from handful.serving.service import Service
        from handful.serving.uploads import UploadLimits
    except ImportError as error:
        found = f"Serving needs {error.name}, which is not installed."
        raise missing_extra("serve", found) from error
    hosts = config.allow_host
    if config.is_loopback or hosts:
        hosts = (*hosts, *LOOPBACK_NAMES, config.host)
    limits = UploadLimits(
        body_bytes=int(config.max_body * 1e6),
        num_files=config.max_files,
        body_seconds=config.body_seconds,
        decode_seconds=config.decode_seconds,
        held_bytes=max(256_000_000, int(4e6 * config.max_body)),
    )
    return Service(
        batcher,
        card,
        limits,
        allowed_hosts=hosts,
        public_names=config.allow_host,
        root_path=config.root_path,
        token=token,
        project=find_project(run, config.corrections),
    )


def _warn_of_exposure(config: ServeConfig) -> None:
    if config.is_loopback:
        return
    names = "" if config.allow_host else " Any Host header is taken; `allow_host` restricts it."
    logger.warning(
        f"{config.host} is reached from other machines: photos can be sent with the token only, "
        f"and nothing is encrypted. Put a proxy with TLS before it, or leave `host` out.{names}"
    )


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that is bound before anything slow is done, so that a taken port is said at once.

    Args:
        host: Address of this machine.
        port: TCP port; 0 takes a free one.

    Yields:
        The socket, bound.

    Raises:
        OutputError: When it cannot be.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise OutputError(
            f"{host} is no address of this machine ({error.strerror}); give another `host`."
        ) from error
    with listener:
        try:
            if sys.platform != "win32":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError as error:
            raise OutputError(
                f"cannot listen at {host}, port {port} ({error.strerror}); choose "
                "another `port`, or 0 for a free one."
            ) from error
        yield listener


def _run_server(
    service: "Service",
    compiled: Future[None],
    listener: socket.socket,
    config: ServeConfig,
    announce: Callable[[str], None],
    stop: _Stop,
    watch_signals: Callable[[], None],
) -> None:
    from handful.serving.connections import make_server

    def on_compiled(_: Future[None]) -> None:
        if compiled.exception() is not None:
            server.should_exit = True
            return
        service.is_ready = True
        addresses = open_at(config.host, listener)
        logger.info("ready", extra={"fields": {"url": addresses[0]}})
        for line in _welcome(addresses, service, config):
            announce(line)

    def begin() -> None:
        watch_signals()
        if stop.interrupts:  # it came while the server was being made
            server.handle_exit(stop.interrupts[0], None)
        else:
            compiled.add_done_callback(on_compiled)

    stop.server = server = make_server(service, config, begin)
    server.run(sockets=[listener])
    error = compiled.exception()
    if isinstance(error, HandfulError):
        raise error
    if error is not None:
        raise ModelFileError(f"the network cannot be compiled: {error!r}") from error
    logger.info("stopped")


def _welcome(addresses: list[str], service: "Service", config: ServeConfig) -> list[str]:
    names = service.card["class_names"]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    # Behind the # no server and no log sees it. What was given is known, and stays a secret.
    with_token = [f"{one}/#token={service.token}" if service.token else one for one in addresses]
    shown = with_token if service.shows_token else addresses
    lines = [f"serving at {shown[0]} ({', '.join(names[:5])}{more}); press Ctrl-C to stop"]
    if service.project is not None:
        lines.append(f"Corrections that are made on its page wait in {service.project.folder}.")
    if not config.is_loopback and sys.stdout.isatty():
        lines += invitation(shown, with_token[0], sys.stdout.encoding).splitlines()
    return lines
