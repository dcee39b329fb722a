"""Mistakes that no single setting shows: a name that there is none of, and values that contradict.

All of them are found at once, together with those of single values.
"""

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

PREFIX: Final = "MILEPOST_"
# What Milepost's own processes and tools are told in the same way, and is no setting.
_OTHERS: Final = frozenset(
    {"CACHE", "EXECUTION_ID", "LISTEN_SECRET", "PARENT_PIPE", "RESOURCES", "TENANT"}
)
_TESTS: Final = "TEST_"
# Kubernetes tells every pod about the services of its namespace, ours among them.
_OF_KUBERNETES: Final = re.compile(r"(.+_)?(SERVICE_(HOST|PORT(_.+)?)|PORT(_\d+_(TCP|UDP)(_.+)?)?)")
_KAFKA: Final = "kafka_security_protocol"
_SASL: Final = ("kafka_sasl_mechanism", "kafka_username", "kafka_password")
_TLS: Final = ("kafka_ca_file", "kafka_cert_file", "kafka_key_file", "kafka_key_password")
_JWT: Final = ("jwt_issuer", "jwt_audience", "jwt_jwks")


class Mistake(NamedTuple):
    """What is wrong with the setting `name`, `value` being what was given."""

    name: str
    message: str
    value: Any = None

    def details(self) -> InitErrorDetails:
        """The shape in which pydantic takes it."""
        error = PydanticCustomError("contradiction", "{message}", {"message": self.message})
        return InitErrorDetails(type=error, loc=(self.name,), input=self.value)


def variable(name: str) -> str:
    """The environment variable of the setting `name`."""
    return f"{PREFIX}{name.upper()}"


def checked(
    title: str,
    known: Collection[str],
    given: Mapping[str, Any],
    validate: Callable[[], Any],
    beyond: Callable[[Any], Iterator[Mistake]],
) -> Any:
    """The settings that `validate` makes of `given`, unless something is wrong with them.

    Raises ValidationError with all mistakes: unknown variables, contradictions, those that `validate`
    finds, and, once there are none of these, what `beyond` finds in the settings.
    """
    mistakes = [one.details() for one in (*_unknown(known), *_contradictions(given))]
    settings = None
    try:
        settings = validate()
    except ValidationError as error:
        mistakes[:0] = [
            Mistake(str(one["loc"][0]), one["msg"], one["input"]).details()
            for one in error.errors(include_url=False, include_context=False)
        ]
    if settings is not None and not mistakes:
        mistakes = [one.details() for one in beyond(settings)]
    if mistakes:
        raise ValidationError.from_exception_data(title, mistakes, hide_input=True)
    return settings


def _unknown(known: Collection[str]) -> Iterator[Mistake]:
    ours = {name.upper() for name in known}
    for name in sorted(os.environ):
        if not name.upper().startswith(PREFIX):
            continue
        rest = name.upper().removeprefix(PREFIX)
        if rest in ours | _OTHERS or rest.startswith(_TESTS) or _OF_KUBERNETES.fullmatch(rest):
            continue
        nearest = get_close_matches(rest, ours, n=1, cutoff=0)[0]
        yield Mistake(name, f"there is no such setting; the nearest is {PREFIX}{nearest}")


def _contradictions(given: Mapping[str, Any]) -> Iterator[Mistake]:
    """Settings that are missing, or do nothing, beside the others."""
    protocol = given.get(_KAFKA, "PLAINTEXT")
    if protocol in ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"):
        yield from _of_protocol(protocol, given)
    yield from _needs(given, "kafka_cert_file", "kafka_key_file")
    yield from _needs(given, "kafka_key_file", "kafka_cert_file")
    yield from _needs(given, "kafka_key_password", "kafka_key_file")
    if any(given.get(name) is not None for name in _JWT):
        for name in _JWT:
            if given.get(name) is None:
                yield Mistake(
                    name, f"is missing: JWTs need all of {', '.join(map(variable, _JWT))}"
                )


def _of_protocol(protocol: str, given: Mapping[str, Any]) -> Iterator[Mistake]:
    chosen = f"{variable(_KAFKA)} is {protocol}"
    for name in _SASL:
        if protocol.startswith("SASL_") and given.get(name) is None:
            yield Mistake(name, f"is missing: {chosen}")
        elif not protocol.startswith("SASL_") and given.get(name) is not None:
            remedy = "SASL_SSL would use it" if protocol == "SSL" else "SASL_SSL, or SASL_PLAINTEXT"
            yield Mistake(name, f"has no effect: {chosen} ({remedy})", given[name])
    for name in _TLS:
        if not protocol.endswith("SSL") and given.get(name) is not None:
            yield Mistake(name, f"has no effect: {chosen} (SSL and SASL_SSL use it)", given[name])


def _needs(given: Mapping[str, Any], one: str, other: str) -> Iterator[Mistake]:
    if given.get(one) is not None and given.get(other) is None:
        yield Mistake(other, f"is missing: {variable(one)} needs it")
