"""Who may do what: roles, the callers who have them, and what one request may touch."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import StrEnum
from typing import Final

from milepost.api.problems import FORBIDDEN, UNKNOWN_TENANT, Problem
from milepost.schemas.values import TENANT_PATTERN

# In a grant and for row-level security: all tenants.
EVERY_TENANT: Final = "*"


class Role(StrEnum):
    """What a caller may do for a tenant."""

    READER = "reader"
    PUBLISHER = "publisher"
    OPERATOR = "operator"
    ADMIN = "admin"


# What each role brings with it. A publisher reads nothing but the answers to what it publishes.
_INCLUDED: Final[Mapping[Role, frozenset[Role]]] = {
    Role.READER: frozenset({Role.READER}),
    Role.PUBLISHER: frozenset({Role.PUBLISHER}),
    Role.OPERATOR: frozenset({Role.READER, Role.PUBLISHER, Role.OPERATOR}),
    Role.ADMIN: frozenset(Role),
}
GRANT_PATTERN: Final = rf"^(\*|{TENANT_PATTERN[1:-1]}):({'|'.join(Role)})$"
_grant: Final = re.compile(GRANT_PATTERN)


def read_grants(grants: Iterable[str]) -> dict[str, frozenset[Role]]:
    """The roles by tenant, from `tenant:role` and `*:role`. Anything else grants nothing."""
    roles: dict[str, frozenset[Role]] = {}
    for grant in grants:
        if found := _grant.fullmatch(grant):
            tenant, role = found[1], Role(found[2])
            roles[tenant] = roles.get(tenant, frozenset()) | _INCLUDED[role]
    return roles


class Principal:
    """A caller: what it is called in the audit, its roles by tenant, and the providers it is limited
    to (None: any)."""

    def __init__(
        self,
        name: str,
        grants: Iterable[str],
        providers: Iterable[str] | None = None,
    ) -> None:
        self.name = name
        self.providers = None if providers is None else frozenset(providers)
        self._roles = read_grants(grants)
        self._tenants = {
            role: frozenset(tenant for tenant, roles in self._roles.items() if role in roles)
            for role in Role
        }

    def roles(self, tenant: str) -> frozenset[Role]:
        """Its roles for a tenant, those for all tenants among them."""
        everywhere = self._roles.get(EVERY_TENANT, frozenset())
        return everywhere | self._roles.get(tenant, frozenset())

    def tenants(self, role: Role) -> frozenset[str]:
        """The tenants for which it has a role; EVERY_TENANT stands for all."""
        return self._tenants[role]

    def __repr__(self) -> str:
        return f"Principal({self.name!r})"


class Scope:
    """What one request may touch: the tenants for which its principal has the role of the route.

    It remembers what it refused and which tenants were written to, for the audit. `again` tells whose
    the token is now, None where it is not valid any more.
    """

    def __init__(
        self,
        principal: Principal,
        role: Role,
        again: Callable[[], Awaitable[Principal | None]] | None = None,
    ) -> None:
        self._again = again
        self.principal = principal
        self.role = role
        self.tenants = principal.tenants(role)
        self.everywhere = EVERY_TENANT in self.tenants
        self.written: set[str] = set()
        self.refused = False

    def require(self, tenant: str) -> None:
        """Raise Problem: 404 for a tenant that is not the principal's, whether or not there is one
        of that name; 403 where its role there is too small."""
        if self.everywhere or tenant in self.tenants:
            return
        self.refused = True
        if tenant == EVERY_TENANT or self.principal.roles(tenant):
            where = "all tenants" if tenant == EVERY_TENANT else f"tenant {tenant}"
            raise Problem(FORBIDDEN, f"This needs the role {self.role} for {where}.")
        raise Problem(UNKNOWN_TENANT, f"No tenant {tenant} is known.")

    def wrote(self, tenant: str) -> None:
        """Remember that something of this tenant was written."""
        if self.principal is not _MILEPOST:
            self.written.add(tenant)

    def require_provider(self, provider: str | None) -> None:
        """Raise Problem (403) where the principal may not act for this provider."""
        allowed = self.principal.providers
        if allowed is None or provider in allowed:
            return
        self.refused = True
        detail = f"This key is for the provider {' or '.join(sorted(allowed))} only."
        raise Problem(FORBIDDEN, detail)

    def visible(self, tenant: str) -> str:
        """What row-level security shows for a look at `tenant` (EVERY_TENANT: at all there are):
        never more than the principal's own, even where `require` was forgotten."""
        if self.everywhere or tenant in self.tenants:
            return tenant
        return ",".join(sorted(self.tenants)) if tenant == EVERY_TENANT else ""

    def sees(self, tenant: str) -> bool:
        """Whether the tenant's rows may be looked at."""
        return self.everywhere or tenant in self.tenants

    async def still_sees(self, tenant: str) -> bool:
        """As `sees`, for a request that goes on for long: a token can be taken back meanwhile.

        Raises Problem (503) where that cannot be said.
        """
        if self._again is None:
            return self.sees(tenant)
        principal = await self._again()
        return principal is not None and Scope(principal, self.role).sees(tenant)


_ALL: Final = [f"{EVERY_TENANT}:{Role.ADMIN}"]
# Every caller where access is open.
ANYBODY: Final = Principal("anybody", _ALL)
_MILEPOST: Final = Principal("milepost", _ALL)
# For what Milepost does of itself.
EVERYTHING: Final = Scope(_MILEPOST, Role.ADMIN)
