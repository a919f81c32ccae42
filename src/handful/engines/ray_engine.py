"""An engine of processes, on this machine or on many, by Ray; no other module knows of Ray.

Each worker is an actor of one core. A worker that is lost is replaced, and what it had in hand is
done again. Groups that were in hand when a worker was lost are done alone from then on, and by
halves, until the photo that no worker outlives is found: it is given up, with a reason.
"""

import importlib
import importlib.metadata
import logging
import os
import secrets
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, Generic

from handful.cores import available_cores
from handful.engines.engine import Item, Row, Work
from handful.environment import default_variables, own_environment
from handful.errors import HandfulError, UsageError
from handful.extras import require

_NAME = "Engine `ray`"
# Groups that a worker has at once: its threads' and one that waits for each.
_IN_HAND = 4
_TRIES = 2
_FAILED_STARTS = 3
_START_SECONDS = 120.0
_CONNECT_SECONDS = 10.0
# Versions that decide the bits of an embedding.
_SAME = ("handful", "openvino", "opencv-python-headless", "simplejpeg", "numpy")
# What workers are told of this process's environment; secrets are each machine's own.
_TOLD = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION")
# A cluster of this machine's own: nothing is sent anywhere, and nobody else gets in.
_QUIET = {
    # Workers are as important as the threads that they stand for.
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # What is raised is raised; of calls that nobody waits for any more, none is.
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Ray asks for one where it starts, would keep it in the user's home, and remembers the first.
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}
# What Ray sets when it starts, and leaves.
_LEFT = ("RAY_AUTH_MODE",)

_logger = logging.getLogger("handful")


class RayEngine:
    """Processes by Ray: those of the cluster that `RAY_ADDRESS` names, or of this machine.

    Ray is started, or joined, with the first work, and left with `close`.

    Args:
        num_workers: Processes; None takes one for each core that Ray has.

    Raises:
        MissingExtraError: When Ray is not installed.
        UsageError: When the number is none.
    """

    group_size = 16

    def __init__(self, num_workers: int | None = None) -> None:
        if num_workers is not None and num_workers < 1:
            raise UsageError(f"`num_workers` is {num_workers}; expected 1 or more.")
        require("ray", _NAME, "ray")
        self.num_workers = num_workers
        self._stack = ExitStack()
        self._crew: _Crew | None = None

    def __enter__(self) -> "RayEngine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers, and Ray where this started it."""
        self._crew = None
        self._stack.close()

    def map(
        self, work: Work[Item, Row], groups: Iterable[Sequence[Item]]
    ) -> Iterator[tuple[int, Sequence[Row]]]:
        """Run work in processes, see `Engine`.

        Args:
            work: What is done.
            groups: The items.

        Yields:
            Number of a group and what came of it, as it is done.

        Raises:
            HandfulError: When no worker can be started, or the cluster is gone.
        """
        jobs = deque[_Job[Item, Row]]()
        numbered = enumerate(groups)
        first = next(numbered, None)
        if first is None:
            return  # nothing to do starts nothing
        jobs.append(_Job(*first))
        if self._crew is None:
            self._crew = self._start()
        mapping = _Mapping(self._crew, work, numbered, jobs)
        try:
            yield from mapping.run()
        finally:
            mapping.stop()

    def _start(self) -> "_Crew":
        import ray

        address = os.environ.get("RAY_ADDRESS", "")
        if not ray.is_initialized():
            logging.getLogger("ray").setLevel(logging.ERROR)
            try:
                self._join(address) if address else self._start_here()
            except Exception as error:  # Ray raises plain ones too, as where a node does not start
                self._stack.close()
                what = f"join the cluster of RAY_ADDRESS, {address}" if address else "start Ray"
                why = _one_line(error).removesuffix(".")
                raise HandfulError(f"{_NAME} cannot {what}: {why}.") from error
            self._stack.callback(ray.shutdown)
        number = self.num_workers or int(ray.cluster_resources().get("CPU", 0))
        crew = _Crew(max(1, number))
        self._stack.callback(crew.end)
        return crew

    def _join(self, address: str) -> None:
        import ray

        host, _, port = address.rpartition(":")
        if port.isdecimal() and "/" not in host:
            # Ray itself would wait for minutes.
            socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)

    def _start_here(self) -> None:
        """Start Ray for this process alone: at the loopback, behind a token of its own."""
        import ray
        from ray._private import ray_constants

        self._stack.callback(_forget_token)
        self._stack.enter_context(default_variables(**_QUIET))
        before = {name: os.environ.get(name) for name in _LEFT}
        self._stack.callback(_restore, before)
        # As Ray does on macOS and Windows: all its ports are the loopback's.
        listens_to_all = ray_constants.ENABLE_RAY_CLUSTER
        ray_constants.ENABLE_RAY_CLUSTER = False
        try:
            ray.init(
                address="local",
                num_cpus=max(self.num_workers or 0, available_cores()),
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=False,
                logging_level=logging.ERROR,
                object_store_memory=256 * 2**20,
            )
        finally:
            ray_constants.ENABLE_RAY_CLUSTER = listens_to_all


