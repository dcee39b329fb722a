"""Subscribing to completions: executions that reached a terminal state."""

from collections.abc import Collection

from milepost.client.reader import Reader
from milepost.client.start import Start
from milepost.schemas.notifications import Completion
from milepost.schemas.values import TERMINAL, State
from milepost.settings import Settings


class Subscriber(Reader[Completion]):
    """Completions, one by one or many at a time; see Reader for what is committed when.

        async with Subscriber(group="billing", states={"failed"}) as completions:
            async for completion in completions:
                ...

        async with Subscriber(group="billing", states={"failed"}) as completions:
            await completions.process(handle, concurrency=16)

    Args:
        settings: where Kafka is; by default read from the environment.
        group: the consumer group, whose members share the work; None to see every completion and
            commit nothing.
        states: terminal states to hear of, by default all three.
        tenants, operations, providers: only these; None for all. A completion whose `requested`
            event has not come yet passes the filters on operation and provider: they are not known.
        start: where a new group begins: "latest", "earliest" or an aware datetime (by the broker's
            time of the record).
        timeout: seconds that connecting and committing may take.
        attempts: how often a body may fail before its completion is put aside.
        grace: seconds that bodies in progress get to end when the group is rebalanced or `process`
            is stopped. The whole group waits for them.
        dead_letters: read what `group` has put aside until now, then end. What fails again is put
            aside again, with its attempts added up; the group itself goes on undisturbed.
            Filters hold here too, and what they leave out is passed over for good.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        group: str | None = None,
        states: Collection[State | str] = TERMINAL,
        tenants: Collection[str] | None = None,
        operations: Collection[str] | None = None,
        providers: Collection[str] | None = None,
        start: Start = "latest",
        timeout: float = 30,
        attempts: int = 5,
        grace: float = 10,
        dead_letters: bool = False,
    ) -> None:
        settings = settings or Settings()
        super().__init__(
            settings,
            topics=[settings.topics.completions(state) for state in _terminal(states)],
            group=group,
            start=start,
            timeout=timeout,
            attempts=attempts,
            grace=grace,
            dead_letters=dead_letters,
        )
        self._tenants = tenants
        self._operations = operations
        self._providers = providers

    def _parse(self, value: bytes) -> Completion:
        return Completion.model_validate_json(value, extra="ignore")

    def _wanted(self, item: Completion) -> bool:
        if self._tenants is not None and item.tenant not in self._tenants:
            return False
        if not item.requested:
            return True
        return (self._operations is None or item.operation in self._operations) and (
            self._providers is None or item.provider in self._providers
        )


def _terminal(states: Collection[State | str]) -> set[State]:
    if isinstance(states, str):
        raise TypeError('states must be a collection, e.g. {"failed"}')
    chosen = {State(state) for state in states}
    if not chosen or not chosen <= TERMINAL:
        raise ValueError(f"states must be some of {', '.join(sorted(TERMINAL))}")
    return chosen
