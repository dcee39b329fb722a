"""Nothing lost, nothing twice, and back within seconds: whatever is killed, stopped or cut off.

`MILEPOST_TEST_CYCLES` strikes each fault so often, and `MILEPOST_TEST_EVENTS` is how many events all of
them fold in all; without them a few faults come once each. The table of what came of it is printed; in
`make test-faults` (`__main__.py`) it is at the end of everything.
"""

import os
from collections.abc import AsyncIterator, Iterator

import pytest

from faults import table
from faults.kinds import FAULTS, Fault
from faults.system import System, running
from faults.trial import Figures, Trial

CYCLES = int(os.environ.get("MILEPOST_TEST_CYCLES", "0"))
EVENTS = int(os.environ.get("MILEPOST_TEST_EVENTS", "15000"))
STRUCK = [fault for fault in FAULTS if CYCLES or fault.quick]


@pytest.fixture(scope="module")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    async with running("survived", tmp_path_factory.mktemp("services")) as system:
        yield system


@pytest.fixture(scope="module")
def figures() -> Iterator[list[Figures]]:
    figures: list[Figures] = []
    yield figures
    told = table.Told(figures, (), [fault.name for fault in STRUCK])
    table.show("Faults", table.HEADINGS, told.rows())


@pytest.mark.parametrize("fault", STRUCK, ids=lambda fault: fault.slug)
async def test_nothing_lost_nothing_twice(
    fault: Fault, system: System, figures: list[Figures]
) -> None:
    cycles = max(1, CYCLES // 10 if fault.slow else CYCLES) if CYCLES else fault.quick
    try:
        came_to = await Trial(system, fault).run(cycles, EVENTS // 5 // len(STRUCK) // cycles)
    except BaseException as error:
        error.add_note(system.log())
        raise
    figures.append(came_to)
    table.tell(came_to)
