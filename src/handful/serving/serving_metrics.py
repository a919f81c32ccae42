"""Figures of a running server, as Prometheus reads them."""

from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)

from handful.wording import printable

if TYPE_CHECKING:
    from handful.models.classifier import Prediction

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PATHS = ("/", "/predict", "/model", "/metrics", "/healthz", "/readyz", "/docs", "/openapi.json")
_METHODS = ("GET", "HEAD", "POST")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32)


class ServingMetrics:
    """Counters and gauges of one server, in a registry of their own."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Info("handful", "What is running.", registry=registry).info({"version": version("handful")})
        count, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry)
        self.requests = count(
            "handful_requests", "Requests answered.", ("method", "path", "status")
        )
        self.request_seconds = histogram(
            "handful_request_seconds",
            "Time from a request's head to its whole answer.",
            ("path",),
            buckets=_SECONDS,
        )
        self.pictures = count(
            "handful_pictures",
            "Pictures that were named, and files that could not be read.",
            ("outcome",),
        )
        for outcome in ("named", "unreadable"):
            self.pictures.labels(outcome)
        self.labels = count("handful_labels", "Pictures named as each class.", ("label",))
        self.unlike = count("handful_unlike_training", "Pictures unlike those of training.")
        self.batch_size = histogram(
            "handful_batch_size", "Pictures named together.", buckets=_SIZES
        )
        self.waiting = gauge("handful_waiting", "Pictures waiting for a thread.")
        self.working = gauge("handful_working", "Pictures worked on.")
        self.held_bytes = gauge("handful_held_bytes", "Bytes of requests in memory.")
        self.ready = gauge("handful_ready", "1 when requests are answered.")

    def observe_request(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count a request. Unknown addresses and methods are one series, whoever makes them up.

        Args:
            method: Such as "GET".
            path: Of the request.
            status: Of the response; 499 where the client went away.
            seconds: Time it took.
        """
        if path not in PATHS:
            path = "/page" if path.startswith("/page/") else "other"
        method = method if method in _METHODS else "other"
        self.requests.labels(method, path, str(status)).inc()
        self.request_seconds.labels(path).observe(seconds)

    def observe_predictions(self, predictions: "Sequence[Prediction]", num_unreadable: int) -> None:
        """Count what a request's pictures were.

        Args:
            predictions: Of those that could be read.
            num_unreadable: The others.
        """
        self.pictures.labels("named").inc(len(predictions))
        self.pictures.labels("unreadable").inc(num_unreadable)
        for prediction in predictions:
            self.labels.labels(printable(prediction.label)).inc()
            if prediction.is_out_of_distribution:
                self.unlike.inc()

    def text(self) -> bytes:
        """All figures.

        Returns:
            Prometheus' text format.
        """
        return generate_latest(self.registry)
