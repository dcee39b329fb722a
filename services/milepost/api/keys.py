"""API keys: `mp_<id>_<secret>`. The id is shown, the secret once; its hash is kept."""

import asyncio
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, NamedTuple

import asyncpg
from pydantic import SecretStr

from milepost.api.access import EVERY_TENANT, Principal, Role
from milepost.api.database import Database
from milepost.projections.queries.access import (
    ApiKey,
    api_key,
    make_api_key,
    revoke_api_keys_named,
    use_api_key,
)

KEY_ID_PATTERN: Final = "^[0-9a-f]{12}$"
_TOKEN: Final = re.compile(r"mp_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
# A revocation holds everywhere after this.
_FRESH_SECONDS: Final = 2.0
_REMEMBERED: Final = 4_096
_USE_NOTED: Final = timedelta(minutes=1)


class MadeKey(NamedTuple):
    """A new key, and the token that only its maker gets to see."""

    key: ApiKey
    token: SecretStr


def make_key(
    name: str,
    grants: Sequence[str],
    *,
    by: str,
    now: datetime,
    providers: Sequence[str] | None = None,
    expires_at: datetime | None = None,
) -> MadeKey:
    """A key that nobody has had before."""
    key_id = secrets.token_hex(6)
    token = f"mp_{key_id}_{secrets.token_urlsafe(32)}"
    held = list(providers) if providers is not None else None
    key = ApiKey(key_id, name, _hash(token), list(grants), held, now, by, expires_at)
    return MadeKey(key, SecretStr(token))


async def bootstrap(dsn: str, name: str) -> SecretStr:
    """The token of a new key that may do everything; other keys of its name are revoked.

    Works on the database as its owner, so that there can be a first key. Raises what asyncpg raises.
    """
    made = make_key(name, [f"{EVERY_TENANT}:{Role.ADMIN}"], by=name, now=datetime.now(UTC))
    key = made.key
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await revoke_api_keys_named(connection, name, key.created_at, key.created_by)
            await make_api_key(connection, key)
    finally:
        await connection.close()
    return made.token


def is_api_key(token: str) -> bool:
    """Whether a bearer token says that it is one of these."""
    return token.startswith("mp_")


class Keys:
    """Tells whose key a token is. `now` and `clock` as for `create_app`."""

    def __init__(
        self, database: Database, now: Callable[[], datetime], clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._now = now
        self._clock = clock
        # By key id: when it was asked for, and what the database says. One look for all who ask.
        self._looks: dict[str, tuple[float, asyncio.Task[_Held | None]]] = {}

    async def principal(self, token: str) -> Principal | None:
        """Whose key this is; None for one that is not valid. Raises Problem (503): database away."""
        found = _TOKEN.fullmatch(token)
        if found is None:
            return None
        held = await self._held(found[1])
        if held is None or not hmac.compare_digest(held.key.secret_sha256, _hash(token)):
            return None
        now = self._now()
        if held.key.expires_at is not None and held.key.expires_at <= now:
            return None
        if held.used_at is None or now - held.used_at >= _USE_NOTED:
            held.used_at = now
            await self._database.repeated_for(
                EVERY_TENANT, partial(use_api_key, key_id=held.key.key_id, now=now)
            )
        return held.principal

    def remembers(self, token: str) -> bool:
        """Whether this token was good a while ago: then it is not one of somebody who guesses."""
        found = _TOKEN.fullmatch(token)
        look = self._looks.get(found[1]) if found else None
        if look is None or not look[1].done() or look[1].cancelled() or look[1].exception():
            return False
        held = look[1].result()
        return held is not None and hmac.compare_digest(held.key.secret_sha256, _hash(token))

    async def _held(self, key_id: str) -> "_Held | None":
        asked, task = self._looks.get(key_id, (float("-inf"), None))
        if task is None or self._clock() - asked >= _FRESH_SECONDS:
            if len(self._looks) >= _REMEMBERED:
                self._looks.clear()
            task = asyncio.create_task(self._look(key_id))
            self._looks[key_id] = (self._clock(), task)
        try:
            held = await asyncio.shield(task)
        except Exception:
            self._forget(key_id, task)
            raise
        if held is None:
            self._forget(key_id, task)
        return held

    async def _look(self, key_id: str) -> "_Held | None":
        async with self._database.acting_for(EVERY_TENANT) as connection:
            key = await api_key(connection, key_id)
        return None if key is None or key.revoked_at is not None else _Held(key)

    def _forget(self, key_id: str, task: "asyncio.Task[_Held | None]") -> None:
        if self._looks.get(key_id, (0.0, None))[1] is task:
            del self._looks[key_id]


class _Held:
    """A key as the database has it, and when it was last used."""

    def __init__(self, key: ApiKey) -> None:
        self.key = key
        self.principal = Principal(f"key {key.key_id} ({key.name})", key.grants, key.providers)
        self.used_at = key.last_used_at


def _hash(token: str) -> bytes:
    # Fast on purpose: 256 random bits are beyond guessing, however quickly each guess is checked.
    return hashlib.sha256(token.encode()).digest()
