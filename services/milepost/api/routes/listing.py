"""A tenant's executions: all of them, or those that filters leave."""

from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import Field, StringConstraints

from milepost.api import documents, problems
from milepost.api.answers import answer, freshness
from milepost.api.guard import GuardedRoute
from milepost.api.pages import Pages
from milepost.api.parameters import PageQuery, Parts, TenantInPath, TimeInQuery, invalid
from milepost.api.views import shown
from milepost.projections import queries
from milepost.projections.queries import ListingKey, Wanted
from milepost.schemas.values import (
    EARLIEST,
    LATEST,
    MAX_LABELS,
    ExecutionId,
    Links,
    Name,
    State,
    Timestamp,
    Word,
)

router: Final = APIRouter(route_class=GuardedRoute, tags=["executions"])

_pages: Final = Pages[ListingKey]("executions", tuple[Timestamp, UUID])
_LINKED: Final = "Only executions whose request has this link; at most one of the links."
_Label = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}=[^\x00]{0,255}$")
]
_NO_ID: Final = str(UUID(int=0))
# The first so many digits of an execution id as it is written. Fewer than four would fit too many.
_PREFIX: Final = (
    "^[0-9a-f]{4,7}$|^[0-9a-f]{8}(-[0-9a-f]{0,3})?$"
    "|^[0-9a-f]{8}(-[0-9a-f]{4}){1,3}(-[0-9a-f]{0,3})?$"
    "|^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{4,12}$"
)


class ExecutionsQuery(PageQuery):
    """Which of a tenant's executions, and in which order of their first recorded times."""

    order: Literal["asc", "desc"] = "asc"
    state: State | None = None
    operation: Word | None = None
    provider: Word | None = None
    label: list[_Label] = Field(
        [],
        max_length=MAX_LABELS,
        description="`name=value`. Repeated: executions that have all of these labels.",
        examples=[["team=web"]],
    )
    first_recorded_since: TimeInQuery | None = Field(
        None, description="First recorded then or later.", examples=["2026-01-01T00:00:00Z"]
    )
    first_recorded_before: TimeInQuery | None = Field(None, description="First recorded earlier.")
    ended_since: TimeInQuery | None = Field(None, description="Ended then or later.")
    ended_before: TimeInQuery | None = Field(None, description="Ended earlier.")
    id_prefix: Annotated[str, StringConstraints(pattern=_PREFIX)] | None = Field(
        None, description="Ids that begin so; at least four digits.", examples=["2f5d"]
    )
    silent: bool | None = Field(None, description="No event for longer than expected; not over.")
    overdue: bool | None = Field(None, description="Running for longer than expected; not over.")
    conflicting: bool | None = Field(
        None, description="Reports contradict each other, or a key was used for another request."
    )
    supersedes: ExecutionId | None = Field(None, description=_LINKED)
    rollback_of: ExecutionId | None = Field(None, description=_LINKED)
    retry_of: ExecutionId | None = Field(None, description=_LINKED)
    parent: ExecutionId | None = Field(None, description=_LINKED)
    workflow_id: Name | None = Field(None, description=_LINKED)

    def wanted(self) -> Wanted:
        """The filters. Raises RequestValidationError for more links than one."""
        return Wanted(
            first_recorded_since=self.first_recorded_since or EARLIEST,
            first_recorded_before=self.first_recorded_before or LATEST,
            state=self.state,
            operation=self.operation,
            provider=self.provider,
            labels=self._labels(),
            ended_since=self.ended_since,
            ended_before=self.ended_before,
            ids=_range(self.id_prefix) if self.id_prefix else None,
            silent=self.silent,
            overdue=self.overdue,
            conflicting=self.conflicting,
            link=self._link(),
        )

    def _labels(self) -> dict[str, str] | None:
        labels: dict[str, str] = {}
        for label in self.label:
            name, _, value = label.partition("=")
            if labels.setdefault(name, value) != value:
                raise invalid("query", "label", f"{name} cannot have two values")
        return labels or None

    def _link(self) -> tuple[str, str] | None:
        asked = [(name, getattr(self, name)) for name in Links.model_fields]
        links = [link for link in asked if link[1] is not None]
        if len(links) > 1:
            raise invalid("query", links[1][0], f"cannot be combined with {links[0][0]}")
        return links[0] if links else None


def _range(prefix: str) -> tuple[UUID, UUID]:
    """The first and the last of the ids that begin so."""
    rest = _NO_ID[len(prefix) :]
    return UUID(prefix + rest), UUID(prefix + rest.replace("0", "f"))


@router.get(
    "/tenants/{tenant}/executions",
    response_class=Response,
    responses={
        200: {"model": documents.Executions},
        **problems.responses(
            problems.INVALID_PAGE_TOKEN, problems.INVALID_REQUEST, problems.DATABASE_UNAVAILABLE
        ),
    },
)
async def list_executions(
    parts: Parts, tenant: TenantInPath, query: Annotated[ExecutionsQuery, Query()]
) -> Response:
    """A tenant's executions in chronological order, a page at a time.

    With filters that few executions fit, a page may have fewer items than asked for, or none, though
    there are more: a listing ends where `next_page_token` is null. An execution that is accepted and
    not folded yet is not in the list.
    """
    question = {"tenant": tenant, **query.question()}
    after = None if query.page_token is None else _pages.after(query.page_token, question)
    wanted = query.wanted()
    async with parts.database.acting_for(tenant) as connection:
        listed = await queries.executions(
            connection,
            tenant,
            newest_first=query.order == "desc",
            after=after,
            limit=query.page_size,
            wanted=wanted,
            heartbeats=parts.heartbeats,
        )
        lag = await queries.lag(connection, parts.topic)
    return answer(
        {
            "items": [shown(row.body, row.silence) for row in listed.items],
            "next_page_token": _pages.token(listed.next_key, question) if listed.next_key else None,
            "freshness": freshness(lag, parts.now()),
        }
    )
