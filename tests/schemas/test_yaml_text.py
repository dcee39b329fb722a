"""What the YAML writer writes, a YAML library reads back as it was."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from milepost.schemas.yaml_text import dump

_words = st.sampled_from(["no", "Y", "~", "1e3", "0x1F", "1_000", "2026-01-15", "- a", "a: b", ""])
_texts = _words | st.text(st.characters(codec="utf-8")) | st.text("a \n:#'\"\\", max_size=12)
_scalars = st.none() | st.booleans() | st.integers() | _texts
_documents = st.dictionaries(
    _texts,
    st.recursive(
        _scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
        max_leaves=12,
    ),
    min_size=1,
    max_size=4,
)


@given(_documents)
def test_a_document_is_read_as_it_was_written(document: dict[str, Any]) -> None:
    assert yaml.safe_load(dump(document)) == document


@pytest.mark.parametrize(
    ("document", "text"),
    [
        (
            {"a": {"b": [1, {"c": None, "d": []}]}},
            "a:\n  b:\n    - 1\n    - c: null\n      d: []\n",
        ),
        ({"a": "one\n\ntwo"}, "a: |-\n  one\n\n  two\n"),
        ({"$ref": "#/a"}, '$ref: "#/a"\n'),
        ({"on": "plain text"}, '"on": plain text\n'),
    ],
)
def test_it_is_easy_to_read(document: dict[str, Any], text: str) -> None:
    assert dump(document) == text
