"""The references say what the code does."""

from pathlib import Path
from types import ModuleType

import pytest

from milepost.api import reference as api
from milepost.cli import reference as cli
from milepost.schemas import events_reference as events

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize(("name", "module"), [("api", api), ("cli", cli), ("events", events)])
def test_the_reference_is_what_make_schemas_writes(name: str, module: ModuleType) -> None:
    assert (REFERENCE / f"{name}.md").read_text() == module.page(), "run: make schemas"
