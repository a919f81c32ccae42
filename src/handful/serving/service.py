"""What a server works with, and what it refuses before any work is done."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from handful.data.decoding import MAX_BYTES, MAX_SECONDS, Cost
from handful.errors import UsageError
from handful.projects.project import Project
from handful.serving.batching import Batcher
from handful.serving.problems import Problem
from handful.serving.serving_metrics import ServingMetrics
from handful.serving.uploads import HeldBytes, UploadLimits

STOPPING = "the server is stopping; try again later."


@dataclass(eq=False)
class Service:
    """What the application works with.

    Args:
        batcher: Answers.
        card: What /model gives.
        limits: Of requests.
        metrics: What /metrics gives.
        allowed_hosts: Names that the Host header may have, without the port; empty allows all.
        public_names: Names that a proxy in front is called by, which may hide them from Host.
        root_path: Path that a proxy in front leaves before the server's own, such as "/photos".
        token: What a client must send as "Authorization: Bearer ..."; None asks for nothing.
        shows_token: Whether the token was made for this time, and stands in the address shown.
        project: Whose inbox takes corrections; None where none are taken.
        is_ready: Whether the network is compiled.
        told_at: When it was told to end, on the monotonic clock; None before.

    Attributes:
        held: Counts the bytes of requests in memory.
    """

    batcher: Batcher
    card: dict[str, Any]
    limits: UploadLimits = field(default_factory=UploadLimits)
    metrics: ServingMetrics = field(default_factory=ServingMetrics)
    allowed_hosts: tuple[str, ...] = ()
    public_names: tuple[str, ...] = ()
    root_path: str = ""
    token: str | None = None
    shows_token: bool = False
    project: Project | None = None
    is_ready: bool = False
    told_at: float | None = None

    def __post_init__(self) -> None:
        self.held = HeldBytes(self.limits.held_bytes)
        metrics, batcher = self.metrics, self.batcher
        batcher.on_batch = metrics.batch_size.observe
        metrics.waiting.set_function(lambda: batcher.num_waiting)
        metrics.working.set_function(lambda: batcher.num_working)
        metrics.held_bytes.set_function(lambda: self.held.num_bytes)
        metrics.ready.set_function(lambda: self.is_ready and self.told_at is None)

    def stop(self) -> None:
        """Take no more, from now on."""
        self.told_at = self.told_at or time.monotonic()

    def check_ready(self) -> None:
        """Refuse while there can be no answer.

        Raises:
            Problem: When the network is not compiled yet, or the server is stopping.
        """
        if self.told_at is not None:
            raise Problem("stopping", STOPPING)
        if not self.is_ready:
            raise Problem("not-ready", "the network is being compiled; try again in 1 s.")

    def check_costs(self, costs: Sequence[Cost]) -> None:
        """Refuse, before the work, a request whose pictures take too much to decode.

        One number limits time and memory: a picture's seconds, or its bytes at the rate of the
        limits of a single picture (1.2 GB in 5 s), whichever is more.

        Args:
            costs: Of the request's pictures.

        Raises:
            Problem: When they are too much together.
        """
        rate = MAX_SECONDS / MAX_BYTES
        seconds = sum(max(cost.seconds, rate * cost.bytes) for cost in costs)
        most = self.limits.decode_seconds
        if seconds > most:
            raise Problem(
                "too-costly",
                f"decoding the {len(costs)} pictures would cost {seconds:,.1f} s; at most "
                f"{most:g} s are given to a request. Send fewer, or smaller ones.",
            )

    def check_guarantees(self, error_rate: float | None, coverage: float | None) -> None:
        """Refuse, before the work, what is no error rate or coverage.

        Args:
            error_rate: As for `Classifier.predict`.
            coverage: As for `Classifier.predict`.

        Raises:
            Problem: When one is out of range.
        """
        if error_rate is None and coverage is None:
            return
        try:
            self.batcher.classifier.check_guarantees(error_rate, coverage)
        except UsageError as error:
            raise Problem("option", str(error)) from error
