"""Half an hour at one rate: what a service holds stays as it is, and so does what a row takes.

`MILEPOST_TEST_SOAK_SECONDS` and `MILEPOST_TEST_SOAK_RATE` (events a second) say how long and how much.
"""

import os

import pytest

from faults import table
from faults.soak import Soak
from faults.system import running

SECONDS = int(os.environ.get("MILEPOST_TEST_SOAK_SECONDS", "1800"))
RATE = int(os.environ.get("MILEPOST_TEST_SOAK_RATE", "500"))


async def test_nothing_grows(tmp_path_factory: pytest.TempPathFactory) -> None:
    async with running("soak", tmp_path_factory.mktemp("services"), durable=True) as system:
        try:
            figures, courses = await Soak(system, RATE, SECONDS).run()
        except BaseException as error:
            error.add_note(system.log())
            raise
    table.tell(courses)
    table.show("Soak", table.SOAK_HEADINGS, table.soak_rows(courses))
    grown = [one.what for one in courses if not one.is_flat]
    assert not grown, grown
    table.tell(figures)
