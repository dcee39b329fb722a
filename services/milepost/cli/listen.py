"""Completions as webhooks to this machine, without an endpoint that others can reach."""

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

import httpx2
from cyclopts import Parameter
from standardwebhooks import Webhook

from milepost.cli import display, logs
from milepost.cli.failures import USAGE, Unable
from milepost.cli.run import say
from milepost.cli.signals import until_stopped
from milepost.cli.states import Ended
from milepost.client import Completion, MilepostClient, State, StreamedExecution
from milepost.schemas.values import TERMINAL
from milepost.schemas.webhooks import completion_payload, new_secret, signing_key
from milepost.settings import STACK_FILE, Settings

SECRET_FILE: Final = STACK_FILE.with_name("listen-secret")
# As long as Milepost waits for a tenant's endpoint.
_ANSWER_SECONDS: Final = 15


def listen(
    *,
    forward_to: str,
    tenant: str,
    state: Annotated[list[Ended] | None, Parameter(negative=())] = None,
    secret: Annotated[str | None, Parameter(env_var="MILEPOST_LISTEN_SECRET")] = None,
) -> None:
    """Forward a tenant's completions to a URL as the webhooks that Milepost would send, from now on.

    Each is posted once, signed, with a line about the answer. Without --secret, one is made at the
    first use and kept in .milepost/listen-secret.

    Example: `milepost listen --tenant acme --forward-to http://127.0.0.1:3000/hooks`

    Args:
        forward_to: Where to post them.
        tenant: Whose completions.
        state: Only those in this state; may be repeated.
        secret: Sign with this secret: whsec_ and base64.
    """
    if not _is_url(forward_to):
        raise Unable(f"--forward-to {forward_to} is no http or https URL.", USAGE)
    source = "--secret" if secret else str(SECRET_FILE)
    secret = secret or _kept_secret()
    try:
        signer = Webhook(signing_key(secret))
    except ValueError as error:
        raise Unable(f"{source}: {error}.", USAGE) from None
    logs.configure_for_commands(Settings())
    print(f"signing secret: {secret}", flush=True)
    states = frozenset(state or TERMINAL)
    asyncio.run(until_stopped(_forward(forward_to, tenant, states, signer), say))


def _is_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        return False


def _kept_secret() -> str:
    """The secret of this folder, made where there is none."""
    secret = new_secret()
    try:
        SECRET_FILE.parent.mkdir(exist_ok=True)
        try:
            file = os.open(SECRET_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return SECRET_FILE.read_text().strip()
        with open(file, "w") as made:
            made.write(f"{secret}\n")
    except OSError as error:
        path = Path.cwd() / SECRET_FILE
        raise Unable(
            f"cannot keep a secret in {path}: {error.strerror}. Give one with --secret."
        ) from None
    return secret


async def _forward(url: str, tenant: str, states: frozenset[State], signer: Webhook) -> None:
    async with (
        MilepostClient() as api,
        httpx2.AsyncClient(trust_env=False, timeout=_ANSWER_SECONDS) as http,
    ):
        changes = api.stream_tenant(
            tenant,
            states=states,
            on_ready=lambda: _tell(f"completions of {tenant} go to {url} from now on"),
        )
        async for execution in changes:
            # What comes late changes an execution that is over; it has ended once.
            if execution.completion_id is not None:
                answer = await _post(http, url, execution, execution.completion_id, signer)
                _tell(f"{execution.state.value} {execution.execution_id}: {answer}")


async def _post(
    http: httpx2.AsyncClient, url: str, execution: StreamedExecution, id_: str, signer: Webhook
) -> str:
    """What became of a completion, in words."""
    completion = Completion(id=id_, **dict(execution))
    ended_at = execution.transitions[-1].recorded_at or execution.recorded_at
    payload = completion_payload(execution.state, ended_at, completion.model_dump_json().encode())
    now = datetime.now(UTC)
    headers = {
        "webhook-id": id_,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signer.sign(id_, now, payload.decode()),
        "content-type": "application/json",
    }
    try:
        answer = await http.post(url, content=payload, headers=headers)
    except (httpx2.RequestError, httpx2.InvalidURL) as error:
        return f"not delivered, {str(error) or type(error).__name__}"
    return f"{answer.status_code} {answer.reason_phrase}".rstrip()


def _tell(line: str) -> None:
    print(f"{display.moment(datetime.now(UTC))} {line}", flush=True)
