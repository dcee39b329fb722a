"""The catalogue of standard failure codes."""

import pytest

from milepost.schemas.failures import CATALOGUE, StandardFailure, standard
from milepost.schemas.values import Category, Failure, Origin


def test_a_code_is_there_once_and_is_found() -> None:
    codes = [entry.code for entry in CATALOGUE]
    assert len(codes) == len({*codes})
    for entry in CATALOGUE:
        assert standard(entry.code) is entry
    assert standard("OutOfMemoryError: killed") is None


def test_every_category_and_every_origin_occurs() -> None:
    assert {entry.category for entry in CATALOGUE} == {*Category}
    assert {entry.origin for entry in CATALOGUE} == {*Origin}


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.code)
def test_an_entry_is_one_that_a_publisher_may_report(entry: StandardFailure) -> None:
    Failure(code=entry.code, message="", category=entry.category, origin=entry.origin)
    for text in (entry.meaning, entry.next_step):
        assert text[0].isupper()
        assert text.endswith(".")
        assert len(text) < 120
