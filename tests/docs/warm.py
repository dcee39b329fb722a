"""`milepost` and `python` for pages that are run: most of what a short program takes is its imports.

`python warm.py SOCKET` has them done and forks for each program; `python -IS warm.py SOCKET PROGRAM ...`,
which imports nothing, is the program to whoever starts it: its streams, folder, environment and exit
status are those of the fork.
"""

import json
import os
import socket
import sys

# What programs import, some of it late.
LATE = (
    "httpcore2",
    "milepost.api.keys",
    "milepost.cli.app",
    "milepost.client",
    "milepost.processor.topics",
    "milepost.projections.rebuild",
)


def ask(path: str, arguments: list[str]) -> int:
    """Have a program run; returns its exit status, 1 where it was killed."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        told = json.dumps([arguments, os.getcwd(), dict(os.environ)]).encode()
        socket.send_fds(connection, [len(told).to_bytes(4, "big")], [0, 1, 2])
        connection.sendall(told)
        return int(connection.recv(4) or b"1")


def serve(path: str) -> None:
    """Run what is asked for until it is killed."""
    import gc
    import signal
    from importlib import import_module

    for name in LATE:
        import_module(name)
    gc.freeze()
    # Nobody waits for the forks.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        print("ready", flush=True)
        while True:
            connection, _ = listening.accept()
            if os.fork():
                connection.close()
            else:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                listening.close()
                status = run(connection)
                connection.sendall(str(status).encode())
                os._exit(0)


def run(connection: socket.socket) -> int:
    """Be the program that is asked for."""
    import threading
    import traceback

    size, streams, *_ = socket.recv_fds(connection, 4, 3)
    told = b""
    while len(told) < int.from_bytes(size, "big"):
        told += connection.recv(65_536)
    arguments, folder, environment = json.loads(told)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)

    def end_with_the_asker() -> None:
        connection.recv(1)
        os._exit(1)

    threading.Thread(target=end_with_the_asker, daemon=True).start()
    try:
        program(arguments)
        status: object = 0
    except SystemExit as end:
        status = end.code
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status if isinstance(status, int) else int(status is not None)


def program(arguments: list[str]) -> None:
    """`milepost ...`, or `python FILE ...`, in which `await` may stand outside functions."""
    import ast
    import asyncio
    import inspect
    from pathlib import Path

    from milepost.cli.app import main

    if arguments[0] == "milepost":
        sys.argv = arguments
        main()
        return
    sys.argv = arguments[1:]
    text = Path(arguments[1]).read_text()
    code = compile(text, arguments[1], "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    running = eval(code, {"__name__": "__main__"})
    if inspect.iscoroutine(running):
        asyncio.run(running)


if __name__ == "__main__":
    where, *asked = sys.argv[1:]
    if asked:
        sys.exit(ask(where, asked))
    serve(where)
