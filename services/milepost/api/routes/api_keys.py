"""API keys: make one, list them, revoke one."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Response
from pydantic import StringConstraints

from milepost.api import access_documents, problems
from milepost.api.access import EVERY_TENANT, Scope, read_grants
from milepost.api.answers import answer
from milepost.api.bodies import StrictRoute
from milepost.api.keys import KEY_ID_PATTERN, make_key
from milepost.api.pages import Pages
from milepost.api.parameters import PageQuery, Parts, invalid
from milepost.api.problems import UNKNOWN_KEY, Problem
from milepost.projections.queries.access import (
    ApiKey,
    ApiKeyPlace,
    api_key,
    api_keys,
    make_api_key,
    revoke_api_key,
)
from milepost.schemas.values import LATEST, Timestamp

router: Final = APIRouter(route_class=StrictRoute, tags=["access"])

_KeyId = Annotated[str, StringConstraints(pattern=KEY_ID_PATTERN)]
_pages: Final = Pages[ApiKeyPlace]("api-keys", tuple[Timestamp, _KeyId])
_NEWEST: Final[ApiKeyPlace] = (LATEST, "g")
_PROBLEMS: Final = (problems.INVALID_REQUEST, problems.DATABASE_UNAVAILABLE)


@router.post(
    "/api-keys",
    status_code=201,
    response_class=Response,
    responses={
        201: {"model": access_documents.NewApiKey},
        **problems.responses(
            *problems.OF_BODIES, problems.UNKNOWN_TENANT, problems.DATABASE_UNAVAILABLE
        ),
    },
)
async def create_api_key(parts: Parts, body: access_documents.ApiKeyRequest) -> Response:
    """Make an API key. Its token is in this answer, and nowhere else ever again.

    Nobody can give more than they have: the tenants must be ones that the caller administers.
    """
    now = parts.now()
    providers = _require_own(parts.scope, body.grants, body.providers)
    if body.expires_at is not None and body.expires_at <= now:
        raise invalid("body", "expires_at", "must be in the future")
    made = make_key(
        body.name,
        sorted(set(body.grants)),
        by=parts.scope.principal.name,
        now=now,
        providers=providers,
        expires_at=body.expires_at,
    )
    async with parts.database.writing_for(EVERY_TENANT) as connection:
        await make_api_key(connection, made.key)
    for tenant in read_grants(body.grants):
        parts.scope.wrote(tenant)
    document = _document(made.key) | {"token": made.token.get_secret_value()}
    return answer(document, 201, {"Cache-Control": "no-store"})


def _require_own(scope: Scope, grants: list[str], providers: list[str] | None) -> list[str] | None:
    """The providers of a key with these grants. Raises Problem where they exceed the caller's own."""
    for tenant in read_grants(grants):
        scope.require(tenant)
    own = scope.principal.providers
    if own is None:
        return providers
    for provider in own if providers is None else providers:
        scope.require_provider(provider)
    return sorted(own) if providers is None else providers


@router.get(
    "/api-keys",
    response_class=Response,
    responses={
        200: {"model": access_documents.ApiKeys},
        **problems.responses(problems.INVALID_PAGE_TOKEN, *_PROBLEMS),
    },
)
async def list_api_keys(parts: Parts, query: Annotated[PageQuery, Query()]) -> Response:
    """The API keys all of whose tenants the caller administers, the newest first."""
    question = query.question()
    after = _NEWEST if query.page_token is None else _pages.after(query.page_token, question)
    tenants = None if parts.scope.everywhere else sorted(parts.scope.tenants)
    async with parts.database.acting_for(EVERY_TENANT) as connection:
        rows = await api_keys(connection, tenants, after=after, limit=query.page_size + 1)
    page, token = _pages.cut(
        rows, query.page_size, lambda row: (row.created_at, row.key_id), question
    )
    return answer({"items": [_document(key) for key in page], "next_page_token": token})


@router.post(
    "/api-keys/{key_id}:revoke",
    name="revoke_api_key",
    response_class=Response,
    responses={
        200: {"model": access_documents.ApiKey},
        **problems.responses(problems.UNKNOWN_KEY, *_PROBLEMS),
    },
)
async def revoke(parts: Parts, key_id: Annotated[str, Path(pattern=KEY_ID_PATTERN)]) -> Response:
    """Refuse a key from now on; every API process does within 2 seconds."""
    async with parts.database.writing_for(EVERY_TENANT) as connection:
        key = await api_key(connection, key_id)
        if key is None or not all(map(parts.scope.sees, read_grants(key.grants))):
            raise Problem(UNKNOWN_KEY, f"No API key {key_id} is known.")
        await revoke_api_key(connection, key_id, parts.now(), parts.scope.principal.name)
        key = await api_key(connection, key_id)
    assert key is not None
    for tenant in read_grants(key.grants):
        parts.scope.wrote(tenant)
    return answer(_document(key))


def _document(key: ApiKey) -> dict[str, Any]:
    document = key._asdict()
    del document["secret_sha256"]
    return document | {"prefix": f"mp_{key.key_id}"}
