"""SQL lives in `sql/` and its folders, one statement a file, named for what it does."""

from functools import cache
from importlib import resources


@cache
def statement(name: str) -> str:
    """The text of `sql/<name>.sql`; the name of one in a folder has a slash."""
    return (resources.files("milepost.projections") / "sql" / f"{name}.sql").read_text()
