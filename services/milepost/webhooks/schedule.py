"""When a message is tried again, and when an endpoint is given up. Pure: time and chance come in.

A message is tried 15 times over about 75 hours. An endpoint at which nothing has arrived for five days
is disabled; so is at once one that answers 410, Gone.
"""

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from milepost.projections.endpoints import Status
from milepost.projections.webhooks import Reason

_MINUTE: Final = 60.0
_HOUR: Final = 3_600.0
# Seconds between an attempt and the next. Most troubles are over in seconds, the others last a night
# or a weekend.
STEPS: Final = (
    *(5.0, 30.0, 2 * _MINUTE, 10 * _MINUTE, 30 * _MINUTE),
    *(_HOUR, 2 * _HOUR, 4 * _HOUR, 8 * _HOUR),
    *(5 * (12 * _HOUR,)),
)
# What failed together is not tried again together: each step is up to so much longer or shorter.
JITTER: Final = 0.1
# However much later an endpoint asks to be called.
LONGEST_WAIT: Final = 24 * _HOUR
GIVEN_UP: Final = timedelta(hours=120)
_GONE: Final = 410


class Next(NamedTuple):
    """What an attempt makes of its delivery: its status, and when it is tried again (None: never).

    `gone`: the endpoint wants to hear nothing more.
    """

    status: Status
    wait: timedelta | None = None
    gone: bool = False


def after(
    status_code: int | None,
    attempts: int,
    *,
    retry_after: float | None = None,
    chance: float,
) -> Next:
    """What follows an attempt.

    Args:
        status_code: of the answer, None where there was none.
        attempts: how many there were, with this one.
        retry_after: in how many seconds the endpoint asked to be called again. It can make a step
            longer, up to a day, and never shorter: the number of attempts is limited.
        chance: where in its bounds this step's jitter lies, from 0 to 1.
    """
    if status_code is not None and 200 <= status_code < 300:
        return Next("delivered")
    if status_code == _GONE:
        return Next("cancelled", gone=True)
    if attempts > len(STEPS):
        return Next("failed")
    step = STEPS[attempts - 1] * (1 - JITTER + 2 * JITTER * chance)
    wait = max(step, min(retry_after or 0.0, LONGEST_WAIT))
    return Next("pending", timedelta(seconds=wait))


def to_disable(following: Next, failing_since: datetime, now: datetime) -> Reason | None:
    """Why an endpoint is to be disabled after an attempt that failed; None where it is not.

    `failing_since`: when the first of the attempts was made that have all failed since.
    """
    if following.gone:
        return "gone"
    return "failing" if now - failing_since >= GIVEN_UP else None
