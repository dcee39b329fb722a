"""Keyset pages: a token says after which row the next page begins, and for which question."""

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

import orjson
from pydantic import TypeAdapter, ValidationError

from milepost.api.problems import INVALID_PAGE_TOKEN, Problem

DEFAULT_SIZE: Final = 50
MAX_SIZE: Final = 500
MAX_TOKEN: Final = 8_192

Key = TypeVar("Key")
Row = TypeVar("Row")


class Pages(Generic[Key]):
    """The tokens of one listing, whose rows are ordered by `key`.

    A token is base64url JSON [key of the last row, hash of the question]; it grants nothing, so it
    is not signed. Used with another question, or broken, it raises Problem (400).
    """

    def __init__(self, listing: str, key: Any) -> None:
        self._listing = listing
        self._token: TypeAdapter[tuple[Key, str]] = TypeAdapter(tuple[key, str])

    def token(self, last: Key, question: Mapping[str, Any]) -> str:
        """The token of the page after the row with this key."""
        text = self._token.dump_json((last, self._hash(question)))
        return base64.urlsafe_b64encode(text).decode().rstrip("=")

    def after(self, token: str, question: Mapping[str, Any]) -> Key:
        """The key of the row after which the page of this token begins."""
        try:
            text = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True)
            key, asked = self._token.validate_json(text)
        except (binascii.Error, ValidationError, ValueError):
            raise Problem(INVALID_PAGE_TOKEN, "The page token is not one of ours.") from None
        if asked != self._hash(question):
            detail = "The page token belongs to other filters; start again without it."
            raise Problem(INVALID_PAGE_TOKEN, detail)
        return key

    def cut(
        self,
        rows: Sequence[Row],
        size: int,
        key: Callable[[Row], Key],
        question: Mapping[str, Any],
    ) -> tuple[Sequence[Row], str | None]:
        """A page of `size` rows, and the token of the next one; None where that was all.

        `rows` are what was found when one more than `size` was asked for.
        """
        page = rows[:size]
        more = len(rows) > len(page)
        return page, self.token(key(page[-1]), question) if more else None

    def _hash(self, question: Mapping[str, Any]) -> str:
        text = orjson.dumps([self._listing, question], option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(text).hexdigest()[:16]
