"""How much longer a training takes, told anew as it goes on; the clock is the caller's."""

from handful.workflows.forecast import Forecast

# Shorter than this, a pace says nothing.
_TELLING_SECONDS = 1.0
_LOOKING, _ONCE, _EPOCHS = "embed", "convert", "train"


class TimeLeft:
    """What is known of a training's end.

    Args:
        forecast: What it was expected to take; None where that is not known.
        now: Seconds, of any clock, at its beginning.
    """

    def __init__(self, forecast: Forecast | None, now: float) -> None:
        self.forecast = forecast
        self._begun, self._phase, self._phase_begun = now, "", now
        self._apart, self._looks = 0.0, 0  # seconds of looking at photos and of preparing
        self._first: tuple[float, int] | None = None
        self._last: tuple[float, int, int] | None = None
        self._end: float | None = None

    def phase(self, name: str, now: float) -> None:
        """Hear that another phase has begun, or that one has ended.

        Args:
            name: Its name; "" for what comes after it.
            now: The time.
        """
        if self._phase in (_LOOKING, _ONCE):
            self._apart += now - self._phase_begun
        self._looks += name == _LOOKING
        self._phase, self._phase_begun = name, now
        self._first = self._last = None

    def progress(self, done: int, total: int, now: float) -> None:
        """Hear how far the phase is.

        Args:
            done: Work done.
            total: Work in all; 0 where that is not known.
            now: The time.
        """
        self._first = self._first or (now, done)
        self._last = now, done, total

    def epoch(self, seconds_left: float, now: float) -> None:
        """Hear what the epochs to come will take.

        Args:
            seconds_left: By those until now.
            now: The time.
        """
        self._end = now + seconds_left

    @property
    def other_seconds(self) -> float:
        """Time of all but looking at photos and preparing networks, until the last phase."""
        return max(self._phase_begun - self._begun - self._apart, 0.0)

    def at(self, now: float) -> float | None:
        """How much longer it takes.

        Args:
            now: The time.

        Returns:
            Seconds; None where that is not known.
        """
        if self._end is not None:
            return max(self._end - now, 0.0) or None
        pace = self._pace(now)
        if self.forecast is None:
            return pace if self._phase == _EPOCHS else None
        embed, other = self.forecast.embed, self.forecast.other
        left = sum(embed[self._looks :])
        if self._phase == _LOOKING and self._looks <= len(embed):
            expected = embed[self._looks - 1] - (now - self._phase_begun)
            left += max(expected, 0.0) if pace is None else pace
        if other is not None:
            apart = self._phase in (_LOOKING, _ONCE)
            spent = self.other_seconds + (0.0 if apart else now - self._phase_begun)
            left += max(other - spent, 0.0)
        return left or None

    def _pace(self, now: float) -> float | None:
        if self._first is None or self._last is None:
            return None
        (since, before), (until, done, total) = self._first, self._last
        if done <= before or until - since < _TELLING_SECONDS:
            return None
        each = (until - since) / (done - before)
        return max(each * (total - done) - (now - until), 0.0)
