"""The topics, declared once: names, sizes and times. `milepost topics apply` makes the broker agree."""

import re
from dataclasses import dataclass
from typing import Final

from milepost.schemas.values import State

DEFAULT_PREFIX: Final = "milepost.executions."
DEFAULT_PARTITIONS: Final = 12
MAX_EVENT_BYTES: Final = 1_048_576
# What goes out repeats what came in, under more headers.
MAX_OUTGOING_BYTES: Final = MAX_EVENT_BYTES + 131_072
_DAY_MS: Final = 86_400_000
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")


@dataclass(frozen=True)
class Topic:
    """One topic as it must be on the broker; `retention_ms` in milliseconds, sizes in bytes."""

    name: str
    retention_ms: int
    max_message_bytes: int

    def config(self) -> dict[str, str]:
        """The topic's configuration as the broker spells it."""
        return {
            "cleanup.policy": "delete",
            "message.timestamp.type": "LogAppendTime",
            "retention.ms": str(self.retention_ms),
            "max.message.bytes": str(self.max_message_bytes),
        }


@dataclass(frozen=True)
class Topics:
    """All topics under one prefix."""

    prefix: str = DEFAULT_PREFIX

    @property
    def events(self) -> str:
        """Everything publishers report; folded exactly once."""
        return self.prefix + "events.v1"

    @property
    def commands(self) -> str:
        """What a provider that takes its work from Milepost consumes."""
        return self.prefix + "commands.v1"

    @property
    def quarantine(self) -> str:
        """Raw records that could not be folded, with the reason and the origin in headers."""
        return self.prefix + "quarantine.v1"

    def completions(self, state: str) -> str:
        """The topic with one notification per execution that reached this terminal state."""
        return f"{self.prefix}{state}.v1"

    def dead_letters(self, group: str) -> Topic:
        """What a consumer group has put aside; its first member makes the topic.

        Raises ValueError for a group whose name has no place in a topic's.
        """
        name = f"{self.prefix}{group}.dead-letter.v1"
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"group {group!r}: use letters, digits, dots, underscores and hyphens, so that "
                f"{name} can be a topic (249 characters at most)"
            )
        return Topic(name, 30 * _DAY_MS, MAX_OUTGOING_BYTES)

    def declared(self) -> tuple[Topic, ...]:
        """Every topic as it must be on the broker."""
        outgoing = (
            self.completions(State.SUCCEEDED),
            self.completions(State.FAILED),
            self.completions(State.CANCELLED),
            self.quarantine,
        )
        return (
            Topic(self.events, 14 * _DAY_MS, MAX_EVENT_BYTES),
            Topic(self.commands, 14 * _DAY_MS, MAX_OUTGOING_BYTES),
            *(Topic(name, 30 * _DAY_MS, MAX_OUTGOING_BYTES) for name in outgoing),
        )
