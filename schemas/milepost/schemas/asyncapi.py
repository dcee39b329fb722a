"""The contract as one AsyncAPI 3.0 document: all that a Kafka client in any language needs.

It is written from the side of those who use Milepost: they send events and receive the rest.
"""

from datetime import timedelta
from typing import Any, Final

from milepost.schemas.asyncapi_messages import BINDING_VERSION, components, messages
from milepost.schemas.binding import BINARY
from milepost.schemas.topics import DEFAULT_PARTITIONS, DEFAULT_PREFIX, Topic, Topics

Json = dict[str, Any]

_ABOUT: Final = f"""\
Milepost tracks compute provisioning executions. Providers and callers **send** events; whoever waits
for an end **receives** completions; a provider that takes its work from Milepost receives commands.
Operations are named from their side, not from Milepost's.

**Topics.** A topic's name is the deployment's prefix (`MILEPOST_TOPIC_PREFIX`, by default
`{DEFAULT_PREFIX}`) and what follows it in the channel's address. `topic` in the bindings is
the name under the default prefix.

**Content modes.** Records follow the Kafka binding of CloudEvents 1.0. Events may be sent in binary
mode (attributes in `ce_*` headers, data in the value) or in structured mode (all in the value). What
Milepost sends is in binary mode. Headers and JSON are UTF-8.

**What is sent to Milepost** may arrive more than once and is folded once: the same source and id are
the same event, so send it again with both unchanged where an answer is missing. What cannot be folded
goes to the quarantine topic with its reason, and stops nothing.

**What Milepost sends** is there exactly once for consumers with `isolation.level=read_committed`: one
completion per execution, at most one command to start it and one to cancel it, whatever crashed. Commit
an offset when its work is done. What a consumer's own crash makes it read again has the `ce_id` that it
had: drop repeats by it.

**Order.** The key is the execution id: what Milepost sends about one execution on one topic is in one
partition, in order. There is no order between topics or between executions.

**Changes.** Version 1 never breaks. Members, headers and message types may be added: ignore those that
you do not know."""
_CHANNELS: Final = {
    "events": "Everything publishers report. Folded exactly once, in the order of what happened, not of "
    "arrival: late and repeated events do no harm.",
    "commands": "Work for providers that take it from Milepost. Start work only on `start`.",
    "succeeded": "One completion per execution that succeeded: its whole final view.",
    "failed": "One completion per execution that failed: its whole final view, with the failure and "
    "the resources that were left behind.",
    "cancelled": "One completion per execution that was cancelled: its whole final view.",
    "quarantine": "Records of the events topic that could not be folded, for those who mend them.",
}
_CLIENTS: Final = {
    "send": ("publisher", {"acks": "all", "enable.idempotence": "true"}),
    "receive": (
        "consumer",
        {"isolation.level": "read_committed", "enable.auto.commit": "false"},
    ),
}

_SERVER: Final = {
    "host": "{bootstrap}",
    "protocol": "kafka",
    "description": "Where TLS or a login is needed, the deployment says how.",
    "variables": {
        "bootstrap": {"default": "127.0.0.1:9092", "description": "A broker, as host:port."}
    },
}
_PREFIX: Final = {
    "default": DEFAULT_PREFIX,
    "description": "What every topic name of the deployment starts with: `MILEPOST_TOPIC_PREFIX`.",
}


def document() -> Json:
    """The document as JSON values."""
    topics = {_name(topic): topic for topic in Topics("{prefix}").declared()}
    carried = messages()
    return {
        "asyncapi": "3.0.0",
        "id": "urn:milepost:contract:v1",
        "info": {
            "title": "Milepost",
            "version": "1.0.0",
            "description": _ABOUT,
            "license": {
                "name": "Apache-2.0",
                "url": "https://www.apache.org/licenses/LICENSE-2.0",
            },
        },
        "defaultContentType": BINARY.decode(),
        "servers": {"kafka": _SERVER},
        "channels": {name: _channel(name, topics[name], carried[name]) for name in topics},
        "operations": {_operation_name(name): _operation(name, carried[name]) for name in topics},
        "components": {
            "messages": {name: one for of in carried.values() for name, one in of.items()},
            **components(),
            "parameters": {"prefix": _PREFIX},
            "operationTraits": {
                name: _operation_trait(name, settings) for name, settings in _CLIENTS.values()
            },
        },
    }


def _name(topic: Topic) -> str:
    return topic.name.removeprefix("{prefix}").removesuffix(".v1")


def _channel(name: str, topic: Topic, carried: Json) -> Json:
    days = timedelta(milliseconds=topic.retention_ms).days
    return {
        "address": topic.name,
        "description": f"{_CHANNELS[name]} Kept for {days} days. A new topic gets "
        f"{DEFAULT_PARTITIONS} partitions unless the deployment says otherwise.",
        "servers": [{"$ref": "#/servers/kafka"}],
        "parameters": {"prefix": {"$ref": "#/components/parameters/prefix"}},
        "messages": {one: {"$ref": f"#/components/messages/{one}"} for one in carried},
        "bindings": {
            "kafka": {
                "topic": topic.name.format(prefix=DEFAULT_PREFIX),
                "partitions": DEFAULT_PARTITIONS,
                "topicConfiguration": {
                    **topic.config(),
                    "cleanup.policy": [topic.config()["cleanup.policy"]],
                    "retention.ms": topic.retention_ms,
                    "max.message.bytes": topic.max_message_bytes,
                },
                "bindingVersion": BINDING_VERSION,
            }
        },
    }


def _action(name: str) -> str:
    return "send" if name == "events" else "receive"


def _operation_name(name: str) -> str:
    return f"{_action(name)}_{name}"


def _operation(name: str, carried: Json) -> Json:
    trait, _ = _CLIENTS[_action(name)]
    return {
        "action": _action(name),
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/{one}"} for one in carried],
        "traits": [{"$ref": f"#/components/operationTraits/{trait}"}],
    }


def _operation_trait(name: str, settings: dict[str, str]) -> Json:
    group = {"groupId": {"type": "string", "description": "Yours; its members share the work."}}
    return {
        "description": "Client settings that the guarantees need, by the names that Kafka gives them, "
        "are in `x-client-settings`.",
        "x-client-settings": settings,
        "bindings": {
            "kafka": {
                **(group if name == "consumer" else {}),
                "clientId": {"type": "string", "description": "Yours, to be found in logs."},
                "bindingVersion": BINDING_VERSION,
            }
        },
    }