@dataclass
class _Job(Generic[Item, Row]):
    """Some items of a group that are to be done.

    Args:
        number: The group's.
        items: They.
        first: Place of the first of them in the group.
        tries: Workers that were lost while it alone was in their hands.
    """

    number: int
    items: Sequence[Item]
    first: int = 0
    tries: int = 0

    def halves(self) -> "list[_Job[Item, Row]]":
        """Its items as two jobs, to find out which of them it is."""
        middle = len(self.items) // 2
        return [
            _Job(self.number, self.items[:middle], self.first),
            _Job(self.number, self.items[middle:], self.first + middle),
        ]


@dataclass
class _Member:
    """A worker, as the driver knows it.

    Args:
        actor: Ray's handle.
        in_hand: Calls that it has not answered.
        is_reserved: Whether it has a suspect in hand, and takes nothing else.
    """

    actor: Any
    in_hand: int = 0
    is_reserved: bool = False


class _Crew:
    """The workers there are, and those that are starting."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.ready: list[_Member] = []
        self.starting: dict[Any, _Member] = {}
        self.failed_starts = 0
        self.num_works = 0
        for _ in range(number):
            self.hire()

    def hire(self) -> None:
        """Start a worker, where there is room."""
        import ray

        told = {name: os.environ[name] for name in _TOLD if name in os.environ}
        actor = (
            ray.remote(_Worker)
            .options(num_cpus=1, max_concurrency=_IN_HAND, max_restarts=0)
            .remote(os.getcwd(), told, sys.path)
        )
        self.starting[actor.versions.remote(_SAME)] = _Member(actor)

    def lose(self, member: _Member) -> None:
        """Give up a worker and start another."""
        import ray

        if member in self.ready:
            self.ready.remove(member)
            with suppress(Exception):
                ray.kill(member.actor)
            self.hire()

    def welcome(self, call: Any) -> None:
        """Take a worker that has started, or start another."""
        import ray

        member = self.starting.pop(call)
        try:
            found = ray.get(call)
        except ray.exceptions.RayError as error:
            self.failed_starts += 1
            if self.failed_starts >= _FAILED_STARTS:
                raise HandfulError(
                    f"{_NAME}: a worker cannot be started ({_one_line(error)})."
                ) from error
            self.hire()
            return
        own = _versions(_SAME)
        other = [
            f"{name} {found[name]}, here {own[name]}" for name in own if found[name] != own[name]
        ]
        if other:
            raise HandfulError(
                f"{_NAME}: a worker has {'; '.join(other)}. Install the same versions everywhere, "
                "or vectors differ in their last bits."
            )
        self.failed_starts = 0
        self.ready.append(member)

    def end(self) -> None:
        """End all workers."""
        import ray

        if ray.is_initialized():
            for member in [*self.ready, *self.starting.values()]:
                with suppress(Exception):
                    ray.kill(member.actor)
        self.ready, self.starting = [], {}


class _Mapping(Generic[Item, Row]):
    """Work on its way through a crew."""

    def __init__(
        self,
        crew: _Crew,
        work: Work[Item, Row],
        coming: Iterator[tuple[int, Sequence[Item]]],
        jobs: "deque[_Job[Item, Row]]",
    ) -> None:
        import ray

        self.crew, self.work, self.coming = crew, work, coming
        self.waiting = jobs
        self.suspects: deque[_Job[Item, Row]] = deque()
        self.calls: dict[Any, tuple[_Member, _Job[Item, Row]]] = {}
        # What came of parts of groups, by the group's number and the part's place in it.
        self.pieces: dict[int, dict[int, Sequence[Row]]] = {}
        self.sizes: dict[int, int] = {}
        crew.num_works += 1
        self.key = crew.num_works
        self.sent = ray.put(work)

    def run(self) -> Iterator[tuple[int, Sequence[Row]]]:
        """Give out and take in, until all is done."""
        import ray

        patience = time.monotonic() + _START_SECONDS
        while self._give_out():
            if self.crew.ready:
                patience = time.monotonic() + _START_SECONDS
            elif time.monotonic() > patience:
                raise HandfulError(
                    f"{_NAME}: no worker has started in {_START_SECONDS:.0f} s; the cluster has no "
                    "free cores."
                )
            done, _ = ray.wait([*self.calls, *self.crew.starting], timeout=1.0)
            for call in done:
                if call in self.crew.starting:
                    self.crew.welcome(call)
                else:
                    yield from self._take_in(call)

    def stop(self) -> None:
        """Leave nothing running that nobody waits for."""
        for member, _ in self.calls.values():
            self.crew.lose(member)
        self.calls = {}

    def _give_out(self) -> bool:
        """Give free workers what there is to do; whether anything is left."""
        for member in sorted(self.crew.ready, key=lambda member: member.in_hand):
            if self.suspects and not member.in_hand:
                member.is_reserved = True
                self._give(member, self.suspects.popleft())
            while not member.is_reserved and member.in_hand < _IN_HAND:
                if not self.waiting and (group := next(self.coming, None)):
                    self.waiting.append(_Job(*group))
                if not self.waiting:
                    break
                self._give(member, self.waiting.popleft())
        return bool(self.calls or self.waiting or self.suspects)

    def _give(self, member: _Member, job: "_Job[Item, Row]") -> None:
        if job.number not in self.sizes:
            self.sizes[job.number] = len(job.items)
        member.in_hand += 1
        # In a list it stays a reference: a worker asks for the work once, not with every call.
        call = member.actor.do.remote(self.key, [self.sent], job.items)
        self.calls[call] = member, job

    def _take_in(self, call: Any) -> Iterator[tuple[int, Sequence[Row]]]:
        """A group, where all of it is done now."""
        import ray

        member, job = self.calls.pop(call)
        was_reserved, member.is_reserved = member.is_reserved, False
        member.in_hand -= 1
        try:
            rows = ray.get(call)
        except ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, HandfulError) else error from None
        except ray.exceptions.RayError as error:
            self.crew.lose(member)
            yield from self._suspect(job, was_reserved, error)
        else:
            yield from self._keep(job, rows)

    def _suspect(
        self, job: "_Job[Item, Row]", was_alone: bool, error: Exception
    ) -> Iterator[tuple[int, Sequence[Row]]]:
        """Try again what a worker was lost with; alone, for others may have been the reason."""
        _logger.warning("A worker was lost and is replaced: %s", _one_line(error))
        job.tries += was_alone
        if was_alone and len(job.items) > 1:
            self.suspects.extend(job.halves())
        elif job.tries < _TRIES:
            self.suspects.append(job)
        else:
            reason = f"ended {_TRIES} processes that had nothing else in hand"
            yield from self._keep(job, [self.work.give_up(job.items[0], reason)])

    def _keep(
        self, job: "_Job[Item, Row]", rows: Sequence[Row]
    ) -> Iterator[tuple[int, Sequence[Row]]]:
        pieces = self.pieces.setdefault(job.number, {})
        pieces[job.first] = rows
        if sum(map(len, pieces.values())) == self.sizes[job.number]:
            del self.pieces[job.number], self.sizes[job.number]
            yield job.number, [row for first in sorted(pieces) for row in pieces[first]]


class _Worker:
    """A process that works; it takes work once and items again and again."""

    def __init__(self, folder: str, told: dict[str, str], path: list[str]) -> None:
        # What other libraries are told, before they are imported.
        os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")
        os.environ["HANDFUL_CORES"] = "1"
        os.environ.update({**own_environment(), **told})
        sys.path += [place for place in path if place not in sys.path]
        with suppress(OSError):  # photos may be named as seen from there
            os.chdir(folder)
        self._works: dict[int, Any] = {}
        self._lock = threading.Lock()

    def versions(self, names: Sequence[str]) -> dict[str, str]:
        """Say what is installed."""
        return _versions(names)

    def do(self, key: int, sent: list[Any], items: Sequence[Any]) -> Sequence[Any]:
        """Do some items."""
        with self._lock:  # each thread would compile a network of its own
            work = self._works.get(key)
            if work is None:
                import ray

                work = ray.get(sent[0])
                self._works = {key: work}
        rows: Sequence[Any] = work(items)
        return rows


def _restore(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)


def _forget_token() -> None:
    """Have Ray read anew whether it takes a token: the next cluster may be one that has none."""
    raylet: Any = importlib.import_module("ray._raylet")
    with suppress(AttributeError):  # older versions know of no tokens
        # In this order, as Ray's own tests do, or a call on its way finds no token.
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()


def _versions(names: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in names:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return {name: found.get(name, "none") for name in names}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
