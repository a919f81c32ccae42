"""What a server works with, and what it refuses before any work is done."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from handful.data.decoding import MAX_BYTES, MAX_SECONDS, Cost
from handful.errors import UsageError
from handful.serving.batching import Batcher
from handful.serving.problems import Problem, busy
from handful.serving.serving_metrics import ServingMetrics
from handful.serving.uploads import UploadLimits


@dataclass(eq=False)
class Service:
    """What the application works with.

    Args:
        batcher: Answers.
        card: What /model gives.
        limits: Of requests.
        metrics: What /metrics gives.
        allowed_hosts: As for `Guard`.
        public_names: As for `Guard`.
        root_path: As for `Guard`.
        token: As for `Guard`.
        is_ready: Whether the network is compiled.
        is_stopping: Whether the server is about to end.
    """

    batcher: Batcher
    card: dict[str, Any]
    limits: UploadLimits = field(default_factory=UploadLimits)
    metrics: ServingMetrics = field(default_factory=ServingMetrics)
    allowed_hosts: tuple[str, ...] = ()
    public_names: tuple[str, ...] = ()
    root_path: str = ""
    token: str | None = None
    is_ready: bool = False
    is_stopping: bool = False

    def check_ready(self) -> None:
        """Refuse while there can be no answer.

        Raises:
            Problem: When the network is not compiled yet, or the server is stopping.
        """
        if self.is_stopping:
            raise busy("stopping", "the server is stopping; try again later.")
        if not self.is_ready:
            raise busy("not-ready", "the network is being compiled; try again in 1 s.")

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

    def check_promises(self, error_rate: float | None, coverage: float | None) -> None:
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
            self.batcher.classifier.check_promises(error_rate, coverage)
        except UsageError as error:
            raise Problem("option", str(error)) from error

    def abstaining(self, error_rate: float) -> dict[str, Any]:
        """The rule behind `is_sure`.

        Args:
            error_rate: As for `Classifier.predict`.

        Returns:
            As `handful predict --json` has it.
        """
        return asdict(self.batcher.classifier.abstain_at(error_rate))
