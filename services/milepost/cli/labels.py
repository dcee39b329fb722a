"""Labels as people give them to a command."""

from collections.abc import Iterable
from typing import Annotated

from cyclopts import Parameter

from milepost.cli.failures import USAGE, Unable

# `name=value`, given any number of times.
Labels = Annotated[list[str] | None, Parameter(negative=())]


def read_labels(pairs: Iterable[str] | None) -> dict[str, str]:
    """Values by name. Raises Unable for what is no label, and for a name with two values."""
    labels: dict[str, str] = {}
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise Unable(f"--label {pair} is not of the form name=value.", USAGE)
        if labels.setdefault(name, value) != value:
            raise Unable(f"--label {pair}: {name} has the value {labels[name]} already.", USAGE)
    return labels
