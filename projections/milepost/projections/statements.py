"""SQL lives in `sql/`, one statement a file, named for what it does."""

from functools import cache
from importlib import resources


@cache
def statement(name: str) -> str:
    """The text of `sql/<name>.sql`."""
    return (resources.files("milepost.projections") / "sql" / f"{name}.sql").read_text()
