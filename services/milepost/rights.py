"""The rights at the Kafka broker (ACLs) that each kind of client needs, and no others."""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Literal, NamedTuple

from milepost.schemas.topics import Topics
from milepost.schemas.values import TERMINAL
from milepost.settings import Settings

Resource = Literal["TOPIC", "GROUP", "TRANSACTIONAL_ID"]
Operation = Literal["READ", "WRITE", "CREATE", "DESCRIBE", "DESCRIBE_CONFIGS", "ALTER_CONFIGS"]


class Right(NamedTuple):
    """`principal` (User:name) may do `operation` to what is called `name`, or begins with it.

    READ and WRITE include DESCRIBE, as Kafka has it.
    """

    principal: str
    operation: Operation
    resource: Resource
    name: str
    pattern: Literal["LITERAL", "PREFIXED"] = "LITERAL"


class Principals(NamedTuple):
    """Who does what. `groups` are the consumer groups of the subscribers and of the workers."""

    processor: Sequence[str] = ()
    api: Sequence[str] = ()
    webhooks: Sequence[str] = ()
    publisher: Sequence[str] = ()
    subscriber: Sequence[str] = ()
    worker: Sequence[str] = ()
    operator: Sequence[str] = ()
    groups: Sequence[str] = ()


def rights(settings: Settings, principals: Principals) -> list[Right]:
    """Every right that these principals need, each once, by principal and resource."""
    topics, group = settings.topics, settings.consumer_group
    needed: set[Right] = set()
    for who in principals.processor:
        needed |= set(_processor(who, topics, group))
    for who in (*principals.api, *principals.publisher, *principals.worker):
        needed.add(Right(who, "WRITE", "TOPIC", topics.events))
    for who in principals.webhooks:
        needed |= set(_completions(who, topics))
        needed.add(Right(who, "READ", "GROUP", f"{group}.webhooks"))
    for who in principals.subscriber:
        needed |= set(_completions(who, topics))
        needed |= set(_groups(who, topics, principals.groups))
    for who in principals.worker:
        needed.add(Right(who, "READ", "TOPIC", topics.commands))
        needed |= set(_groups(who, topics, principals.groups))
    for who in principals.operator:
        needed |= set(_operator(who, topics))
    return sorted(needed, key=lambda one: (one.principal, one.resource, one.name, one.operation))


def _processor(who: str, topics: Topics, group: str) -> Iterator[Right]:
    for topic in topics.declared():
        yield Right(who, "DESCRIBE_CONFIGS", "TOPIC", topic.name)
        if topic.name != topics.events:
            yield Right(who, "WRITE", "TOPIC", topic.name)
    yield Right(who, "READ", "TOPIC", topics.events)
    yield Right(who, "READ", "GROUP", group)
    # One for each partition.
    yield Right(who, "WRITE", "TRANSACTIONAL_ID", f"{group}.{topics.events}.", "PREFIXED")


def _completions(who: str, topics: Topics) -> Iterator[Right]:
    for state in TERMINAL:
        yield Right(who, "READ", "TOPIC", topics.completions(state))


def _groups(who: str, topics: Topics, groups: Sequence[str]) -> Iterator[Right]:
    """Its place in the group, and the topic where the group puts aside what it cannot do."""
    for group in groups:
        aside = topics.dead_letters(group).name
        yield Right(who, "READ", "GROUP", group)
        yield Right(who, "READ", "GROUP", f"{group}.dead-letter")
        for operation in ("CREATE", "READ", "WRITE"):
            yield Right(who, operation, "TOPIC", aside)


def _operator(who: str, topics: Topics) -> Iterator[Right]:
    for topic in topics.declared():
        for operation in ("CREATE", "DESCRIBE", "DESCRIBE_CONFIGS", "ALTER_CONFIGS"):
            yield Right(who, operation, "TOPIC", topic.name)


def commands(needed: Iterable[Right], servers: str) -> list[str]:
    """Lines for a shell, each a call of Kafka's own tool; its file has the administrator's login."""
    lines = []
    for (principal, resource, name, pattern), of_one in groupby(
        needed, lambda one: (one.principal, one.resource, one.name, one.pattern)
    ):
        words = [
            *("kafka-acls.sh", "--bootstrap-server", servers),
            *("--command-config", "admin.properties", "--add", "--allow-principal", principal),
            *(word for one in of_one for word in ("--operation", _word(one.operation))),
            *(f"--{resource.lower().replace('_', '-')}", name),
        ]
        if pattern != "LITERAL":
            words += ["--resource-pattern-type", pattern.lower()]
        lines.append(shlex.join(words))
    return lines


def _word(operation: str) -> str:
    return "".join(part.capitalize() for part in operation.split("_"))
