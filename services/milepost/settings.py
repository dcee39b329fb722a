"""Every setting of Milepost, in one model.

Sources, strongest first: arguments, environment variables with the prefix `MILEPOST_`, and
`.milepost/stack.json`, which a running `milepost up` leaves in its folder.
"""

import base64
import json
import re
import ssl
from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, cast
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    FilePath,
    ModelWrapValidatorHandler,
    SecretStr,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from milepost import tls
from milepost.loopback import is_loopback
from milepost.schemas.topics import DEFAULT_PREFIX, Topics
from milepost.schemas.values import Seconds, Word
from milepost.setting_mistakes import PREFIX, Mistake, checked

STACK_FILE: Final = Path(".milepost/stack.json")
# What stack.json calls the endpoints, and what the settings call them.
_STACK_NAMES: Final = {
    "api": "api_url",
    "kafka": "kafka_bootstrap_servers",
    "database": "database_url",
    "token": "token",
}


def _from_json(value: Any) -> Any:
    # pydantic-settings itself would not say which variable is wrong, and where.
    return json.loads(value) if isinstance(value, str) else value


def _parts(value: Any) -> Any:
    """The parts of a list that is separated by commas."""
    if not isinstance(value, str):
        return value
    return [part.strip() for part in value.split(",") if part.strip()]


def _sealing_keys(value: SecretStr) -> SecretStr:
    keys = _parts(value.get_secret_value())
    for number, key in enumerate(keys, 1):
        if _is_sealing_key(key):
            continue
        raise ValueError(
            f"entry {number} of {len(keys)} is not 32 bytes as URL-safe base64 with padding. "
            f"Make one with {MAKE_A_KEY}"
        )
    return value


def _is_sealing_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, b"-_", validate=True)) == 32
    except ValueError:
        return False


def _servers(value: str) -> str:
    for server in _parts(value) or [value]:
        found = _SERVER.fullmatch(server)
        if not found or int(found["port"] or 1) not in range(1, 65_536):
            raise ValueError(f"{server!r} is no host:port")
    return value


def _database(value: SecretStr) -> SecretStr:
    try:
        scheme = urlsplit(value.get_secret_value()).scheme
    except ValueError:  # its text has the password
        wrong = "it is no URL: in a password, write what is special as %XX"
        raise ValueError(wrong) from None
    if scheme not in ("postgresql", "postgres"):
        raise ValueError("it must begin with postgresql://")
    return value


def _http(value: str) -> str:
    url = urlsplit(value)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError("it must be an http:// or https:// URL with a host")
    return value


def _keys_place(place: str) -> str:
    url = urlsplit(place)
    if url.scheme == "http" and not is_loopback(url.hostname or ""):
        raise ValueError("keys that come over http can be anybody's: use https, or a file")
    return place


# As Fernet makes them; the SDK has the settings, too, and not Fernet.
MAKE_A_KEY: Final = (
    "`python -c 'import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())'`"
)
_Heartbeats = Annotated[dict[Word, Seconds], NoDecode, BeforeValidator(_from_json)]
_SERVER: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/@,\[\]]+)(:(?P<port>[0-9]{1,5}))?")
_Servers = Annotated[str, AfterValidator(_servers)]
_Database = Annotated[SecretStr, AfterValidator(_database)]
_Http = Annotated[str, AfterValidator(_http)]
_KeysPlace = Annotated[str, AfterValidator(_keys_place)]
_SealingKeys = Annotated[SecretStr, AfterValidator(_sealing_keys)]
_Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_parts)]


