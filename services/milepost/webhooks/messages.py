"""What is sent: completions as they stand on their topics, and notices of Milepost's own."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID, uuid4

from pydantic import ConfigDict, Field

from milepost.projections.webhooks import Disabled, Message, Offer
from milepost.schemas.binding import TRACEPARENT_PATTERN
from milepost.schemas.notifications import COMPLETION_TYPE, OPEN, Completion
from milepost.schemas.values import TERMINAL, ExecutionId, Name, Tenant
from milepost.schemas.webhooks import (
    DISABLED_TYPE,
    WebhookDisabled,
    completion_payload,
    notice_payload,
)

_NOTICE: Final = "notice_"


class _Stored(Completion):
    """A completion whose facts fit into columns, and its id into a header."""

    model_config = ConfigDict(**OPEN, title="Completion", hide_input_in_errors=True)
    id: Annotated[str, Field(pattern=r"^[!-~]{1,255}$")]
    tenant: Tenant
    execution_id: ExecutionId
    operation: Name | None = None


def offer(record: Any) -> Offer:
    """What a record of a completion topic offers to endpoints. Raises ValueError for what is none."""
    completion = _Stored.model_validate_json(record.value or b"")
    if completion.state not in TERMINAL:
        raise ValueError(f"the state is {completion.state}, which is not terminal")
    recorded_at = datetime.fromtimestamp(record.timestamp / 1_000, UTC)
    message = Message(
        completion.tenant,
        completion.id,
        COMPLETION_TYPE.format(state=completion.state),
        UUID(completion.execution_id),
        completion_payload(completion.state, recorded_at, record.value),
        _traceparent(record),
    )
    operation = completion.operation if completion.requested else None
    return Offer(message, completion.state, operation, recorded_at)


def _traceparent(record: Any) -> str | None:
    """What the completion was given on from the event that caused it."""
    value = dict(record.headers).get("ce_traceparent") or b""
    text: str = value.decode("latin-1")
    return text if re.fullmatch(TRACEPARENT_PATTERN, text) else None


def notice(tenant: str, disabled: Disabled) -> Message:
    """What a tenant's other endpoints hear when one has been disabled."""
    endpoint, message_id = disabled.endpoint, f"{_NOTICE}{uuid4()}"
    told = WebhookDisabled(
        id=message_id,
        tenant=tenant,
        endpoint_id=str(endpoint.endpoint_id),
        url=endpoint.url,
        reason=disabled.reason,
        failing_since=endpoint.failing_since,
    )
    return Message(tenant, message_id, DISABLED_TYPE, None, notice_payload(disabled.at, told))
