"""The `milepost` command.

`app.py` lists the commands, one module each; `failures.py` turns what goes wrong into a sentence
and an exit status. Modules import what they need when a command runs, so that `milepost run` works
on the base install and `milepost --help` is quick.
"""

from milepost.cli.app import main

__all__ = ["main"]
