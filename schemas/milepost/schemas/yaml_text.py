"""Writes YAML: enough for documents of JSON values, always the same bytes, and easy to read.

YAML readers disagree about words such as `no` and `1_000`: what is not plainly text is quoted.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

_is_plain: Final = re.compile(r"[A-Za-z$][\w$./-]*( [\w$./-]+)*", re.ASCII).fullmatch
_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def dump(document: dict[str, Any]) -> str:
    """The document as YAML 1.2 in block style, members in their order."""
    return "".join(f"{line}\n" for line in _lines(document))


def _lines(value: dict[str, Any] | list[Any]) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _entry(f"{_scalar(name)}:", item)
    else:
        for item in value:
            yield from _entry("-", item)


def _entry(head: str, item: Any) -> Iterator[str]:
    if isinstance(item, dict | list) and item:
        inner = (f"  {line}" if line else line for line in _lines(item))
        yield f"- {next(inner)[2:]}" if head == "-" else head
        yield from inner
    elif isinstance(item, str) and _is_block(item):
        yield f"{head} |-"
        yield from (f"  {line}" if line else line for line in item.split("\n"))
    else:
        yield f"{head} {_scalar(item)}"


def _is_block(text: str) -> bool:
    return "\n" in text and text == text.strip() and text.replace("\n", "").isprintable()


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _is_plain(value) and value.lower() not in _WORDS:
        return value
    # JSON is YAML, but for characters that YAML wants escaped.
    text = json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in text)
