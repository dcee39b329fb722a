"""Every command's help shows an example."""

from collections.abc import Iterator

import pytest
from cyclopts import App

from milepost.cli.app import app


def commands(parent: App, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name in parent:
        if not name.startswith("-"):
            yield from commands(parent[name], (*path, name))


@pytest.mark.parametrize("command", list(commands(app)), ids=" ".join)
def test_help_shows_an_example(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert app([*command, "--help"]) in (0, None)
    shown = " ".join(capsys.readouterr().out.split())
    example = shown.partition("Example: ")[2]
    assert "milepost " + " ".join(command) in example or not command
    assert "milepost" in example
