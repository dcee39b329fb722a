"""The HTTP API: does it serve? And can it read the keys of who signs its JWTs?"""

from typing import Any, Final

import httpx2
import orjson

from milepost.api import issuer_keys
from milepost.doctor.findings import CannotLook, Finding, error, ok
from milepost.doctor.stack import CONNECT_SECONDS, Stack

_START: Final = "Start it: milepost api. MILEPOST_API_URL says where to look."


async def ready(stack: Stack) -> list[Finding]:
    """It answers, and says that it can serve."""
    if "api_url" not in stack.settings.model_fields_set:
        raise CannotLook("MILEPOST_API_URL is not set")
    url = stack.settings.api_url.rstrip("/")
    try:
        async with httpx2.AsyncClient(trust_env=False, timeout=CONNECT_SECONDS) as http:
            answer = await http.get(f"{url}/readyz")
            checks: dict[str, Any] = answer.json()["checks"]
            troubles = {name: one["detail"] for name, one in checks.items() if not one["ok"]}
    except (httpx2.HTTPError, httpx2.InvalidURL) as broken:
        found = f"no answer: {str(broken) or type(broken).__name__}"
        return [error(found, url, _START)]
    except (ValueError, TypeError, KeyError, AttributeError):
        return [error(f"what answers ({answer.status_code}) is no Milepost API", url, _START)]
    return [
        error(f"it cannot serve, {name}: {detail}", url, "See to what is said here and above.")
        for name, detail in troubles.items()
    ] or [ok("ready", url)]


async def issuer(stack: Stack) -> list[Finding]:
    """The keys of the issuer of JWTs can be read, and one of them is usable."""
    place = stack.settings.jwt_jwks
    if place is None:
        raise CannotLook("MILEPOST_JWT_JWKS is not set")
    remedy = f"Correct MILEPOST_JWT_JWKS, or look at the issuer: curl -sS {place}"
    try:
        keys = issuer_keys.usable(orjson.loads(await issuer_keys.read(place)))
    except (OSError, httpx2.HTTPError, ValueError, TypeError, KeyError) as broken:
        found = f"its keys cannot be read: {str(broken) or type(broken).__name__}"
        return [error(found, place, remedy)]
    if not keys:
        return [error("none of its keys can be used for signatures", place, remedy)]
    return [ok(f"{len(keys)} usable key{'s' if len(keys) > 1 else ''}", place)]
