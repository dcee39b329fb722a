"""How long `milepost up --ephemeral` takes to be ready, everything fetched before."""

import asyncio
import sys
import time


async def measure(runs: int) -> dict[str, list[float]]:
    """Seconds from the command to its ready line."""
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "milepost.cli", "up", "--ephemeral",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert process.stdout is not None
        assert await process.stdout.readline(), "up ended without being ready"
        seconds.append(time.perf_counter() - began)
        process.terminate()
        await process.wait()
    return {"startup: up --ephemeral ready, s": seconds}
