"""How soon after an execution's end is published its webhook is called: real workers, a loopback receiver."""

import asyncio
import base64
import json
import os
import time

from benchmarks.stack import Stack, processor, service
from milepost.client import Publisher
from milepost.projections import webhooks
from milepost.sealing import Seal
from milepost.settings import Settings
from webhooks.conftest import Tenant
from webhooks.receiver import Call, Reply, receiving

RATE = 20  # executions a second, three events each
COUNT = 200
WARM_UP = 40
TENANT = "hooked"


async def measure(stack: Stack) -> dict[str, list[float]]:
    """Milliseconds from the call that publishes the end until the receiver has read the request."""
    settings = Settings(
        **{
            **dict(await stack.fresh()),
            "webhook_keys": base64.urlsafe_b64encode(os.urandom(32)).decode(),
            "webhook_allowed_networks": "127.0.0.0/8",
        }
    )
    ended: dict[str, float] = {}
    taken: list[float] = []

    async def answer(call: Call) -> Reply:
        now = time.perf_counter()
        execution = json.loads(call.body)["data"]["execution_id"]
        taken.append((now - ended.pop(execution)) * 1e3)
        return Reply()

    async with (
        receiving() as receiver,
        await webhooks.connect(settings.dsn, size=1) as pool,
        processor(settings),
        service(settings, "webhooks"),
        Publisher(settings, source="/benchmarks") as publisher,
    ):
        receiver.answers["/hook"] = answer
        await Tenant(TENANT, pool, Seal(settings), receiver.url).hook("/hook")
        began = time.perf_counter()
        for number in range(COUNT):
            run = await publisher.request(TENANT, "provision", key=str(number))
            await run.started()
            ended[run.execution_id] = time.perf_counter()
            await run.succeeded()
            await asyncio.sleep(max(0.0, began + number / RATE - time.perf_counter()))
        await receiver.heard("/hook", COUNT)
    return {f"webhooks at {RATE}/s: from published to called, ms": taken[WARM_UP:]}
