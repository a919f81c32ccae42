"""The rungs of the ladder `quality`: which networks see which size, and what came of each tried."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from handful.config import TrainConfig
from handful.features.registry import DEFAULT_BACKBONE
from handful.wording import format_duration, format_share


@dataclass(frozen=True)
class Rung:
    """A network and the size of the photos that it is given.

    Args:
        name: What people read of it.
        backbone: The network's name.
        image_size: Side in pixels; None takes the network's own.
    """

    name: str
    backbone: str
    image_size: int | None = None

    def settle(self, config: TrainConfig) -> TrainConfig:
        """Put it into a configuration, where that leaves open what it says.

        Args:
            config: What was asked; its own backbone and image size win.

        Returns:
            The configuration with both.
        """
        return replace(
            config,
            backbone=config.backbone or self.backbone,
            image_size=config.image_size or self.image_size,
        )


FAST = Rung("fast", DEFAULT_BACKBONE)
GOOD = Rung("good", f"{DEFAULT_BACKBONE}-multilevel")
# What is tried above "fast", the cheapest first.
RUNGS = (
    GOOD,
    Rung("good, larger", GOOD.backbone, 320),
    Rung("joined", "efficientnet-lite-joined", 320),
)
# Tried after those, where Keras is installed: its upper part trained on.
TUNED = Rung("fine-tuned", GOOD.backbone)


def first_rung(config: TrainConfig) -> Rung:
    """The rung that photos are first embedded for, and where a ladder begins.

    Args:
        config: What was asked.

    Returns:
        "good" where that was asked for, else "fast".
    """
    return GOOD if config.quality == "good" else FAST


@dataclass(frozen=True)
class Attempt:
    """One rung of the ladder: what it brings, and what it costs.

    Args:
        name: The rung's name.
        backbone: The network's name.
        image_size: Side of the photos in pixels; None where the network was not opened.
        expected_seconds: What it was expected to take, all embeddings made anew; None for the
            first, which is made in any case.
        seconds: What it took; None where it was not tried.
        accuracy: Share of training photos that were classified correctly by heads fitted without
            them; None where it was not tried, or no photo can be left out.
        accuracy_interval: 95 % interval of the accuracy.
        log_loss: Mean -ln(probability of the true class) of the same answers, nats.
        is_chosen: Whether the classifier is of this rung.
        note: Why it was not tried, or has no figure.
    """

    name: str
    backbone: str
    image_size: int | None
    expected_seconds: float | None = None
    seconds: float | None = None
    accuracy: float | None = None
    accuracy_interval: tuple[float, float] | None = None
    log_loss: float | None = None
    is_chosen: bool = False
    note: str = ""

    def __str__(self) -> str:
        """A line for people."""
        what = f"{self.name} ({self.backbone}"
        what += f", {self.image_size} pixels)" if self.image_size else ")"
        if self.note:
            return f"{what}: {self.note}" + ", chosen" * self.is_chosen
        if self.accuracy is None or self.accuracy_interval is None or self.seconds is None:
            return what
        low, high = map(format_share, self.accuracy_interval)
        return (
            f"{what}: {format_share(self.accuracy)} ({low} to {high}), log loss "
            f"{self.log_loss:.3f}, {format_duration(self.seconds)}" + ", chosen" * self.is_chosen
        )


@dataclass(frozen=True)
class Ladder:
    """What was tried for quality "best".

    Args:
        attempts: The rungs, the cheapest first.
    """

    attempts: tuple[Attempt, ...]

    @property
    def chosen(self) -> Attempt:
        """The rung that the classifier is of."""
        return next(attempt for attempt in self.attempts if attempt.is_chosen)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON.

        Returns:
            "chosen", a name, and "tried", a list of `Attempt` as dictionaries.
        """
        return {
            "chosen": self.chosen.name,
            "tried": [asdict(attempt) for attempt in self.attempts],
        }
