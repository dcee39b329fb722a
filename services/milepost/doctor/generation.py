"""Generations of the projections: is one half-built, and which fold made the live one?"""

from typing import Final

from milepost.doctor.findings import Finding, error, ok, warning
from milepost.doctor.stack import Stack
from milepost.projections import rebuild
from milepost.projections.execution import FOLD_VERSION
from milepost.projections.generation import NEXT
from milepost.projections.statements import statement

_REBUILD: Final = "milepost projections rebuild"


async def whole(stack: Stack) -> list[Finding]:
    """No rebuild was left half-way, and the live tables are this version's."""
    async with stack.pool.acquire() as connection:
        is_running = await rebuild.is_running(connection)
        is_there = await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", NEXT)
        live = await connection.fetchrow(statement("fold_version"))
    assert live is not None, "a migration writes the first row"
    findings = []
    if is_there and not is_running:
        found = f"a rebuild was interrupted and left its tables in the schema {NEXT}"
        findings.append(warning(found, stack.postgres, f"{_REBUILD} (begins anew)"))
    if live["fold_version"] > FOLD_VERSION:
        found = (
            f"the projections were made by version {live['fold_version']} of the fold, this code has"
            f" {FOLD_VERSION}: its processors refuse to run"
        )
        remedy = "Install the newer version, or go back: milepost projections rollback"
        findings.append(error(found, stack.postgres, remedy))
    elif live["fold_version"] < FOLD_VERSION and live["folded"]:
        found = (
            f"the projections were made by version {live['fold_version']} of the fold, this code has"
            f" {FOLD_VERSION}: what is older stays as it was"
        )
        findings.append(warning(found, stack.postgres, _REBUILD))
    running = "; a rebuild is under way" if is_running else ""
    return findings or [ok(f"generation {live['generation']} is live{running}", stack.postgres)]
