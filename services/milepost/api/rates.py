"""Token buckets: so many a second each, and so many at once."""

from collections.abc import Callable
from typing import Final

# Full buckets are worth nothing: they are thrown away when there are this many.
_KEPT: Final = 10_000


class Rates:
    """A bucket for each key, in this process. `clock` gives seconds that only grow."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        # (left, when that was so)
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, key: str) -> float:
        """Take one: 0 where there was one, else the seconds until there is (and none is taken)."""
        now = self._clock()
        left = self._left(key, now)
        if left < 1:
            return (1 - left) / self._rate
        if len(self._buckets) >= _KEPT and key not in self._buckets:
            self._clear(now)
        self._buckets[key] = (left - 1, now)
        return 0.0

    def _left(self, key: str, now: float) -> float:
        left, then = self._buckets.get(key, (self._burst, now))
        return min(self._burst, left + (now - then) * self._rate)

    def _clear(self, now: float) -> None:
        self._buckets = {
            key: bucket
            for key, bucket in self._buckets.items()
            if self._left(key, now) < self._burst
        }
        if len(self._buckets) >= _KEPT:
            # More than that many keys within seconds: each begins anew rather than fill the memory.
            self._buckets.clear()
