"""Many commands in one process: most of what a short one takes is the start of Python."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from cli.conftest import Ended, environment

_SECONDS: Final = 30
_PROGRAM: Final = """
import contextlib, io, json, sys
from milepost.cli.app import main
for line in sys.stdin:
    sys.argv = ["milepost", *json.loads(line)]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            status = end.code
    print(json.dumps([status, out.getvalue(), err.getvalue()]), flush=True)
"""


class Session:
    """Runs `milepost` commands, one after the other."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def run(self, *arguments: str) -> Ended:
        """Run a command to its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(arguments).encode() + b"\n")
        async with asyncio.timeout(_SECONDS):
            return Ended(*json.loads(await self._process.stdout.readline()))


@asynccontextmanager
async def session(folder: Path, **variables: str) -> AsyncIterator[Session]:
    """A process that runs commands in `folder` with these variables."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _PROGRAM),
        cwd=folder,
        env=environment(**variables),
        stdin=PIPE,
        stdout=PIPE,
    )
    try:
        yield Session(process)
    finally:
        async with asyncio.timeout(_SECONDS):
            await process.communicate(b"")  # the end of its input
