"""The one way to every route: who calls, how often, with which role; and what the audit gets."""

import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import datetime
from functools import partial
from typing import Any, Final
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Send
from starlette.types import Scope as Connection

from milepost.api import problems
from milepost.api.access import ANYBODY, Principal, Role, Scope
from milepost.api.audit import Audit, Deed
from milepost.api.database import Database
from milepost.api.keys import Keys, is_api_key
from milepost.api.problems import FORBIDDEN, TOO_MANY_REQUESTS, UNAUTHORISED, Problem
from milepost.api.rates import Rates
from milepost.api.roles import NEEDS, Need
from milepost.api.tokens import Tokens
from milepost.loopback import is_loopback
from milepost.settings import Settings

# Where the guard leaves its `Scope` for the routes.
SCOPE: Final = "milepost.scope"
_REALM: Final = 'Bearer realm="milepost"'
# A burst of requests is this many times what one second allows.
_BURST: Final = 2
_request_id: Final = re.compile(rb"[A-Za-z0-9._-]{8,64}")

Handle = Callable[[Connection, Receive, Send], Awaitable[None]]


class GuardedRoute(APIRoute):
    """A route that is reached through the guard only."""

    async def handle(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Let the guard decide; it comes before anything of the request's body is read."""
        guard: Guard = scope["app"].state.guard
        await guard.pass_on(self.name, scope, receive, send, self.admitted)

    async def admitted(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Answer what the guard has let in."""
        await super().handle(scope, receive, send)


def require_guarded(app: FastAPI) -> None:
    """Raise TypeError unless every route passes the guard and says what it needs."""
    for route in iter_route_contexts(app.routes):
        need = NEEDS.get(route.name or "")
        if need is None:
            raise TypeError(f"the route {route.name} ({route.path}) has no entry in roles.NEEDS")
        if need.role and not isinstance(route.original_route, GuardedRoute):
            raise TypeError(f"the route {route.name} ({route.path}) is no GuardedRoute")


def templates(app: FastAPI) -> dict[str, str]:
    """The paths of all routes, by their names."""
    return {route.name or "": route.path or "" for route in iter_route_contexts(app.routes)}


class Guard:
    """Decides about every request. `now` and `clock` as for `create_app`."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        now: Callable[[], datetime],
        clock: Callable[[], float],
    ) -> None:
        rate = settings.api_requests_per_second
        self._open = settings.api_access == "open"
        self._keys = Keys(database, now, clock)
        self._tokens = Tokens(settings, now, clock) if settings.jwt_issuer else None
        burst = max(1.0, rate * _BURST)
        self._callers = Rates(rate, burst, clock)
        self._addresses = Rates(rate, burst, clock)
        self._audit = Audit(database, now, clock)

    async def pass_on(
        self, route: str, connection: Connection, receive: Receive, send: Send, handle: Handle
    ) -> None:
        """Let the request through to `handle`, or answer with what is in its way."""
        visit = _Visit(route, connection)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", visit.request_id)]
                await self._note(visit)
            await send(message)

        try:
            visit.scope = await self._admit(visit)
        except Problem as problem:
            await problems.response(problem)(connection, receive, answer)
            return
        connection[SCOPE] = visit.scope
        try:
            await handle(connection, receive, answer)
        except Exception as error:
            if not visit.status:
                visit.status = error.status_code if isinstance(error, HTTPException) else 500
                await self._note(visit)
            raise

    async def _admit(self, visit: "_Visit") -> Scope:
        """What this request may touch. Raises Problem: 401, 403, 404, 429, 503."""
        role = visit.need.role
        if role is None:
            self._take(self._addresses, visit.address)
            return Scope(_NOBODY, Role.READER)
        visit.principal = principal = await self._authenticate(visit)
        self._take(self._callers, principal.name)
        token = visit.token
        again = partial(self._whose, token) if token is not None and not self._open else None
        scope = Scope(principal, role, again)
        if (tenant := visit.tenant) is not None:
            scope.require(tenant)
        elif not scope.tenants or (visit.need.everywhere and not scope.everywhere):
            where = " for all tenants" if visit.need.everywhere else ""
            raise Problem(FORBIDDEN, f"This needs the role {role}{where}.")
        return scope

    async def _authenticate(self, visit: "_Visit") -> Principal:
        if self._open:
            if not is_loopback(visit.host):
                # A page in a browser here may have any name point to this address.
                raise Problem(
                    FORBIDDEN, f"Access is open to this machine only, not to {visit.host}."
                )
            if visit.origin is not None and not is_loopback(visit.origin):
                # Browsers send what has no body, or a plain one, for any page.
                raise Problem(FORBIDDEN, "Access is open to this machine's own pages only.")
            return ANYBODY
        token = visit.token
        if token is None:
            self._take(self._addresses, visit.address)
            raise _unauthorised("Send a token: `Authorization: Bearer ...`.", _REALM)
        principal = await self._principal(token, visit.address)
        if principal is None:
            raise _unauthorised(
                "The token is not valid: unknown, expired, revoked, or not meant for Milepost.",
                f'{_REALM}, error="invalid_token"',
            )
        return principal

    async def _principal(self, token: str, address: str) -> Principal | None:
        if is_api_key(token):
            if not self._keys.remembers(token):
                # Whoever guesses must not keep the database busy.
                self._take(self._addresses, address)
            return await self._whose(token)
        principal = await self._whose(token)
        if principal is None:
            self._take(self._addresses, address)
        return principal

    async def _whose(self, token: str) -> Principal | None:
        if is_api_key(token):
            return await self._keys.principal(token)
        return await self._tokens.principal(token) if self._tokens else None

    def _take(self, rates: Rates, key: str) -> None:
        if not self._open and (wait := rates.take(key)):
            raise Problem(
                TOO_MANY_REQUESTS, "Ask less often, or ask for a higher rate.", retry=wait
            )

    async def _note(self, visit: "_Visit") -> None:
        """Note a write, and who was refused. What changed nothing otherwise is no deed."""
        scope, status = visit.scope, visit.status
        refused = status in (401, 403) or (status == 404 and (scope is None or scope.refused))
        if refused or (status == 404 and not visit.need.reads):
            await self._audit.note_refusal(visit.deed, visit.own_tenants)
        elif not visit.need.reads and (status < 400 or status >= 500) and scope is not None:
            await self._audit.note(visit.deed, scope.written | visit.own_tenants)


_NOBODY: Final = Principal("nobody", [])


class _Visit:
    """One request on its way through the guard."""

    def __init__(self, route: str, connection: MutableMapping[str, Any]) -> None:
        self.route = route
        self.need: Need = NEEDS[route]
        self.principal: Principal | None = None
        self.scope: Scope | None = None
        self.status = 0
        self._connection = connection
        self._headers: dict[bytes, bytes] = dict(connection["headers"])
        client = connection.get("client")
        self.address: str = client[0] if client else "unknown"
        given = self._headers.get(b"x-request-id", b"")
        known = _request_id.fullmatch(given)
        self.request_id = given if known else secrets.token_hex(8).encode()

    @property
    def tenant(self) -> str | None:
        """The tenant in the path."""
        tenant: str | None = self._connection["path_params"].get("tenant")
        return tenant

    @property
    def own_tenants(self) -> set[str]:
        """The tenant in the path where the caller has any role: others hear nothing of it."""
        tenant = self.tenant
        known = tenant is not None and self.principal is not None and self.principal.roles(tenant)
        return {tenant} if tenant is not None and known else set()

    @property
    def host(self) -> str:
        """The Host header, without the port."""
        return _host(self._headers.get(b"host", b"").decode("latin-1"))

    @property
    def origin(self) -> str | None:
        """The host of the page that a browser sends this for, None where it says of none."""
        origin = self._headers.get(b"origin")
        return None if origin is None else _host(origin.decode("latin-1").rpartition("/")[2])

    @property
    def token(self) -> str | None:
        """The bearer token."""
        scheme, _, token = self._headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        return token.strip() or None if scheme.lower() == "bearer" else None

    @property
    def deed(self) -> Deed:
        """This request for the audit."""
        who = self.principal.name if self.principal else "not known"
        target = f"{self._connection['method']} {quote(self._connection['path'], safe='/:')}"
        return Deed(who, self.route, target, self.status, self.address, self.request_id.decode())


def _host(place: str) -> str:
    return place.rpartition(":")[0] if place.rpartition(":")[2].isdecimal() else place


def _unauthorised(detail: str, challenge: str) -> Problem:
    return Problem(UNAUTHORISED, detail, headers={"WWW-Authenticate": challenge})
