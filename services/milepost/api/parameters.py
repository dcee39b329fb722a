"""The parameters that several routes have."""

from datetime import datetime
from typing import Annotated, Any, Final

import pydantic_core
from fastapi import Depends, Header, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from milepost.api.context import Context, context
from milepost.api.pages import DEFAULT_SIZE, MAX_SIZE, MAX_TOKEN
from milepost.schemas.values import (
    BIGINT,
    TENANT_PATTERN,
    UUID_PATTERN,
    IdempotencyKey,
    Tenant,
    Timestamp,
)

MAX_WAIT_SECONDS: Final = 60.0
_WAIT: Final = r"^[0-9]{1,6}(\.[0-9]{1,6})?(ms|s)?$"
_key: Final = TypeAdapter[str](IdempotencyKey)

Parts = Annotated[Context, Depends(context)]
ExecutionIdInPath = Annotated[
    str, Path(pattern=UUID_PATTERN, examples=["2f5d9f0e-5f5c-5c55-8a53-0b7a8f2e0f11"])
]
TenantInPath = Annotated[str, Path(pattern=TENANT_PATTERN, examples=["acme"])]
_TENANT: Final = "Only this tenant's; without it, the execution of the tenant who asked for it."
TenantInQuery = Annotated[str | None, Query(pattern=TENANT_PATTERN, description=_TENANT)]
Wait = Annotated[
    str | None,
    Query(
        pattern=_WAIT,
        description="Wait this long (`30s`, `500ms`, seconds; at most 60 s) for an end, for a newer "
        "version (see `min_version`), or for an id that is not known yet.",
        examples=["30s"],
    ),
]
MinVersion = Annotated[
    int | None,
    Query(
        ge=0,
        lt=BIGINT,
        description="With `wait`: this version or a newer one is news. By default any that is newer "
        "than the one at arrival.",
    ),
]
_time: Final = TypeAdapter[datetime](Timestamp)


def _read_time(text: object) -> datetime:
    """In a query, as in JSON, a time is text."""
    try:
        return _time.validate_json(pydantic_core.to_json(text))
    except ValidationError as error:
        first = error.errors()[0]
        raise PydanticCustomError("time", "{message}", {"message": first["msg"]}) from None


TimeInQuery = Annotated[datetime, BeforeValidator(_read_time), WithJsonSchema(_time.json_schema())]
IfNoneMatch = Annotated[str | None, Header(max_length=4_096)]
IdempotencyKeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="1 to 255 characters of UTF-8. The same key and request name the same execution.",
    ),
]


class PageQuery(BaseModel):
    """Which page of a listing; an unknown parameter is an error, not a filter that does nothing."""

    model_config = ConfigDict(extra="forbid")
    page_size: int = Field(DEFAULT_SIZE, ge=1, le=MAX_SIZE)
    page_token: str | None = Field(
        None, max_length=MAX_TOKEN, description="`next_page_token` of the page before."
    )

    def question(self) -> dict[str, Any]:
        """What a page token is bound to: every parameter but the page."""
        return self.model_dump(mode="json", exclude={"page_size", "page_token"})


class ExecutionPageQuery(PageQuery):
    """As PageQuery, for what belongs to one execution."""

    tenant: Tenant | None = Field(None, description=_TENANT)


def wait_seconds(wait: str | None) -> float:
    """Seconds of a `Wait`. Raises RequestValidationError above the limit."""
    if wait is None:
        return 0.0
    seconds = float(wait[:-2]) / 1_000 if wait.endswith("ms") else float(wait.removesuffix("s"))
    if seconds > MAX_WAIT_SECONDS:
        raise invalid("query", "wait", f"must be at most {MAX_WAIT_SECONDS:g} s")
    return seconds


def idempotency_key(request: Request) -> str | None:
    """The Idempotency-Key of a request. Raises RequestValidationError unless it is valid and alone."""
    keys = [value for name, value in request.headers.raw if name == b"idempotency-key"]
    if not keys:
        return None
    if len(keys) > 1:
        raise invalid("header", "Idempotency-Key", "must not be repeated")
    try:
        # HTTP leaves the encoding of headers open; everybody else computes the id from UTF-8.
        return _key.validate_python(keys[0].decode())
    except (UnicodeDecodeError, ValidationError):
        message = "must be 1 to 255 characters of UTF-8"
        raise invalid("header", "Idempotency-Key", message) from None


def invalid(place: str, name: str, message: str) -> RequestValidationError:
    """What FastAPI raises for a parameter that it checks itself."""
    return RequestValidationError([{"loc": (place, name), "msg": message, "type": "value_error"}])
