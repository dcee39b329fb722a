"""Every setting of Milepost, in one model.

Sources, strongest first: arguments, environment variables with the prefix `MILEPOST_`, and
`.milepost/stack.json`, which a running `milepost up` leaves in its folder.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from milepost.schemas.topics import DEFAULT_PREFIX, Topics
from milepost.schemas.values import Seconds, Word

STACK_FILE: Final = Path(".milepost/stack.json")
# What stack.json calls the endpoints, and what the settings call them.
_STACK_NAMES: Final = {
    "api": "api_url",
    "kafka": "kafka_bootstrap_servers",
    "database": "database_url",
}


def _from_json(value: Any) -> Any:
    # pydantic-settings itself would not say which variable is wrong, and where.
    return json.loads(value) if isinstance(value, str) else value


_Heartbeats = Annotated[dict[Word, Seconds], NoDecode, BeforeValidator(_from_json)]


class Settings(BaseSettings):
    """How this process reaches Kafka, Postgres and the API, and how it behaves."""

    model_config = SettingsConfigDict(env_prefix="MILEPOST_", frozen=True, extra="forbid")

    kafka_bootstrap_servers: str = Field(
        "127.0.0.1:9092", min_length=1, description="Kafka brokers, host:port separated by commas."
    )
    topic_prefix: str = Field(
        DEFAULT_PREFIX,
        pattern=r"^[A-Za-z0-9._-]{1,200}$",
        description="What every topic name starts with.",
    )
    consumer_group: str = Field(
        "milepost", pattern=r"^[A-Za-z0-9._-]{1,200}$", description="Group of the processors."
    )
    session_timeout_seconds: float = Field(
        10, ge=1, le=300, description="Seconds after which a dead processor's partitions move on."
    )
    batch_records: int = Field(
        2_000, ge=1, le=50_000, description="Most records folded in one transaction."
    )
    database_url: SecretStr = Field(
        SecretStr("postgresql://postgres@127.0.0.1:5432/milepost"),
        description="Postgres, as postgresql://user:password@host:port/database.",
    )
    api_url: str = Field("http://127.0.0.1:8080", description="Where clients find the HTTP API.")
    api_host: str = Field("127.0.0.1", description="Address that the HTTP API listens on.")
    api_port: int = Field(8080, ge=0, le=65_535, description="Port that the HTTP API listens on.")
    token: SecretStr | None = Field(None, description="Bearer token that clients send to the API.")
    heartbeat_seconds: float = Field(
        3_600,
        gt=0,
        le=31_536_000,
        description="Seconds without an event after which an execution is silent, where neither its "
        "request nor its provider says otherwise.",
    )
    provider_heartbeat_seconds: _Heartbeats = Field(
        default_factory=dict,
        description='The same for single providers, as JSON: {"terraform": 900}.',
    )
    log_level: str = Field(
        "info", pattern="^(debug|info|warning|error)$", description="Least severe log line shown."
    )
    log_format: str = Field(
        "text", pattern="^(text|json)$", description="Log lines for people or for machines."
    )

    @property
    def topics(self) -> Topics:
        """The topics under this prefix."""
        return Topics(self.topic_prefix)

    @property
    def heartbeats(self) -> dict[str, float]:
        """Seconds without an event after which an execution is silent: by provider, "*" for others."""
        return {**self.provider_heartbeat_seconds, "*": self.heartbeat_seconds}

    @property
    def dsn(self) -> str:
        """The database URL, its password included: never log it."""
        return self.database_url.get_secret_value()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then a running stack's file."""
        return init_settings, env_settings, InitSettingsSource(settings_cls, _running_stack())


def _running_stack() -> dict[str, Any]:
    try:
        stack = json.loads(STACK_FILE.read_text())
    except (OSError, ValueError):
        return {}
    return {ours: stack[theirs] for theirs, ours in _STACK_NAMES.items() if theirs in stack}
