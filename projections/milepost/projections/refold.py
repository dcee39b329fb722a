"""The fold of executions from what is stored: `event_log` in, the rows of another generation out.

Pure. Each execution is folded by itself, over its records in the order of their ordinals.
"""

from collections.abc import Iterable
from typing import Any, cast

from milepost.projections import body, resource
from milepost.projections.batch import Identity
from milepost.projections.comparison import Row
from milepost.projections.execution import Execution, evolve
from milepost.projections.outgoing import unpack_headers
from milepost.projections.resource import ResourceRow
from milepost.schemas.binding import Event, Headers, Rejection, decode

# One row of `event_log`, its columns by name.
Stored = Any


class Chunk:
    """Some executions: what is held of them, what the live tables say, and what the log makes of them."""

    def __init__(self, held: dict[Identity, Execution], live: Iterable[Any]) -> None:
        self.held = held
        self.live: dict[Identity, Row] = {(row[0], row[1]): tuple(row) for row in live}
        self.current = dict(held)
        self.incomplete: set[Identity] = set()
        self.dispositions: list[tuple[Identity, tuple[Any, ...]]] = []
        self._resources: dict[tuple[Any, ...], ResourceRow] = {}

    def fold(self, rows: Iterable[Stored]) -> None:
        """Fold records; each execution's in the order of their ordinals."""
        for row in rows:
            identity = (row["id"], row["tenant"])
            if identity in self.incomplete:
                continue
            before = self.current.get(identity)
            found = event(row)
            following = row["ordinal"] == (before.ordinal if before else 0) + 1
            if not following or not _is_of(identity, found):
                self.incomplete.add(identity)
                continue
            after, disposition, reason, _ = evolve(before, cast(Event, found))
            self.current[identity] = after
            for changed in resource.changed(before, after):
                self._resources[changed[:6]] = changed
            if disposition != row["disposition"] or reason != row["reason"]:
                place = (row["topic"], row["partition"], row["offset"], row["recorded_at"])
                self.dispositions.append((identity, (*place, disposition, reason)))

    def carry_over(self) -> None:
        """Take from the live tables what the log does not tell from beginning to end."""
        for identity, row in self.live.items():
            folded = self.current.get(identity)
            if folded is None or folded.ordinal < row[4]:
                self.incomplete.add(identity)
        for identity in self.incomplete:
            if identity in self.live:
                self.current[identity] = body.load(self.live[identity][-1])
            elif identity not in self.held:
                self.current.pop(identity, None)

    def changes(self) -> list[tuple[Execution | None, Execution]]:
        """Before and after of every execution that is not as it is held, in the order of the keys."""
        return [
            (self.held.get(identity), self.current[identity])
            for identity in sorted(self.current)
            if self.current[identity] is not self.held.get(identity)
        ]

    def resource_rows(self) -> list[ResourceRow]:
        """What the changes call for, each row as recorded when it changed last."""
        rows = {
            name: row
            for name, row in self._resources.items()
            if (row.execution_id, row.tenant) not in self.incomplete
        }
        for identity in self.incomplete & self.current.keys():
            carried = resource.changed(None, self.current[identity])
            rows |= {row[:6]: row for row in carried}
        return [rows[name] for name in sorted(rows)]

    def disposition_rows(self) -> list[tuple[Any, ...]]:
        """Records of which `event_log` says something else than the fold."""
        return [row for identity, row in self.dispositions if identity not in self.incomplete]


def event(row: Stored) -> Event | Rejection:
    """What a stored record holds by the present contract."""
    return decode(_Record(row))


def _is_of(identity: Identity, found: Event | Rejection) -> bool:
    return isinstance(found, Event) and (found.execution_id, found.tenant) == identity


class _Record:
    """A raw record as stored."""

    def __init__(self, row: Stored) -> None:
        self.topic: str = row["topic"]
        self.partition: int = row["partition"]
        self.offset: int = row["offset"]
        self.timestamp: int = row["recorded_at"] // 1_000
        self.key: bytes | None = row["key"]
        self.headers: Headers = unpack_headers(row["headers"])
        self.value: bytes | None = row["value"]
