"""Virtual environments of the peers, beside the product's: made on first use from exact pins."""

import asyncio
import hashlib
import shutil
import sys
from pathlib import Path

PEERS = Path(__file__).parent / "peers"
FOLDER = Path(__file__).parents[2] / ".bench"


class NotInstalled(Exception):
    """A peer cannot be installed here; the message is the installer's last line."""


async def python_of(peer: str) -> Path:
    """The interpreter that runs `peers/<peer>/program.py`; our own where the peer pins nothing."""
    requirements = PEERS / peer / "requirements.txt"
    if not requirements.exists():
        return Path(sys.executable)
    pins = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    folder = FOLDER / f"{peer}-{pins}"
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        shutil.rmtree(folder, ignore_errors=True)
        await _run(sys.executable, "-m", "venv", str(folder))
        await _run(
            str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
            "-r", str(requirements),
        )  # fmt: skip
        (folder / "installed").touch()
    return python


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    if process.returncode:
        lines = output.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise NotInstalled(lines[-1])
