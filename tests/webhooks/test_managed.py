"""Endpoints that their tenant manages through the API, and what a receiver gets of it."""

import pytest

from api.harness import running_api
from milepost.client import InvalidSignature, MilepostClient, WebhookVerifier
from milepost.schemas.webhooks import WebhookTest
from milepost.settings import Settings
from webhooks.conftest import Sending
from webhooks.receiver import Call, Receiver, Reply


async def test_from_the_making_of_an_endpoint_to_what_it_verifies(
    settings: Settings, tenant: str, receiver: Receiver, sending: Sending
) -> None:
    async def gone(call: Call) -> Reply:
        return Reply(410)

    async with running_api(settings) as api, MilepostClient(api.url) as milepost, sending():
        webhooks = milepost.webhooks
        made = await webhooks.create(tenant, f"{receiver.url}/hook", states=["failed"])
        assert made.secret is not None
        first = WebhookVerifier(made.secret.get_secret_value())
        tested = await webhooks.test(tenant, made.endpoint_id)
        [call] = await receiver.heard("/hook")
        told = first.verify(call.headers, call.body)
        assert isinstance(told, WebhookTest)
        assert (told.tenant, told.endpoint_id) == (tenant, made.endpoint_id)
        assert told.id == call.id == tested.message_id

        rotated = await webhooks.rotate_secret(tenant, made.endpoint_id)
        second = WebhookVerifier(rotated.secret.get_secret_value())
        await webhooks.redeliver(tenant, tested.delivery_id)
        again = (await receiver.heard("/hook", 2))[1]
        assert first.verify(again.headers, again.body) == told
        assert second.verify(again.headers, again.body) == told

        await webhooks.rotate_secret(tenant, made.endpoint_id, overlap_seconds=0)
        receiver.answers["/hook"] = gone
        await webhooks.redeliver(tenant, tested.delivery_id)
        last = (await receiver.heard("/hook", 3))[2]
        with pytest.raises(InvalidSignature):
            first.verify(last.headers, last.body)

    async with running_api(settings) as api, MilepostClient(api.url) as milepost:
        webhooks = milepost.webhooks
        endpoint = await webhooks.endpoint(tenant, made.endpoint_id)
        assert (endpoint.enabled, endpoint.disabled_reason) == (False, "gone")
        delivery = await webhooks.delivery(tenant, tested.delivery_id)
        assert [one.status_code for one in delivery.history] == [200, 200, 410]
