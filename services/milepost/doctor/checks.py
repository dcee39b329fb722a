"""Every check, in the order in which they are shown: a check comes after those that it needs."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from milepost.doctor import (
    api,
    broker,
    clocks,
    database,
    executions,
    generation,
    lag,
    log,
    positions,
    processor,
    requests,
    topics,
    webhooks,
)
from milepost.doctor.findings import Finding
from milepost.doctor.stack import Stack


@dataclass(frozen=True)
class Check:
    """One look at a stack.

    `where` says where, should the look itself fail. `needs` are checks without which it is pointless.
    """

    look: Callable[[Stack], Awaitable[list[Finding]]]
    where: Callable[[Stack], str]
    needs: tuple[str, ...] = ()


def _kafka(look: Callable[[Stack], Awaitable[list[Finding]]]) -> Check:
    return Check(look, lambda stack: stack.kafka, ("broker",))


def _postgres(look: Callable[[Stack], Awaitable[list[Finding]]]) -> Check:
    return Check(look, lambda stack: stack.postgres, ("database",))


def _both(look: Callable[[Stack], Awaitable[list[Finding]]]) -> Check:
    return Check(look, lambda stack: f"{stack.kafka}, {stack.postgres}", ("broker", "database"))


CHECKS: Final[dict[str, Check]] = {
    "broker": Check(broker.reachable, lambda stack: stack.kafka),
    "topics": _kafka(topics.as_declared),
    "replicas": _kafka(topics.replicated),
    "database": Check(database.reachable, lambda stack: stack.postgres),
    "server": _postgres(database.server),
    "durability": _postgres(database.durability),
    "rights": _postgres(database.rights),
    "migrations": _postgres(database.migrations),
    "months": _postgres(log.months),
    "positions": _both(positions.agreeing),
    "processor": _both(processor.alive),
    "fold": _both(lag.fold),
    "relay": _both(lag.relay),
    "clocks": _postgres(clocks.agreeing),
    "silent": _postgres(executions.silent),
    "quarantine": _postgres(log.quarantined),
    "requests": _postgres(requests.published),
    "webhooks": _postgres(webhooks.delivered),
    "generation": _postgres(generation.whole),
    "api": Check(api.ready, lambda stack: stack.settings.api_url),
    "issuer": Check(api.issuer, lambda stack: stack.settings.jwt_jwks or "the issuer of JWTs"),
}
