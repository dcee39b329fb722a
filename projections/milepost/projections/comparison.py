"""Compares what two generations say of executions: a hash of each over the lawful fields, and where they differ."""

import hashlib
from collections.abc import Sequence
from copy import copy
from typing import Any, Final, NamedTuple

import orjson

from milepost.projections.batch import Identity
from milepost.projections.execution import LAWFUL

# A row of `executions`, in the order of `store.execution_row`.
Row = Sequence[Any]

SHOWN: Final = 20
# Of the columns those that follow from the lawful fields; labels are JSON as bytes.
_STATE, _OPERATION, _PROVIDER, _LABELS, _RECORDED, _ENDED, _BODY = 2, 5, 6, 7, 9, 10, 11
_COLUMNS: Final = (_STATE, _OPERATION, _PROVIDER, _LABELS, _RECORDED, _ENDED)
_MODULUS: Final = 2**256


class Difference(NamedTuple):
    """An execution of which the live generation says something else than the log."""

    tenant: str
    execution_id: str
    what: str


class Comparison:
    """Two generations, execution by execution, in any order and as often as one changes.

    A generation's hash is the sum of its executions' hashes: it can follow changes. That finds damage;
    it is no protection against somebody who makes rows to fit.
    """

    def __init__(self) -> None:
        self._live = 0
        self._folded = 0
        self._differing: dict[Identity, int] = {}
        self._shown: dict[Identity, Difference] = {}

    def copy(self) -> "Comparison":
        """As it is now."""
        twin = copy(self)
        twin._differing, twin._shown = self._differing.copy(), self._shown.copy()
        return twin

    @property
    def live_hash(self) -> str:
        """Over what the live tables say, as 64 hexadecimal digits."""
        return f"{self._live:064x}"

    @property
    def folded_hash(self) -> str:
        """Over what the log says."""
        return f"{self._folded:064x}"

    @property
    def differing(self) -> int:
        """How many executions differ."""
        return len(self._differing)

    @property
    def differences(self) -> list[Difference]:
        """Some of them, `SHOWN` at most."""
        return list(self._shown.values())

    def take(self, identity: Identity, live: Row | None, before: Row | None, folded: Row) -> None:
        """Compare one execution; `before` is what was `folded` when it was taken last."""
        if before is not None:
            known = _digest(before)
            self._folded -= known
            self._live -= self._differing.pop(identity, known)
            self._shown.pop(identity, None)
        ours = _digest(folded)
        theirs = ours if live == folded else _digest(live)
        self._folded = (self._folded + ours) % _MODULUS
        self._live = (self._live + theirs) % _MODULUS
        if theirs != ours:
            self._differing[identity] = theirs
            if len(self._shown) < SHOWN:
                execution_id, tenant = identity
                what = ", ".join(_what(live, folded))
                self._shown[identity] = Difference(tenant, execution_id, what)


def _digest(row: Row | None) -> int:
    if row is None:
        return 0
    columns = [_text(row[column]) for column in _COLUMNS]
    # Facts stand in the order in which they were learned, which is not lawful.
    lawful = orjson.dumps([columns, _lawful(row)], option=orjson.OPT_SORT_KEYS)
    return int.from_bytes(hashlib.sha256(lawful).digest())


def _what(live: Row | None, folded: Row) -> list[str]:
    if live is None:
        return ["missing"]
    ours, theirs = _lawful(folded), _lawful(live)
    fields = [name for name in LAWFUL if ours[name] != theirs[name]]
    columns = any(live[column] != folded[column] for column in _COLUMNS)
    return fields or (["columns"] if columns else [])


def _lawful(row: Row) -> dict[str, Any]:
    body = orjson.loads(row[_BODY])
    # A damaged body may lack anything.
    return {name: body.get(name) for name in LAWFUL}


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
