"""Runs the checks beside one another, each in bounded time."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Final

import asyncpg
from aiokafka.errors import KafkaError

from milepost.client import MilepostError
from milepost.doctor.checks import CHECKS, Check
from milepost.doctor.findings import CannotLook, Finding, Severity, error, skipped
from milepost.doctor.stack import Stack, opened
from milepost.settings import Settings

# Seconds that one check may take: whatever hangs, all is said within twice as many.
DEADLINE: Final = 8.0

# What each check found, in the order of `CHECKS`.
Report = Mapping[str, list[Finding]]


async def examine(settings: Settings, only: Collection[str] = ()) -> Report:
    """Run the checks of these names and those that they need; without names all."""
    wanted = _with_needs(only or CHECKS)
    tasks: dict[str, asyncio.Task[list[Finding]]] = {}
    async with opened(settings) as stack, asyncio.TaskGroup() as group:
        for name in CHECKS:
            if name in wanted:
                needed = {need: tasks[need] for need in CHECKS[name].needs}
                tasks[name] = group.create_task(_after(needed, stack, CHECKS[name]))
    return {name: task.result() for name, task in tasks.items()}


def _with_needs(names: Collection[str]) -> set[str]:
    return set(names).union(*(_with_needs(CHECKS[name].needs) for name in names))


async def _after(
    needed: Mapping[str, asyncio.Task[list[Finding]]], stack: Stack, check: Check
) -> list[Finding]:
    """What a check finds, unless one that it needs has failed."""
    for need, task in needed.items():
        for finding in await task:
            if finding.severity in (Severity.ERROR, Severity.SKIPPED):
                return [skipped(f"because of {need}: {finding.found}", check.where(stack))]
    return await _look(stack, check)


async def _look(stack: Stack, check: Check) -> list[Finding]:
    where = check.where(stack)
    try:
        async with asyncio.timeout(DEADLINE):
            return await check.look(stack)
    except CannotLook as reason:
        return [skipped(str(reason), where)]
    except TimeoutError:
        found = f"no answer within {DEADLINE:g} s"
        return [error(found, where, "Look at its load, its log and the network on the way there.")]
    except asyncpg.InsufficientPrivilegeError as refusal:
        why = f"the role of MILEPOST_DATABASE_URL may not look: {refusal}"
        return [skipped(why, where)]
    except asyncpg.exceptions.SyntaxOrAccessError as mismatch:
        return [skipped(f"because of migrations: {mismatch}", where)]
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as broken:
        return [error(_text(broken), where, "Look at the log of Postgres.")]
    except KafkaError as broken:
        return [error(_text(broken), where, "Look at the log of Kafka, and at the ACLs there.")]
    except MilepostError as refusal:
        return [error(str(refusal), where, "See to what is said here.")]
    except Exception as broken:  # noqa: BLE001 - what one check stumbles over must not hide the others
        found = f"the check itself failed: {_text(broken)}"
        return [error(found, where, "Report it: this is a mistake in Milepost.")]


def _text(broken: Exception) -> str:
    return f"{type(broken).__name__}: {broken}" if str(broken) else type(broken).__name__
