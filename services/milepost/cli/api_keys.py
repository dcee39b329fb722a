"""The commands for API keys."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from cyclopts import App, Parameter

from milepost.cli import display, logs
from milepost.cli.asking import asked
from milepost.cli.display import Output
from milepost.client import ApiKey, MilepostClient
from milepost.settings import Settings

app: Final = App(
    name="api-keys",
    help="""Make, list and revoke keys for the HTTP API.

    Example: `milepost api-keys create ci --grant acme:publisher --grant acme:reader`
    """,
)
_BOOTSTRAP: Final = "bootstrap"
Several = Annotated[list[str] | None, Parameter(negative=())]


@app.command
def create(
    name: Annotated[str, Parameter(name="NAME")],
    /,
    *,
    grant: Annotated[list[str], Parameter(negative=())],
    provider: Several = None,
    expires_in: timedelta | None = None,
    output: Output = "text",
) -> None:
    """Make a key; its token is printed on standard output, now and never again.

    Example: `milepost api-keys create ci --grant acme:publisher --expires-in 90d`

    Args:
        name: What it is for.
        grant: `tenant:role`, may be given several times. The roles are reader, publisher, operator and
            admin; the tenant `*` stands for all.
        provider: Only for events of this provider; may be given several times.
        expires_in: How long it is good for, e.g. 12h or 90d. [default: until it is revoked]
        output: The token alone, or one JSON object.
    """
    expires_at = None if expires_in is None else datetime.now(UTC) + expires_in
    made = asked(
        lambda api: api.api_keys.create(name, grant, providers=provider, expires_at=expires_at)
    )
    assert made.token is not None, "a new key has its token"
    token = made.token.get_secret_value()
    document = made.model_dump(mode="json") | {"token": token}
    print(token if output == "text" else json.dumps(document))


@app.command(name="list")
def list_(*, output: Output = "text") -> None:
    """List the keys that your own token administers, the newest first.

    Example: `milepost api-keys list -o jsonl`

    Args:
        output: A table for people, one JSON array, or one JSON object a line.
    """

    async def look(api: MilepostClient) -> list[ApiKey]:
        return [key async for key in api.api_keys.list()]

    keys = asked(look)
    rows = [
        (
            key.key_id,
            key.name,
            " ".join(key.grants),
            display.moment(key.created_at),
            display.moment(key.last_used_at),
            f"revoked {display.moment(key.revoked_at)}"
            if key.revoked_at
            else display.moment(key.expires_at),
        )
        for key in keys
    ]
    columns = ("ID", "NAME", "GRANTS", "CREATED", "LAST USED", "GOOD UNTIL")
    display.show_all(keys, output, columns, rows)


@app.command
def revoke(key_id: Annotated[str, Parameter(name="ID")], /) -> None:
    """Have a key refused, within seconds, for ever.

    Example: `milepost api-keys revoke 0f3a52c1b7de`

    Args:
        key_id: The key's id: what stands between `mp_` and the next `_` of its token.
    """
    asked(lambda api: api.api_keys.revoke(key_id))


@app.command
def bootstrap() -> None:
    """Make the first key, in the database itself, and print its token.

    For who runs Milepost: it needs MILEPOST_DATABASE_URL, not the API, and its key may do everything.
    Run again, it makes another one and revokes the former.

    Example: `MILEPOST_DATABASE_URL=postgresql://me@db/milepost milepost api-keys bootstrap`
    """
    from milepost.api.keys import bootstrap

    settings = Settings()
    logs.configure_for_commands(settings)
    print(asyncio.run(bootstrap(settings.dsn, _BOOTSTRAP)).get_secret_value())
