"""The SDK: publish events, subscribe to completions, query executions.

`Publisher`, `Subscriber`, `Commands`, `MilepostClient` and `wait_for` are asynchronous;
`milepost.client.sync` has the same for code without an event loop. `WebhookVerifier` checks what a webhook endpoint receives.
"""

from milepost.client.api_keys import ApiKey
from milepost.client.commands import Commands
from milepost.client.errors import (
    ApiError,
    ApiUnavailable,
    BrokerRefused,
    BrokerUnavailable,
    InvalidEvent,
    InvalidSignature,
    MilepostError,
    RecordTooLarge,
    TopicMissing,
    WaitTimeout,
)
from milepost.client.execution import ExecutionHandle
from milepost.client.http import (
    ExecutionLinks,
    LinkedExecution,
    MilepostClient,
    TenantResource,
)
from milepost.client.logs import LogEntry
from milepost.client.publisher import Published, Publisher
from milepost.client.streams import StreamedExecution
from milepost.client.subscriber import Subscriber
from milepost.client.waiting import wait_for
from milepost.client.webhook_endpoints import (
    WebhookAttempt,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookRedelivery,
    WebhookSecret,
)
from milepost.client.webhooks import WebhookVerifier
from milepost.schemas.notifications import Command, Completion, Execution, Transition
from milepost.schemas.values import (
    Category,
    Expectations,
    Failure,
    Links,
    LogLine,
    Origin,
    Progress,
    Resource,
    State,
)
from milepost.schemas.webhooks import WebhookDisabled, WebhookMessage, WebhookTest

__all__ = [
    "ApiError",
    "ApiKey",
    "ApiUnavailable",
    "BrokerRefused",
    "BrokerUnavailable",
    "Category",
    "Command",
    "Commands",
    "Completion",
    "Execution",
    "ExecutionHandle",
    "ExecutionLinks",
    "Expectations",
    "Failure",
    "InvalidEvent",
    "InvalidSignature",
    "LinkedExecution",
    "Links",
    "LogEntry",
    "LogLine",
    "MilepostClient",
    "MilepostError",
    "Origin",
    "Progress",
    "Published",
    "Publisher",
    "RecordTooLarge",
    "Resource",
    "State",
    "StreamedExecution",
    "Subscriber",
    "TenantResource",
    "TopicMissing",
    "Transition",
    "WaitTimeout",
    "WebhookAttempt",
    "WebhookDelivery",
    "WebhookDisabled",
    "WebhookEndpoint",
    "WebhookMessage",
    "WebhookRedelivery",
    "WebhookSecret",
    "WebhookTest",
    "WebhookVerifier",
    "wait_for",
]
