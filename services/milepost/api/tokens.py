"""Bearer JWTs of one issuer (RFC 7519): who signed them, for whom, until when, and what they grant."""

import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from joserfc import jws, jwt
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jws import JWSRegistry
from joserfc.jwt import JWTClaimsRegistry

from milepost.api.access import Principal
from milepost.api.issuer_keys import IssuerKeys
from milepost.settings import Settings

# Asymmetric ones only: a public key must never pass for a secret.
ALGORITHMS: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
     "EdDSA", "Ed25519"}
)  # fmt: skip
# By which the clocks here and at the issuer may differ.
_LEEWAY_SECONDS: Final = 10
# A verified token is not verified again for so long; expiry is looked at each time.
_REMEMBERED_SECONDS: Final = 30.0
_REMEMBERED: Final = 4_096


class _Registry(JWSRegistry):
    """Only our algorithms, and none of the library's advice on them at each use."""

    def get_alg(self, name: str) -> Any:
        if name not in ALGORITHMS or name not in self.algorithms:
            raise UnsupportedAlgorithmError(f"Algorithm of '{name}' is not allowed")
        return self.algorithms[name]


# Issuers add headers of their own; what matters in them is read by name.
_registry: Final = _Registry(strict_check_header=False)


class Tokens:
    """Verifies tokens. `now` and `clock` as for `create_app`."""

    def __init__(
        self, settings: Settings, now: Callable[[], datetime], clock: Callable[[], float]
    ) -> None:
        assert settings.jwt_issuer, "JWTs need an issuer"
        assert settings.jwt_audience, "JWTs need an audience"
        assert settings.jwt_jwks, "JWTs need keys"
        self._keys = IssuerKeys(settings.jwt_jwks, clock)
        self._grants_claim = settings.jwt_grants_claim
        self._now = now
        self._clock = clock
        self._claims = JWTClaimsRegistry(
            now=lambda: int(now().timestamp()),
            leeway=_LEEWAY_SECONDS,
            iss={"essential": True, "value": settings.jwt_issuer},
            aud={"essential": True, "value": settings.jwt_audience},
            exp={"essential": True},
            sub={"essential": True},
        )
        # By the hash of the token: the principal, when it expires, and when it was verified.
        self._verified: dict[bytes, tuple[Principal, float, float]] = {}

    async def principal(self, token: str) -> Principal | None:
        """Whose token this is; None for one that is not valid.

        Raises Problem (503) where the issuer's keys cannot be had.
        """
        digest = hashlib.sha256(token.encode()).digest()
        if known := self._verified.get(digest):
            principal, expires, verified = known
            if self._clock() - verified < _REMEMBERED_SECONDS:
                return principal if self._now().timestamp() < expires else None
            del self._verified[digest]
        claims = await self._verify(token)
        if claims is None:
            return None
        principal = Principal(f"{claims['sub']} ({claims['iss']})"[:255], self._grants(claims))
        if len(self._verified) >= _REMEMBERED:
            self._verified.clear()
        expires = claims["exp"] + _LEEWAY_SECONDS
        self._verified[digest] = (principal, expires, self._clock())
        return principal

    async def _verify(self, token: str) -> dict[str, Any] | None:
        try:
            header = jws.extract_compact(token.encode(), registry=_registry).headers()
            # What a token says about where its key is (jku, x5u, jwk, x5c) is never followed.
            if header.get("alg") not in ALGORITHMS or "crit" in header:
                return None
            kid = header.get("kid")
            key = await self._keys.get(kid) if isinstance(kid, str) else None
            if key is None or key.get("alg", header["alg"]) != header["alg"]:
                return None
            claims = jwt.decode(token, key, registry=_registry).claims
            self._claims.validate(claims)
            if not str(claims["sub"]).isprintable():
                return None  # nor can the audit keep it
        except (JoseError, ValueError, TypeError, OverflowError):
            return None
        return claims

    def _grants(self, claims: dict[str, Any]) -> list[str]:
        """A list of grants, or one string of them with blanks between; other members of a list, such
        as names of groups, grant nothing."""
        granted = claims.get(self._grants_claim)
        if isinstance(granted, str):
            return granted.split()
        return [one for one in granted if isinstance(one, str)] if isinstance(granted, list) else []
