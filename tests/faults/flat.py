"""Whether something that was measured again and again stays as it is, or grows."""

from collections.abc import Sequence
from statistics import linear_regression, mean
from typing import Final, NamedTuple

# The share of the time that is warm-up: caches fill, the first pages of a table are new.
WARM_UP: Final = 0.25
_FEWEST: Final = 8  # samples that a line can be laid through


class Measure(NamedTuple):
    """What is measured, in which unit, and how much more it may become: this much or this share."""

    what: str
    unit: str
    much: float
    share: float = 0.0


class Course(NamedTuple):
    """What a measure came to after the warm-up: its mean in the first and in the last quarter.

    `growth` is that of a straight line through all samples, `most` what is allowed.
    """

    what: str
    unit: str
    first: float
    last: float
    growth: float
    most: float

    @property
    def is_flat(self) -> bool:
        """Whether it has not grown more than it may."""
        return self.growth <= self.most


def course(measure: Measure, samples: Sequence[tuple[float, float]]) -> Course:
    """What came of samples (seconds, value), in the order of their times.

    Raises ValueError where there are too few to say anything.
    """
    begin, end = samples[0][0], samples[-1][0]
    judged = [one for one in samples if one[0] >= begin + WARM_UP * (end - begin)]
    if len(judged) < _FEWEST:
        raise ValueError(f"{measure.what}: {len(judged)} samples say nothing")
    seconds, values = zip(*judged, strict=True)
    quarter = len(values) // 4
    return Course(
        measure.what,
        measure.unit,
        first=mean(values[:quarter]),
        last=mean(values[-quarter:]),
        growth=linear_regression(seconds, values).slope * (seconds[-1] - seconds[0]),
        most=max(measure.much, measure.share * mean(values)),
    )
