"""The schema goes back to the first one and forth again under load, and every service is restarted.

Nothing is released before this version, so there are no services of an older one: these work with the
newest schema and with the first one, where the new tables and columns are not there yet.

`MILEPOST_TEST_UPGRADE_SECONDS` and `MILEPOST_TEST_UPGRADE_RATE` (events a second) say how long and how much.
"""

import os

import pytest

from faults import table
from faults.system import running
from faults.trial import Trial
from faults.upgrade import LEAST, Upgrade

SECONDS = int(os.environ.get("MILEPOST_TEST_UPGRADE_SECONDS", "120"))
RATE = int(os.environ.get("MILEPOST_TEST_UPGRADE_RATE", "1000"))
# Seconds without a batch folded: less than a restart costs.
PAUSE = 3.0


async def test_nothing_lost_nothing_twice(tmp_path_factory: pytest.TempPathFactory) -> None:
    upgrade = Upgrade(SECONDS * RATE, SECONDS)
    async with running("upgrade", tmp_path_factory.mktemp("services")) as system:
        try:
            figures = await Trial(system, upgrade.fault, RATE).run(1, upgrade.events // 5)
        except BaseException as error:
            error.add_note(f"{upgrade}\n{system.log()}")
            raise
    rows = {
        "rounds": f"{upgrade.rounds}",
        **{f"longest way {way}": f"{took:.2f} s" for way, took in upgrade.took.items()},
        "longest pause in folding": f"{upgrade.pause:.2f} s",
        "reads": f"{upgrade.answers[200]:,}",
        "reads whose connection broke": f"{upgrade.answers[0]:,}",
    }
    table.show("Upgrade", ("measure", ""), iter(rows.items()))
    assert upgrade.rounds >= LEAST, "too short a time"
    assert upgrade.pause < PAUSE
    table.tell(figures)
    table.show("Faults", table.HEADINGS, table.Told([figures], (), [figures.fault]).rows())
