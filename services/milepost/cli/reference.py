"""Publish the commands: `python -m milepost.cli.reference FILE`."""

import re
import sys
from pathlib import Path
from typing import Final

from milepost.cli.app import app

_HEAD: Final = """# The command line

Generated from the code by `make schemas`: what `milepost --help`, and each command's own, say.

Commands read the [settings](settings.md) from the environment, and in a folder where `milepost up` runs find
its servers by themselves. Results go to standard output, everything else to standard error. Exit status: 0,
1 where it did not work, 2 where the command was used wrongly or a setting is not valid; where a command has
others, it says so.

"""


def page() -> str:
    """The whole page, Markdown."""
    shown: str = app.generate_docs(heading_level=2)
    # cyclopts writes into each usage how this very process was started, when that was `-m`.
    lines = (re.sub(r"^(milepost .*?) -m \S+", r"\1", line).rstrip() for line in shown.splitlines())
    return _HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
