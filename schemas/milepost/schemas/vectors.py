"""Test vectors of the identifiers, for implementers in other languages.

Each vector holds the arguments, the canonical JSON (RFC 8785) that is hashed, and the outcome.
"""

from typing import Any, Final

from milepost.schemas.identifiers import (
    NAMESPACE,
    canonical,
    execution_id,
    fingerprint,
    outgoing_id,
    parameters_digest,
    unkeyed,
)

_FIRST: Final = execution_id("acme", "provision", key="order-7")
_NUMBERS: Final[dict[str, Any]] = {
    "integer": 1,
    "whole": 1.0,
    "negative zero": -0.0,
    "large": 1e21,
    "below large": 1e20,
    "small": 1e-7,
    "above small": 1e-6,
    "third": 1 / 3,
    "largest": 1.7976931348623157e308,
    "smallest": 5e-324,
    "safe": 2**53 - 1,
    "least safe": -(2**53) + 1,
}
# RFC 8785 3.2.3: names are ordered by UTF-16 code units, so U+1F600 comes before U+FB33.
_NAMES: Final[dict[str, Any]] = {
    "\u20ac": "Euro Sign",
    "\r": "Carriage Return",
    "\ufb33": "Hebrew Letter Dalet With Dagesh",
    "1": "One",
    "\U0001f600": "Emoji: Grinning Face",
    "\u0080": "Control",
    "\u00f6": "Latin Small Letter O With Diaeresis",
    "": "no name",
}
_TEXT: Final[dict[str, Any]] = {
    "escapes": '\u0001\b\t\n\f\r"\\/\u001f\u007f',
    "not normalised": ["\u00e9", "e\u0301"],
    "astral": "\U0001f600",
    "separators": "\u2028\u2029",
}
_NESTED: Final[dict[str, Any]] = {
    "b": [{"d": None, "c": [True, False, [], {}]}, 2],
    "a": {"z": {"y": {"x": "w"}}},
}
_PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "empty": {},
    "numbers": _NUMBERS,
    "names": _NAMES,
    "text": _TEXT,
    "nested": _NESTED,
}
_REQUESTS: Final[dict[str, dict[str, Any]]] = {
    "key": {"key": "order-7"},
    "key, and nothing else counts": {
        "key": "order-7",
        "provider": "ecs",
        "parameters": {"cpu": 512},
        "links": {"parent": _FIRST},
    },
    "unicode key": {"key": "Bestellung \u2116 7 \U0001f680"},
    "key with quotes": {"key": '"\\\n'},
    "another operation": {"operation": "update", "key": "order-7"},
    "another tenant": {"tenant": "globex", "key": "order-7"},
    "neither key nor parameters": {},
    "empty parameters are as none": {"parameters": {}, "links": {}},
    "provider": {"provider": "ecs"},
    "retry": {"provider": "ecs", "links": {"retry_of": _FIRST}},
    "links": {"links": {"workflow_id": "checkout-7", "parent": _FIRST}},
    **{name: {"provider": "ecs", "parameters": value} for name, value in _PARAMETERS.items()},
}


def vectors() -> dict[str, Any]:
    """All vectors, by function."""
    return {
        "namespace": str(NAMESPACE),
        "execution_id": [_request(name, given) for name, given in _REQUESTS.items()],
        "parameters_digest": [
            {
                "name": name,
                "parameters": value,
                "canonical": canonical(value).decode(),
                "parameters_digest": parameters_digest(value),
            }
            for name, value in _PARAMETERS.items()
        ],
        "fingerprint": [
            _fingerprint("no provider, no links", None, {}),
            _fingerprint("provider", "ecs", {}),
            _fingerprint("links", "ecs", {"workflow_id": "checkout-7", "retry_of": _FIRST}),
        ],
        "outgoing_id": [
            _outgoing("acme", "succeeded", 3),
            _outgoing("acme", "succeeded", 4),
            _outgoing("globex", "start", 1),
        ],
    }


def _request(name: str, given: dict[str, Any]) -> dict[str, Any]:
    arguments = {
        "tenant": "acme",
        "operation": "provision",
        "key": None,
        "provider": None,
        "parameters": None,
        "links": None,
    } | given
    identity = arguments["key"]
    if identity is None:
        identity = unkeyed(*(arguments[part] for part in ("provider", "parameters", "links")))
    hashed = canonical([arguments["tenant"], arguments["operation"], identity]).decode()
    return {
        "name": name,
        **arguments,
        "canonical": hashed,
        "execution_id": execution_id(**arguments),
    }


def _fingerprint(name: str, provider: str | None, links: dict[str, str]) -> dict[str, Any]:
    digest = parameters_digest(_NESTED)
    return {
        "name": name,
        "provider": provider,
        "parameters_digest": digest,
        "links": links,
        "canonical": canonical([provider, digest, links]).decode(),
        "fingerprint": fingerprint(provider, digest, links),
    }


def _outgoing(tenant: str, kind: str, version: int) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "execution_id": _FIRST,
        "kind": kind,
        "version": version,
        "outgoing_id": outgoing_id(tenant, _FIRST, kind, version),
    }
