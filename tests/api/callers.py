"""Callers of an API that requires access: with keys, and with tokens of an issuer of the test's own."""

import asyncio
import contextlib
import json
import warnings
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import httpx2
from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, Key

from api.harness import Api, connected, now, running_api
from milepost.api.keys import make_key
from milepost.projections.queries.access import make_api_key
from milepost.settings import Settings

AUDIENCE = "milepost-tests"


class Clock:
    """Stands still until it is moved; `now` is a time of day, calling it gives seconds."""

    def __init__(self, start: datetime | None = None) -> None:
        self._start = start or now()
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        """The time of day."""
        return self._start + timedelta(seconds=self.seconds - 1_000)


class Issuer:
    """Signs tokens, and publishes its keys at `url`/keys."""

    def __init__(self) -> None:
        self.url = ""
        self.asked = 0
        self.status = 200
        self.signing: list[Key] = []
        self.rotate("first")

    def rotate(self, kid: str, key: Key | None = None) -> None:
        """From now on only this key is published and used."""
        made = key or ECKey.generate_key("P-256", {"kid": kid})
        self.signing = [made]

    def token(self, clock: Clock, key: Key | None = None, **claims: Any) -> str:
        """A token; claims that are None are left out, and `header` adds to its header."""
        signer = key or self.signing[0]
        algorithm = {"RSA": "RS256", "EC": "ES256", "OKP": "Ed25519"}[signer.key_type]
        header = {"alg": algorithm, "kid": signer.kid, **claims.pop("header", {})}
        seconds = int(clock.now().timestamp())
        given = {
            "iss": self.url, "aud": AUDIENCE, "sub": "somebody", "iat": seconds,
            "exp": seconds + 300, "milepost_grants": ["acme:reader"], **claims,
        }  # fmt: skip
        kept = {name: value for name, value in given.items() if value is not None}
        with warnings.catch_warnings():
            # EdDSA, which issuers still use, is to be called Ed25519 now.
            warnings.simplefilter("ignore", SecurityWarning)
            return jwt.encode(header, kept, signer, algorithms=[header["alg"]])

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Publish the keys to whoever asks."""
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        keys = [key.as_dict(private=False) | {"use": "sig"} for key in self.signing]
        body = json.dumps({"keys": [*keys, {"kty": "new", "kid": "odd"}]}).encode()
        head = (
            f"HTTP/1.1 {self.status} -\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()


class Guarded:
    """An API that requires access, its clock and its issuer."""

    def __init__(self, api: Api, clock: Clock, issuer: Issuer) -> None:
        self.api = api
        self.clock = clock
        self.issuer = issuer

    async def key(
        self,
        *grants: str,
        name: str = "a test",
        providers: list[str] | None = None,
        expires_at: datetime | None = None,
    ) -> str:
        """The token of a new key."""
        made = make_key(
            name, grants, by="a test", now=self.clock.now(), providers=providers,
            expires_at=expires_at,
        )  # fmt: skip
        async with connected(self.api.settings.dsn) as connection:
            await make_api_key(connection, made.key)
        return made.token.get_secret_value()

    async def send(
        self, token: str | None, method: str, path: str, body: Any = None, **headers: str
    ) -> httpx2.Response:
        """One request with this token."""
        bearer = {"Authorization": f"Bearer {token}"} if token is not None else {}
        return await self.api.http.request(method, path, json=body, headers=bearer | headers)

    async def get(self, token: str | None, path: str) -> httpx2.Response:
        """One look with this token."""
        return await self.send(token, "GET", path)

    async def status(self, token: str | None, path: str = "/v1/tenants/acme") -> int:
        """The status of a look."""
        return (await self.get(token, path)).status_code


@contextlib.asynccontextmanager
async def guarded_api(
    settings: Settings, start: datetime | None = None, **update: Any
) -> AsyncIterator[Guarded]:
    """The API with access required, keys and JWTs, and a clock that stands still, at `start`."""
    clock, issuer = Clock(start), Issuer()
    server = await asyncio.start_server(issuer.answer, "127.0.0.1", 0)
    async with server:
        issuer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        required = {
            "api_access": "required",
            "api_requests_per_second": 1_000_000,
            "jwt_issuer": issuer.url,
            "jwt_audience": AUDIENCE,
            "jwt_jwks": f"{issuer.url}/keys",
            "webhook_keys": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
        }
        changed = Settings(**{**dict(settings), **required, **update})
        async with running_api(changed, now=clock.now, clock=clock) as api:
            yield Guarded(api, clock, issuer)
