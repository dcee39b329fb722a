"""API keys, over the HTTP API."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from pydantic import BaseModel, SecretStr

from milepost.client.calls import Calls, given, quoted
from milepost.schemas.notifications import OPEN


class ApiKey(BaseModel):
    """An API key. `grants` are `tenant:role` (`*` for all tenants); `token` is known of a new key only."""

    model_config = OPEN
    key_id: str
    prefix: str
    name: str
    grants: tuple[str, ...]
    providers: tuple[str, ...] | None = None
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str | None = None
    last_used_at: datetime | None = None
    token: SecretStr | None = None


class ApiKeys:
    """`MilepostClient.api_keys`: what an admin does with keys. Raises as the client does."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def create(
        self,
        name: str,
        grants: Sequence[str],
        *,
        providers: Sequence[str] | None = None,
        expires_at: datetime | None = None,
    ) -> ApiKey:
        """A new key; its `token` is not to be had again. Nobody can give more than they have."""
        body = {
            "name": name,
            "grants": list(grants),
            "providers": None if providers is None else list(providers),
            "expires_at": None if expires_at is None else expires_at.isoformat(),
        }
        return self._calls.parse(
            ApiKey, await self._calls.send("POST", "/api-keys", body=given(body))
        )

    async def list(self) -> AsyncIterator[ApiKey]:
        """The keys that this token administers, the newest first, revoked ones too."""
        async for key in self._calls.pages(ApiKey, "/api-keys", {}):
            yield key

    async def revoke(self, key_id: str) -> ApiKey:
        """Have a key refused, within seconds, for ever."""
        path = f"/api-keys/{quoted(key_id)}:revoke"
        return self._calls.parse(ApiKey, await self._calls.send("POST", path))
