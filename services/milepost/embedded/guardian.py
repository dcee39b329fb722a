"""Stands between Milepost and one child process, so that the child never outlives its parent.

Run as a file, ``python -I -S guardian.py SPEC``, never imported: it needs nothing but the standard
library, starts in some 30 ms and has one thread. SPEC is a JSON object:

    argv   the child's command line
    cwd    the child's working folder
    user   null, or [uid, gid] to become before the child is executed
    stop   [[signal number, seconds to wait], ...]: how to end the child, in this order; SIGKILL follows

It prints the child's process id as one line, then waits. Its standard input is a pipe whose other
end only the parent holds: end of file there, however the parent came to its end (`kill -9`
included), ends the child. Unlike Linux's parent death signal this works on macOS too, asks
Postgres for a clean shutdown, and survives Postgres's change of user. The child writes to the
guardian's standard error, which is the log file. Exit status: the child's, or 128 + signal.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time

_PARENT_POLL_S = 1.0  # should a forked sibling hold the pipe open, the parent's id tells
_PR_SET_PDEATHSIG = 1
_CANNOT_EXECUTE = 127


def main() -> int:
    spec = json.loads(sys.argv[1])
    parent = os.getppid()
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    asked_to_stop = False

    def on_stop(signum: int, frame: object) -> None:
        nonlocal asked_to_stop
        asked_to_stop = True

    signal.signal(signal.SIGCHLD, lambda signum, frame: None)
    signal.signal(signal.SIGTERM, on_stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    user = spec["user"] or [None, None]
    first_signal = spec["stop"][0][0]

    def if_the_guardian_is_killed() -> None:
        # Best effort, Linux only: runs after the change of user, which would clear it.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, first_signal)

    try:
        child = subprocess.Popen(
            spec["argv"],
            cwd=spec["cwd"],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            stderr=sys.stderr.fileno(),
            start_new_session=True,
            user=user[0],
            group=user[1],
            extra_groups=None if user[0] is None else [],
            umask=0o077,
            # Safe: the guardian has one thread.
            preexec_fn=if_the_guardian_is_killed if sys.platform == "linux" else None,  # noqa: PLW1509
        )
    except OSError as error:
        print(f"cannot execute {spec['argv'][0]}: {error}", file=sys.stderr)
        return _CANNOT_EXECUTE
    print(child.pid, flush=True)

    while child.poll() is None and not asked_to_stop and os.getppid() == parent:
        ready, _, _ = select.select([0, wake_read], [], [], _PARENT_POLL_S)
        if wake_read in ready:
            os.read(wake_read, 4096)
        if 0 in ready and not os.read(0, 4096):
            break

    for number, seconds in spec["stop"]:
        if child.poll() is not None:
            break
        child.send_signal(number)
        deadline = time.monotonic() + seconds
        while child.poll() is None and (left := deadline - time.monotonic()) > 0:
            if select.select([wake_read], [], [], left)[0]:
                os.read(wake_read, 4096)
    if child.poll() is None:
        child.kill()
    status = child.wait()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)  # what the child left in its own process group
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
