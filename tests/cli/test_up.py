"""`milepost up` and the commands that use what it runs."""

import asyncio
import json
import signal
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

from cli.conftest import Ended, StartUp, Up, left, milepost
from milepost.cli.folder import claimed
from milepost.client import MilepostClient
from webhooks.receiver import receiving


async def test_it_says_where_everything_is_once_and_in_a_file_for_its_owner(up: Up) -> None:
    path = up.folder / ".milepost" / "stack.json"
    assert json.loads(path.read_text()) == up.ready
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert up.ready["api"].startswith("http://127.0.0.1:")
    assert up.ready["kafka"].startswith("127.0.0.1:")
    assert up.ready["database"].endswith("/milepost")
    assert up.ready["token"].startswith("mp_")


async def test_run_finds_the_stack_beside_it_and_passes_output_and_exit_status_on(up: Up) -> None:
    command = ["sh", "-c", "echo to stdout; echo to stderr >&2; exit 7"]
    ended = await milepost("run", "--tenant", "acme", "--", *command, cwd=up.folder)
    assert (ended.status, ended.out) == (7, "to stdout\n")
    assert "to stderr\n" in ended.err
    assert "failed: sh exited with status 7" in ended.err


async def test_the_same_key_runs_once_and_the_second_call_says_so(up: Up, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    run = ("run", "--tenant", "acme", "--key", "k", "--", "sh", "-c", f"echo ran >> {ledger}")
    both = await asyncio.gather(*(milepost(*run, cwd=up.folder) for _ in range(2)))
    assert [one.status for one in both] == [0, 0]
    assert ledger.read_text() == "ran\n"
    assert sum("nothing was run by this one" in one.err for one in both) == 1


async def test_executions_are_listed_shown_watched_and_cancelled(up: Up) -> None:
    def run(*command: str) -> asyncio.Task[Ended]:
        arguments = ("run", "--tenant", "looks", "--label", "n=1", "--", *command)
        return asyncio.create_task(milepost(*arguments, cwd=up.folder))

    def ask(*arguments: str) -> Awaitable[Ended]:
        return milepost("executions", *arguments, cwd=up.folder)

    runs = [run("true"), run("false"), run("sleep", "60")]
    assert [(await one).status for one in runs[:2]] == [0, 1]
    good, bad, busy = [await _id_of(up, state) for state in ("succeeded", "failed", "running")]
    listed, table, shown, watched, failed, late, refused = await asyncio.gather(
        ask("list", "--tenant", "looks", "-o", "jsonl"),
        ask("list", "--tenant", "looks", "--state", "failed"),
        ask("get", good, "-o", "json"),
        ask("watch", good),
        ask("watch", bad),
        _out_of_time(ask, busy),
        ask("cancel", bad),
    )
    ids = [json.loads(line)["execution_id"] for line in listed.out.splitlines()]
    assert sorted(ids) == sorted([good, bad, busy])
    assert bad in table.out
    assert good not in table.out
    assert json.loads(shown.out)["labels"] == {"n": "1"}
    assert (watched.status, failed.status, late.status, refused.status) == (0, 1, 124, 1)
    assert "exit_status: false exited with status 1" in failed.out
    assert f"execution {busy} is running after" in late.err
    assert "409" in refused.err
    assert (await ask("cancel", busy, "--reason", "enough")).status == 0
    assert (await ask("watch", busy)).status == 2
    assert (await runs[2]).status == 130


async def _out_of_time(ask: Callable[..., Awaitable[Ended]], busy: str) -> Ended:
    """Watching for so long that there is a first look, however busy the machine."""
    seconds = 1
    while "is not known" in (ended := await ask("watch", busy, "--timeout", f"{seconds}s")).err:
        seconds *= 2
    return ended


async def _id_of(up: Up, state: str) -> str:
    """The id of the one execution in that state, once there is one."""
    async with asyncio.timeout(20), MilepostClient(up.ready["api"], up.ready["token"]) as api:
        while True:
            async for one in api.executions("looks", state=state):
                return one.execution_id


async def test_a_killed_processor_and_api_are_started_again_and_work(up: Up) -> None:
    for command in ("processor", "api"):
        up.child(command).kill()
    await up.heard("the processor is back")
    await up.heard("the API is back")
    ended = await milepost("run", "--tenant", "again", "--", "true", cwd=up.folder)
    assert ended.status == 0
    listed = await milepost("executions", "list", "--tenant", "again", cwd=up.folder)
    assert "succeeded" in listed.out


async def test_webhooks_go_to_endpoints_on_this_machine(up: Up) -> None:
    async with receiving() as receiver:
        url = f"{receiver.url}/hook"
        made = await milepost(
            *("webhooks", "create", url, "--tenant", "hooked", "-o", "json"), cwd=up.folder
        )
        assert made.status == 0, made.err
        # Killed and started again, it goes on with the same key.
        up.child("webhooks").kill()
        await milepost("run", "--tenant", "hooked", "--", "true", cwd=up.folder)
        await up.heard("the webhook worker is back")
        (call,) = await receiver.heard("/hook")
    call.verify(json.loads(made.out)["secret"])
    assert json.loads(call.body)["data"]["state"] == "succeeded"
    keys = up.folder / ".milepost" / "webhook.keys"
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600


async def test_a_second_up_in_the_same_folder_says_so(up: Up) -> None:
    ended = await milepost("up", cwd=up.folder, MILEPOST_API_PORT="0")
    assert ended.status == 1
    assert f"(process {up.process.pid}) runs in {up.folder / '.milepost'}" in ended.err
    assert "--data" in ended.err


async def test_kill_9_leaves_nothing_running(start_up: StartUp, tmp_path: Path) -> None:
    up = await start_up("--ephemeral", TMPDIR=str(tmp_path))
    family = up.family()
    assert {"java", "postgres", "python"} <= {one.name().rstrip("0123456789.") for one in family}
    await up.end(signal.SIGKILL)
    assert await asyncio.to_thread(left, family, 20) == []


async def test_the_next_up_waits_for_what_a_killed_one_left(tmp_path: Path) -> None:
    async with claimed(tmp_path) as lock:
        # A server of the killed one: it has inherited the lock.
        server = await asyncio.create_subprocess_exec("sleep", "60", pass_fds=(lock,))
    ended = await asyncio.create_subprocess_exec("true")
    await ended.wait()
    (tmp_path / "up.lock").write_text(str(ended.pid))

    async def next_up() -> None:
        async with claimed(tmp_path):
            pass

    waiting = asyncio.create_task(next_up())
    done, _ = await asyncio.wait([waiting], timeout=0.2)
    assert not done
    server.kill()
    await server.wait()
    await asyncio.wait_for(waiting, 5)
