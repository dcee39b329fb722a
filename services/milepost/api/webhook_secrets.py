"""Signing secrets of webhook endpoints: sealed, opened, and replaced by new ones."""

from datetime import datetime, timedelta
from typing import Final
from uuid import uuid4

from milepost.api.problems import TOO_MANY_SECRETS, WEBHOOKS_NOT_CONFIGURED, Problem
from milepost.projections import endpoints
from milepost.projections.endpoints import Endpoint
from milepost.projections.queries import Connection
from milepost.sealing import CannotSeal, Seal
from milepost.settings import Settings

# Every valid secret signs every message, in one header.
MAX_SECRETS: Final = 5


def sealed(settings: Settings, secret: str) -> bytes:
    """The secret as it is stored. Raises Problem (503) where no key is set."""
    try:
        return Seal(settings).seal(secret)
    except CannotSeal as error:
        raise Problem(WEBHOOKS_NOT_CONFIGURED, str(error)) from None


def opened(settings: Settings, ciphertext: bytes) -> str:
    """A secret from its stored form. Raises Problem (503) where its key is not set."""
    try:
        return Seal(settings).open(ciphertext)
    except CannotSeal as error:
        raise Problem(WEBHOOKS_NOT_CONFIGURED, str(error)) from None


async def rotate(
    connection: Connection,
    tenant: str,
    held: Endpoint,
    ciphertext: bytes,
    overlap_seconds: float,
    now: datetime,
) -> None:
    """Make this the newest secret of the endpoint that is held; those before are valid for the overlap.

    Raises Problem (409) where that would be too many.
    """
    end = now + timedelta(seconds=overlap_seconds)
    await endpoints.expire_secrets(connection, tenant, held.endpoint_id, end, now)
    valid = await endpoints.secrets(connection, tenant, held.endpoint_id, now)
    if len(valid) >= MAX_SECRETS:
        first = min(secret.expires_at for secret in valid if secret.expires_at is not None)
        raise Problem(
            TOO_MANY_SECRETS,
            f"{len(valid)} secrets are valid, the first of them until {first:%Y-%m-%dT%H:%M:%SZ}. "
            "Rotate then, or with overlap_seconds 0 to end them all at once.",
        )
    await endpoints.add_secret(connection, tenant, held.endpoint_id, uuid4(), ciphertext, now)
