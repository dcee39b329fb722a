"""A worker that has records to fold and does not move ends by itself, in time and with one sentence."""

import asyncio
import os
import sys
from pathlib import Path

import asyncpg

from milepost.processor.report import STUCK
from milepost.settings import Settings
from processor.history import execution, send
from signals import DEADLINE
from stack import environment

# The worker's own patience is a minute and a half; nothing else is changed.
IMPATIENT = (
    "from milepost.cli import main; from milepost.processor import report;"
    " report.STUCK = 2.0; main()"
)


async def test_a_table_that_somebody_holds(settings: Settings, tmp_path: Path) -> None:
    await send(settings, execution("acme", "k-1"), partition=0)
    holder = await asyncpg.connect(settings.dsn)
    async with holder.transaction():
        await holder.execute("LOCK TABLE resources")
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", IMPATIENT, "processor"),
            env=os.environ | environment(settings) | {"MILEPOST_LOG_LEVEL": "error"},
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(DEADLINE):
            out, err = await worker.communicate()
    await holder.close()
    assert worker.returncode == 1, err.decode()
    assert b'"ready"' in out
    [sentence] = [line for line in err.decode().splitlines() if line.startswith("milepost: ")]
    assert sentence.startswith("milepost: partition 0 stands at 0, the topic at 5, for 2 s.")


def test_its_patience_is_longer_than_taking_over_takes() -> None:
    from milepost.processor.app import REBALANCE
    from milepost.processor.ownership import TAKE_OVER
    from milepost.processor.report import LOOK

    assert STUCK > TAKE_OVER + REBALANCE + LOOK
