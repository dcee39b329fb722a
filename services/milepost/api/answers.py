"""Building answers: JSON as bytes, and the freshness that each one names."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from fastapi import Response

from milepost.projections.queries import PartitionLag
from milepost.projections.view import to_json


def answer(
    document: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON response; times in UTC with a Z."""
    return Response(to_json(document), status, headers, "application/json")


def fresh(view: Mapping[str, Any], lag: Sequence[PartitionLag], now: datetime) -> dict[str, Any]:
    """An execution's view with the freshness of the partitions that its transitions came through."""
    partitions = {
        transition["partition"]
        for transition in view["transitions"]
        if transition["partition"] is not None
    }
    return {**view, "freshness": freshness(lag, now, partitions)}


def freshness(
    lag: Sequence[PartitionLag], now: datetime, partitions: Collection[int] = ()
) -> dict[str, Any]:
    """How far the fold is behind in `partitions`, or in all: the sum, and the oldest measurement."""
    counted = [one for one in lag if not partitions or one.partition in partitions]
    behind = [one.behind for one in counted if one.behind is not None]
    measured = [one.measured_at for one in counted if one.measured_at is not None]
    if not behind or len(behind) < len(counted) or not measured:
        return {"lag": {"records": None, "measured_at": None, "age_seconds": None}}
    oldest = min(measured)
    age = max(0.0, (now - oldest).total_seconds())
    return {"lag": {"records": sum(behind), "measured_at": oldest, "age_seconds": round(age, 3)}}
