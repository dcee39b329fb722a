"""Given / when / then for the fold of one execution.

given(run.requested()).when(run.started()).then("applied", state="running")
"""

from dataclasses import dataclass

from milepost.projections import body
from milepost.projections.execution import Execution, Outcome, evolve
from projections.runs import Record, event


def given(*history: Record) -> "Given":
    """An execution with this history, in the order of folding."""
    held: Execution | None = None
    for record in history:
        held = evolve(held, event(record)).execution
    return Given(held)


@dataclass(frozen=True)
class Given:
    held: Execution | None

    def when(self, record: Record) -> "When":
        """Fold one more event."""
        before = self.held and body.dump(self.held)
        outcome = evolve(self.held, event(record))
        assert (self.held and body.dump(self.held)) == before, "what is held was changed"
        return When(self.held, outcome)


@dataclass(frozen=True)
class When:
    held: Execution | None
    outcome: Outcome

    def then(
        self, disposition: str, reason: str | None = None, *, state: str, emitted: str = ""
    ) -> Execution:
        """Exactly this came of it; `emitted` are the names of what is sent out. Gives the execution."""
        execution = self.outcome.execution
        assert self._told == (disposition, reason, state, emitted)
        ordinal, version = (self.held.ordinal, self.held.version) if self.held else (0, 0)
        assert execution.ordinal == ordinal + 1
        if disposition in ("duplicate", "stale"):
            assert execution.version == version
        return execution

    @property
    def _told(self) -> tuple[str, str | None, str, str]:
        execution, disposition, reason, emitted = self.outcome
        return (disposition.value, reason, execution.state, " ".join(emitted))
