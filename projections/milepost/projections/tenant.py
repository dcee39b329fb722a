"""The fold of a tenant's activity: what one batch adds to the counts of (tenant, partition).

An execution counts in the state it is in. One that moves while its events come through two partitions
leaves -1 in one row and +1 in another: only the sum over a tenant's rows means something.
"""

from dataclasses import dataclass, field
from typing import Final

from milepost.projections.execution import Execution
from milepost.schemas.values import State

STATES: Final = tuple(state.value for state in State)


@dataclass
class Activity:
    """Changes to one row of `tenant_activity`; last times in microseconds since 1970."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATES, 0))
    last_success: tuple[int, str] | None = None
    last_failure: tuple[int, str] | None = None

    def move(self, before: str | None, after: Execution) -> None:
        """Count that an execution came from state `before` (None: it is new) to where it is."""
        if before is not None:
            self.counts[before] -= 1
        self.counts[after.state] += 1
        if after.state == State.SUCCEEDED:
            self.last_success = _latest(self.last_success, after)
        elif after.state == State.FAILED:
            self.last_failure = _latest(self.last_failure, after)


def _latest(held: tuple[int, str] | None, ended: Execution) -> tuple[int, str]:
    end = (ended.transitions[ended.state].key[0], ended.execution_id)
    return end if held is None else max(held, end)
