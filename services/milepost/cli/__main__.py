"""`python -m milepost.cli` is the `milepost` command."""

from milepost.cli.app import main

main()
