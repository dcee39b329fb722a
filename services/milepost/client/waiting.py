"""Waiting for the end of one execution where its completion is told."""

import asyncio
import random
from typing import Final

from milepost.client.errors import ApiError, ApiUnavailable, WaitTimeout
from milepost.client.http import MilepostClient
from milepost.client.subscriber import Subscriber
from milepost.schemas.notifications import Completion, Execution
from milepost.schemas.values import TERMINAL
from milepost.settings import Settings

_RETRY_SECONDS: Final = 2.0


async def wait_for(
    execution_id: str,
    timeout: float = 60,  # noqa: ASYNC109  # the public shape
    *,
    tenant: str | None = None,
    settings: Settings | None = None,
) -> Execution:
    """The execution when it is over: from the API where it has ended already, else as it is told.

        execution = await wait_for(run.execution_id, timeout=600)

    Goes to the end of the completion topics first, without a group, then asks the API once for the
    present state, then follows the topics: an end between the two is not missed. While the API does
    not answer it is asked again, and a completion that comes meanwhile counts all the same. One
    connection to Kafka for each call: for very many at once follow one Subscriber, or use
    `MilepostClient.wait`, which needs no Kafka.

    Args:
        execution_id: the execution; one that is not known yet is waited for.
        timeout: seconds to wait.
        tenant: whose it is, where the token may ask about several tenants.
        settings: where Kafka and the API are; by default read from the environment.

    Raises WaitTimeout after `timeout` seconds, ApiError where the API refuses to answer (404 apart:
    not known yet, or not this token's to see), BrokerUnavailable, BrokerRefused or TopicMissing where
    there is nothing to follow.
    """
    settings = settings or Settings()
    token = None if settings.token is None else settings.token.get_secret_value()
    deadline = asyncio.get_running_loop().time() + timeout
    tenants = None if tenant is None else {tenant}
    async with (
        Subscriber(settings, tenants=tenants, timeout=timeout) as completions,
        MilepostClient(settings.api_url, token) as api,
    ):
        told = asyncio.ensure_future(_told(completions, execution_id))
        seen = asyncio.ensure_future(_seen(api, execution_id, tenant))
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.wait({told, seen}, return_when=asyncio.FIRST_COMPLETED)
                if told.done():
                    return told.result()
                now = seen.result()
                return now if now is not None and now.state in TERMINAL else await told
        except TimeoutError:
            known = seen.result() if seen.done() else None
            state = None if known is None else known.state
            raise WaitTimeout(execution_id, timeout, state) from None
        finally:
            for one in (told, seen):
                one.cancel()
            await asyncio.gather(told, seen, return_exceptions=True)


async def _told(completions: Subscriber, execution_id: str) -> Completion:
    while True:
        completion = await anext(completions)
        if completion.execution_id == execution_id:
            return completion


async def _seen(api: MilepostClient, execution_id: str, tenant: str | None) -> Execution | None:
    """What the API knows at its first answer; None: nothing."""
    while True:
        try:
            return await api.execution(execution_id, tenant=tenant)
        except ApiUnavailable:
            pass
        except ApiError as error:
            if error.status == 404:
                return None
            if error.status < 500:
                raise
        await asyncio.sleep(random.uniform(_RETRY_SECONDS / 2, _RETRY_SECONDS))
