"""What sending costs the fold: the same backlog folded with the relay and without."""

from benchmarks.backlog import EVENTS, fold, load
from benchmarks.stack import Stack


async def measure(stack: Stack, executions: int, runs: int) -> dict[str, list[float]]:
    """Thousand events/s with and without the relay, alternated, and their ratio pair by pair."""
    figures: dict[str, list[float]] = {
        "relay: thousand events/s with it": [],
        "relay: thousand events/s without it": [],
        "relay: ratio": [],
    }
    columns = list(figures.values())
    for _ in range(runs):
        rates = []
        for module in ("milepost.cli", "benchmarks.without_relay"):
            settings = await stack.fresh()
            await load(settings, executions)
            rates.append((await fold(settings, executions * EVENTS, module=module)).rate)
        for column, value in zip(
            columns, (*[r / 1e3 for r in rates], rates[0] / rates[1]), strict=True
        ):
            column.append(value)
    return figures
