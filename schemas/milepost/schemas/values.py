"""Value objects shared by events, notifications and the API, with every bound of the contract.

A value outside these bounds never enters a projection: the record that carries it is quarantined
and the offending field is named. The bounds exist so that everything accepted here can be stored in
Postgres (no NUL, no lone surrogates, numbers within bigint or finite) and sent on in one record.
"""

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final

from annotated_types import Ge, Lt
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
)
from pydantic import StringConstraints as Constraints
from pydantic.dataclasses import dataclass
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

MAX_RESOURCES: Final = 1_000
MAX_LOG_LINES: Final = 200
MAX_LABELS: Final = 64
MAX_JSON_DEPTH: Final = 32
BIGINT: Final = 2**63
_BIGINTS: Final = range(-BIGINT, BIGINT)
_SAFE_INTEGERS: Final = range(-(2**53) + 1, 2**53)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)

TENANT_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
WORD_PATTERN: Final = r"^[a-z][a-z0-9_.-]{0,63}$"
UUID_PATTERN: Final = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"


class State(StrEnum):
    """Where an execution is. The last three are terminal and sealed."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL: Final = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})


class Category(StrEnum):
    """What a caller may do about a failure."""

    RETRIABLE = "retriable"
    NON_RETRIABLE = "non_retriable"
    REQUIRES_MANUAL_INTERVENTION = "requires_manual_intervention"


class Origin(StrEnum):
    """Whose side a failure comes from."""

    TENANT = "tenant"
    PROVIDER = "provider"
    PLATFORM = "platform"


class Level(StrEnum):
    """Severity of a log line."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class _Outside(Exception):
    """A value outside the bounds; `path` grows from the innermost name outwards."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule, self.message, self.path = rule, message, ""


def _bounded(value: Any, integers: range, depth: int = 0) -> None:
    if depth > MAX_JSON_DEPTH:
        raise _Outside("json_depth", f"nested deeper than {MAX_JSON_DEPTH} levels")
    match value:
        case str():
            if "\0" in value:
                raise _Outside("nul", "contains a NUL character")
            if not value.isascii() and _SURROGATE.search(value):
                raise _Outside("surrogate", "contains a lone surrogate")
        case bool() | None:
            pass
        case int():
            if int(value) not in integers:
                raise _Outside("integer_range", "integer outside the contract's range")
        case float():
            if not math.isfinite(value):
                raise _Outside("finite", "number is not finite")
        case dict():
            for name, item in value.items():
                # Most values are fine: their path is put together only where one is not.
                try:
                    if not isinstance(name, str):
                        raise _Outside("json_name", "the name is not text")
                    _bounded(name, integers)
                    _bounded(item, integers, depth + 1)
                except _Outside as outside:
                    outside.path = f".{name}{outside.path}"
                    raise
        case list() | tuple():
            for index, item in enumerate(value):
                try:
                    _bounded(item, integers, depth + 1)
                except _Outside as outside:
                    outside.path = f"[{index}]{outside.path}"
                    raise
        case _:
            raise _Outside("json_type", f"{type(value).__name__} is not a JSON value")


def _within(integers: range) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def check(value: dict[str, Any]) -> dict[str, Any]:
        try:
            _bounded(value, integers)
        except _Outside as outside:
            path = f"${outside.path}".encode("ascii", "backslashreplace").decode()
            context = {"path": path, "problem": outside.message}
            raise PydanticCustomError(outside.rule, "{path}: {problem}", context) from None
        return value

    return check


class _Rfc3339:
    """Times are text on the wire. A number, quoted or not, would be guessed to be seconds or milliseconds."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        text = core_schema.custom_error_schema(
            core_schema.str_schema(strict=True, pattern="^[0-9]{4}-"),
            custom_error_type="rfc3339",
            custom_error_message="Input should be text, an RFC 3339 date and time with an offset",
        )
        aware = handler(source)
        return core_schema.json_or_python_schema(
            json_schema=core_schema.chain_schema([text, aware]),
            python_schema=core_schema.chain_schema(
                [core_schema.is_instance_schema(datetime), aware]
            ),
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        bounds = "RFC 3339 with an offset; from 1970, before 2200; read to the microsecond."
        return {"type": "string", "format": "date-time", "description": bounds}


def _no_nul(maximum: int, minimum: int = 0) -> Constraints:
    return Constraints(min_length=minimum, max_length=maximum, pattern=r"^[^\x00]*$")


Tenant = Annotated[str, Constraints(pattern=TENANT_PATTERN)]
Word = Annotated[str, Constraints(pattern=WORD_PATTERN)]
ExecutionId = Annotated[str, Constraints(pattern=UUID_PATTERN)]
IdempotencyKey = Annotated[str, _no_nul(255, 1)]
Name = Annotated[str, _no_nul(255, 1)]
# Part of a btree key together with the tenant: bounded so that it always fits (2,704 bytes).
ResourceId = Annotated[str, _no_nul(512, 1)]
Region = Annotated[str, Constraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Reference = Annotated[str, _no_nul(2_048, 1)]
Text = Annotated[str, _no_nul(8_192)]
Digest = Annotated[str, Constraints(pattern=r"^[0-9a-f]{64}$")]
Code = Annotated[str, Constraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,127}$")]
LabelName = Annotated[str, Constraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}$")]
Labels = Annotated[dict[LabelName, Annotated[str, _no_nul(255)]], Field(max_length=MAX_LABELS)]
JsonObject = Annotated[
    dict[str, Any],
    AfterValidator(_within(_BIGINTS)),
    Field(
        description=f"Any JSON object: at most {MAX_JSON_DEPTH} levels deep, no NUL and no lone "
        "surrogate, integers of 64 bits, finite numbers."
    ),
]
# Parameters enter the execution id through RFC 8785, which knows only the integers that every JSON
# implementation agrees on.
Parameters = Annotated[
    dict[str, Any],
    AfterValidator(_within(_SAFE_INTEGERS)),
    Field(
        description=f"Any JSON object: at most {MAX_JSON_DEPTH} levels deep, no NUL and no lone "
        "surrogate, integers within 2**53 - 1 on either side of zero, finite numbers."
    ),
]
Timestamp = Annotated[AwareDatetime, Ge(EARLIEST), Lt(LATEST), _Rfc3339()]
# Strict: "40" and true are no numbers.
Seconds = Annotated[float, Strict(), Field(gt=0, le=31_536_000, allow_inf_nan=False)]
Percent = Annotated[float, Strict(), Field(ge=0, le=100, allow_inf_nan=False)]
Count = Annotated[int, Strict(), Field(ge=0, lt=BIGINT)]

# What we build must be spelt right (forbid); what arrives may carry more than this version knows,
# so the binding validates with extra="ignore" and the raw record keeps the rest.
CONTRACT: Final = ConfigDict(extra="forbid", frozen=True)

RELEASED: Final = "released"


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Resource:
    """Something a provider made, changed or released: an ECS task, a pod, a process, a folder.

    `kind` and `id` name it within (`provider`, `region`); `provider` defaults to the execution's.
    `status` is a lower-case word of the provider's; `released` says that it is gone.
    """

    kind: Word = Field(description="What it is, e.g. `ecs.task`.")
    id: ResourceId = Field(description="The provider's name for it, e.g. an ARN.")
    provider: Word | None = Field(
        default=None, description="Whose it is; by default the execution's."
    )
    region: Region | None = Field(default=None, description="Where it is.")
    status: Word | None = Field(
        default=None, description="A word of the provider's; `released`: it is gone."
    )
    attributes: JsonObject | None = Field(default=None, description="What else is known of it.")


class LogLine(BaseModel):
    """One line of a provider's log."""

    model_config = CONTRACT
    message: Text = Field(description="The line.")
    level: Level = Field(Level.INFO, description="How bad it is.")
    stream: Word | None = Field(None, description="Where it was written, e.g. `stderr`.")
    occurred_at: Timestamp | None = Field(
        None, description="When it was written, where that is known."
    )


class Progress(BaseModel):
    """How far an execution is: `percent` of 0 to 100, `step` of `steps`, a message for people."""

    model_config = CONTRACT
    percent: Percent | None = Field(None, description="How much is done.")
    message: Text | None = Field(None, description="What is being done, for people.")
    step: Count | None = Field(None, description="The step that it is at.")
    steps: Count | None = Field(None, description="How many steps there are.")


class Failure(BaseModel):
    """Why an execution failed, and what to do about it.

    `provider_code` is the provider's own code; `last_lines` are the last lines of its log.
    """

    model_config = CONTRACT
    code: Code = Field(description="A stable word for programs; the catalogue has common ones.")
    message: Text = Field(description="What happened, for people.")
    category: Category = Field(Category.NON_RETRIABLE, description="What may be done about it.")
    origin: Origin = Field(Origin.PROVIDER, description="Whose side it comes from.")
    provider_code: Name | None = Field(None, description="The provider's own code.")
    details: JsonObject | None = Field(None, description="What else is known.")
    last_lines: (
        Annotated[tuple[Text, ...], Field(max_length=MAX_LOG_LINES, fail_fast=True)] | None
    ) = Field(None, description="The last lines of its log.")


class Links(BaseModel):
    """How an execution relates to others (by execution id) and to its workflow."""

    model_config = CONTRACT
    supersedes: ExecutionId | None = Field(
        None, description="The execution that it takes the place of."
    )
    rollback_of: ExecutionId | None = Field(None, description="The one that it undoes.")
    retry_of: ExecutionId | None = Field(None, description="The one that it tries again.")
    parent: ExecutionId | None = Field(None, description="The one that it is a part of.")
    workflow_id: Name | None = Field(None, description="The workflow that asked for it.")


class Expectations(BaseModel):
    """Seconds between signs of life, and of the whole execution, after which something is wrong."""

    model_config = CONTRACT
    heartbeat_seconds: Seconds | None = Field(
        None, description="At least so often something is heard of it."
    )
    duration_seconds: Seconds | None = Field(None, description="So long it takes at most.")