class Settings(BaseSettings):
    """How this process reaches Kafka, Postgres and the API, and how it behaves."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="forbid",
        # What is wrong may be a secret: an error shows its value only where it is asked for it.
        hide_input_in_errors=True,
    )

    kafka_bootstrap_servers: _Servers = Field(
        "127.0.0.1:9092", min_length=1, description="Kafka brokers, host:port separated by commas."
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT",
        description="How Kafka is reached: SSL and SASL_SSL are encrypted; the SASL ones take a "
        "username and password.",
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None,
        description="How the username and password are proved to Kafka: PLAIN, SCRAM-SHA-256 or "
        "SCRAM-SHA-512.",
    )
    kafka_username: str | None = Field(None, min_length=1, description="Username at Kafka.")
    kafka_password: SecretStr | None = Field(None, min_length=1, description="Password at Kafka.")
    kafka_ca_file: FilePath | None = Field(
        None,
        description="PEM file of the authorities that vouch for the brokers; by default the system's.",
    )
    kafka_cert_file: FilePath | None = Field(
        None, description="PEM file of the certificate to present to Kafka (mutual TLS)."
    )
    kafka_key_file: FilePath | None = Field(
        None, description="PEM file of that certificate's private key."
    )
    kafka_key_password: SecretStr | None = Field(
        None, min_length=1, description="Password of that key, where it has one."
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
    database_url: _Database = Field(
        SecretStr("postgresql://postgres@127.0.0.1:5432/milepost"),
        description="Postgres, as postgresql://user:password@host:port/database; "
        "?sslmode=verify-full&sslrootcert=FILE for TLS.",
    )
    api_url: _Http = Field("http://127.0.0.1:8080", description="Where clients find the HTTP API.")
    api_host: str = Field("127.0.0.1", description="Address that the HTTP API listens on.")
    api_port: int = Field(8080, ge=0, le=65_535, description="Port that the HTTP API listens on.")
    api_access: Literal["required", "open"] = Field(
        "required",
        description="Whether callers of the HTTP API need a token (required), or whoever reaches it "
        "on a loopback address may do everything (open; for development).",
    )
    api_requests_per_second: float = Field(
        200,
        gt=0,
        le=1_000_000,
        description="Requests a second that one caller may send to one API process, and twice as many "
        "at once; the same for each address that sends no valid token.",
    )
    api_trusted_proxies: _Networks = Field(
        (),
        description="Networks, separated by commas, of the proxies before the HTTP API: whom they name "
        "in X-Forwarded-For is who asks. By default whoever connects is.",
    )
    jwt_issuer: str | None = Field(
        None, min_length=1, description="Issuer (`iss`) of the JWTs that the API accepts."
    )
    jwt_audience: str | None = Field(
        None, min_length=1, description="Audience (`aud`) that such a JWT must be for."
    )
    jwt_jwks: _KeysPlace | None = Field(
        None, description="URL or file of the issuer's public keys, a JWK set."
    )
    jwt_grants_claim: str = Field(
        "milepost_grants",
        min_length=1,
        description="Claim with what the bearer may do: a list of tenant:role, or a string of them "
        "with blanks between; *:role is for all tenants.",
    )
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
    webhook_keys: _SealingKeys | None = Field(
        None,
        description="Keys that the signing secrets of webhooks are stored under, separated by commas, "
        "the newest first; without one there are no webhooks.",
    )
    webhook_allowed_networks: _Networks = Field(
        (),
        description="Networks, separated by commas, that webhooks may go to although they are not "
        "public, e.g. 10.20.0.0/16.",
    )
    metrics_port: int = Field(
        0,
        ge=0,
        le=65_535,
        description="Port on which the processor, and the webhook worker, serve /metrics, /healthz and "
        "/readyz; 0: none. The HTTP API has them on its own.",
    )
    metrics_host: str = Field("127.0.0.1", description="Address that this port is on.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe log line shown."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Log lines for people or for machines."
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
    def sealing_keys(self) -> list[str]:
        """The keys of `webhook_keys`, the newest first: never log them."""
        return _parts(self.webhook_keys.get_secret_value()) if self.webhook_keys else []

    @property
    def bearer(self) -> str | None:
        """The token for the API at `api_url`: never log it."""
        return self.token.get_secret_value() if self.token else None

    @property
    def dsn(self) -> str:
        """The database URL, its password included: never log it."""
        return self.database_url.get_secret_value()

    def kafka_tls(self) -> ssl.SSLContext | None:
        """The TLS context of a connection to Kafka; None where it is not encrypted.

        Raises tls.Unusable where a file has changed for the worse since these settings were made.
        """
        if not self.kafka_security_protocol.endswith("SSL"):
            return None
        key_password = self.kafka_key_password
        password = key_password.get_secret_value() if key_password else None
        return tls.context(self.kafka_ca_file, self.kafka_cert_file, self.kafka_key_file, password)

    @model_validator(mode="wrap")
    @classmethod
    def _every_mistake(cls, given: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        title = str(cls.model_config.get("title") or cls.__name__)
        return cast(
            Self, checked(title, cls.model_fields, given, lambda: validate(given), _unusable)
        )

    @property
    def database_place(self) -> str:
        """Where the database is, as host:port/database, for people."""
        url = urlsplit(self.dsn)
        try:
            port = url.port or 5432
        except ValueError:  # it is no number
            return "an unknown place"
        return f"{url.hostname}:{port}{url.path}" if url.hostname else "an unknown place"

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
        stack = _running_stack()
        if "api_url" in {**init_settings(), **env_settings()}:
            # The stack's token is for the stack's API.
            stack.pop("token", None)
        return init_settings, env_settings, InitSettingsSource(settings_cls, stack)


def _unusable(settings: Settings) -> Iterator[Mistake]:
    try:
        settings.kafka_tls()
    except tls.Unusable as unusable:
        name = f"kafka_{unusable.argument}"
        yield Mistake(name, str(unusable), str(getattr(settings, name)))


def _running_stack() -> dict[str, Any]:
    try:
        stack = json.loads(STACK_FILE.read_text())
    except (OSError, ValueError):
        return {}
    return {ours: stack[theirs] for theirs, ours in _STACK_NAMES.items() if theirs in stack}
