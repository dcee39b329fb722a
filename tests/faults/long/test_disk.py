"""The disk of Postgres full or slow: what comes waits where it is, and nothing is lost or twice.

`MILEPOST_TEST_CYCLES` strikes each tenfold as often as this, `MILEPOST_TEST_EVENTS` is how many events
all faults fold in all, see test_survived.py. What cannot be made here is left out, and the table says why.
"""

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from faults import disk, table
from faults.kinds import FAULTS, Fault
from faults.system import System, running
from faults.trial import Trial

CYCLES = max(1, int(os.environ.get("MILEPOST_TEST_CYCLES", "0")) // 10)
EVENTS = int(os.environ.get("MILEPOST_TEST_EVENTS", "15000"))
# Executions a cycle, at least: so many that tables must grow and a queue would be seen.
LEAST = 2_000
LEFT_OUT = disk.left_out()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Not pytest's own: started by root, Postgres runs as another user, who must get through."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="milepost-disk-")))
        folder.chmod(0o755)
        if disk.SLOW not in LEFT_OUT:
            stack.enter_context(disk.built(folder))
        if disk.FULL not in LEFT_OUT:
            stack.enter_context(disk.mounted(folder / "data"))
        yield folder


@pytest.fixture(scope="module")
async def system(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    logs = tmp_path_factory.mktemp("services")
    async with running("disk", logs, data=folder / "data", durable=True) as system:
        yield system


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(one, marks=pytest.mark.skipif(one in LEFT_OUT, reason=LEFT_OUT.get(one, "")))
        for one in disk.DISK
    ],
    ids=lambda fault: fault.slug,
)
async def test_nothing_lost_nothing_twice(fault: Fault, system: System) -> None:
    share = EVENTS // 5 // len([*FAULTS, *disk.DISK]) // CYCLES
    try:
        came_to = await Trial(system, fault).run(CYCLES, max(LEAST, share))
    except BaseException as error:
        error.add_note(system.log())
        raise
    table.tell(came_to)
