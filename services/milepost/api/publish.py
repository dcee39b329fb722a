"""Publish how the HTTP API describes itself: `python -m milepost.api.publish FILE`.

The same code always gives the same bytes, whatever the settings.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from milepost.api.app import create_app
from milepost.settings import Settings


def published() -> bytes:
    """The OpenAPI document, as the API serves it."""
    document = create_app(Settings()).openapi()
    return f"{json.dumps(document, indent=2, ensure_ascii=False)}\n".encode()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m milepost.api.publish",
        description="Regenerate the OpenAPI document of the HTTP API.",
        epilog="example: python -m milepost.api.publish schemas/published/openapi.json",
    )
    parser.add_argument("file", type=Path, help="where the document is")
    file: Path = parser.parse_args(arguments).file
    try:
        file.write_bytes(published())
    except OSError as error:
        print(f"{parser.prog}: cannot publish to {file}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
