"""The public keys of the issuer of JWTs (a JWK set, RFC 7517), from an address or a file."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
import orjson
import structlog
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, Key, OKPKey, RSAKey

from milepost.api.problems import ISSUER_UNAVAILABLE, Problem

# Keys that the issuer has taken back are forgotten after this.
_KEPT_SECONDS: Final = 300.0
# Tokens with made-up key ids must not become requests to the issuer.
_COOLDOWN_SECONDS: Final = 10.0
_FETCH_SECONDS: Final = 5.0
_MAX_BYTES: Final = 1_048_576
_MIN_RSA_BITS: Final = 2_048
_log: Final = structlog.get_logger(__name__)


class IssuerKeys:
    """Fetches the keys when they are needed, at `place`: an http(s) URL or the path of a file."""

    def __init__(self, place: str, clock: Callable[[], float]) -> None:
        self._place = place
        self._clock = clock
        self._keys: dict[str, Key] | None = None
        self._tried = float("-inf")
        self._fetching = asyncio.Lock()

    async def get(self, kid: str) -> Key | None:
        """The key of this id; None where the issuer has none of it.

        An unknown id makes it ask the issuer again, at most every 10 s. Raises Problem (503) where
        no key was ever had.
        """
        if not self._knows(kid) or self._wanting(kid):
            # Whoever asks for a new key waits for the one who fetches it.
            async with self._fetching:
                if self._wanting(kid):
                    await self._fetch()
        if self._keys is None:
            raise Problem(ISSUER_UNAVAILABLE, "The issuer's keys cannot be read; see the log.")
        return self._keys.get(kid)

    def _knows(self, kid: str) -> bool:
        return self._keys is not None and kid in self._keys

    def _wanting(self, kid: str) -> bool:
        age = self._clock() - self._tried
        return age >= (_KEPT_SECONDS if self._knows(kid) else _COOLDOWN_SECONDS)

    async def _fetch(self) -> None:
        self._tried = self._clock()
        try:
            text = await read(self._place)
            self._keys = usable(orjson.loads(text))
        except (OSError, httpx2.HTTPError, ValueError, TypeError, KeyError) as error:
            # Those that are known still serve.
            _log.warning("issuer_keys_unreadable", place=self._place, error=str(error))


async def read(place: str) -> bytes:
    """What is at `place`, up to 1 MiB. Raises OSError, httpx2.HTTPError, ValueError."""
    if urlsplit(place).scheme not in ("http", "https"):
        return await asyncio.to_thread(Path(place).read_bytes)
    async with (
        asyncio.timeout(_FETCH_SECONDS),
        httpx2.AsyncClient(trust_env=False, follow_redirects=False) as http,
        http.stream("GET", place) as answer,
    ):
        if answer.status_code != 200:
            raise ValueError(f"it answered {answer.status_code}")
        text = b""
        async for piece in answer.aiter_bytes():
            text += piece
            if len(text) > _MAX_BYTES:
                raise ValueError(f"it is larger than {_MAX_BYTES:,} bytes")
        return text


def usable(document: Any) -> dict[str, Key]:
    """The public keys for signatures in a JWK set, by their ids. Raises ValueError, TypeError, KeyError
    for what is no JWK set."""
    keys = {}
    for jwk in document["keys"]:
        try:
            kid, key = jwk["kid"], JWKRegistry.import_key(jwk)
        except (JoseError, ValueError, TypeError, KeyError):
            continue  # a key of a kind that is not known here does not spoil the others
        # No `oct`: what is published is no secret.
        is_strong = isinstance(key, ECKey | OKPKey) or (
            isinstance(key, RSAKey) and key.public_key.key_size >= _MIN_RSA_BITS
        )
        if is_strong and jwk.get("use", "sig") == "sig":
            keys[str(kid)] = key
    return keys
