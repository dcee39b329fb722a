"""`milepost up`: the whole of Milepost on one machine."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter
from cyclopts.types import PositiveInt, UInt16

from milepost.cli import logs
from milepost.cli.failures import Unable
from milepost.cli.folder import claimed, usable_folder
from milepost.cli.signals import until_stopped
from milepost.cli.stack import Configured, Endpoints, Plan, free_port, require_free, running

_DATA: Final = Path(".milepost")


def up(
    *,
    ephemeral: Annotated[bool, Parameter(negative=())] = False,
    data: Path | None = None,
    partitions: PositiveInt = 4,
    api_port: UInt16 | None = None,
) -> None:
    """Run the whole of Milepost on this machine until Ctrl-C: for development and trials.

    Kafka and Postgres come with Milepost; where `MILEPOST_KAFKA_BOOTSTRAP_SERVERS` or
    `MILEPOST_DATABASE_URL` is set, that server is used instead. What dies is started again. When
    everything is ready, one JSON line names the API, Kafka and the database; the same is in
    `<data>/stack.json` while the stack runs, and other `milepost` commands started beside a
    `.milepost` folder find the stack by it.

    Example: `milepost up --data /srv/milepost --api-port 8081`

    Args:
        ephemeral: Use a throw-away folder and a free port, and remove the folder at the end.
        data: Folder for data and logs. [default: .milepost]
        partitions: Partitions of topics that are created; existing ones keep theirs.
        api_port: Port of the HTTP API; 0 takes a free one.
            [default: MILEPOST_API_PORT or 8080; a free one with --ephemeral]
    """
    if ephemeral and data is not None:
        raise Unable("--ephemeral has a folder of its own: leave out --data, or --ephemeral.")
    serving = _serve(None if ephemeral else data or _DATA, partitions, api_port)
    asyncio.run(until_stopped(serving, say))


async def _serve(data: Path | None, partitions: int, api_port: int | None) -> None:
    async with started(data, partitions, api_port, say) as (endpoints, folder):
        with _announced(endpoints, folder):
            await asyncio.Event().wait()


def say(line: str) -> None:
    """A line of progress, on standard error."""
    with suppress(BrokenPipeError):
        print(line, file=sys.stderr, flush=True)


@asynccontextmanager
async def started(
    data: Path | None, partitions: int, api_port: int | None, say: Callable[[str], None]
) -> AsyncIterator[tuple[Endpoints, Path]]:
    """The stack in the folder `data` (None: a throw-away one), running until the block ends."""
    configured = Configured()
    logs.configure_for_commands(configured)
    if api_port is None:
        chosen = "api_port" in configured.model_fields_set or data is not None
        api_port = configured.api_port if chosen else 0
    if api_port:
        require_free(configured.api_host, api_port)
    else:
        api_port = free_port(configured.api_host)
    with usable_folder(data) as folder:
        async with claimed(folder) as lock:
            plan = Plan(configured, folder, lock, partitions, api_port, durable=data is not None)
            async with running(plan, say) as endpoints:
                yield endpoints, folder


@contextmanager
def _announced(endpoints: Endpoints, folder: Path) -> Iterator[None]:
    """While the block runs, `stack.json` says where the stack is; standard output says it once."""
    path, fresh = folder / "stack.json", folder / "stack.json.new"
    fresh.unlink(missing_ok=True)
    # For its owner only: the database's URL has the password in it.
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(endpoints.json() + "\n")
    fresh.replace(path)
    try:
        print(endpoints.json(), flush=True)
        say(f"ready; logs are in {folder}, Ctrl-C stops it")
        yield
    finally:
        path.unlink(missing_ok=True)
