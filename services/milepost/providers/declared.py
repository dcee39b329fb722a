"""Resources that a command declares by writing to the file named by `MILEPOST_RESOURCES`."""

from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from milepost.schemas.values import MAX_RESOURCES, Resource

# All of them must fit in the one record that ends the execution.
_MAX_BYTES: Final = 512 * 1024
_resource: Final = TypeAdapter(Resource)


class Declared:
    """Reads JSON lines like `{"kind": "virtualenv", "id": "/srv/env"}` as they are written.

    `resources` are those read so far, in order; a later line about the same kind and id replaces
    an earlier one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0
        self._number = 0
        self._known: dict[tuple[str, str], Resource] = {}

    @property
    def resources(self) -> list[Resource]:
        return list(self._known.values())

    def fresh(self, *, last: bool = False) -> tuple[list[Resource], list[str]]:
        """What was written since the last call, and what is wrong with it, one sentence a line.

        A line without its end is left for the next call, unless this is the `last`.
        """
        resources, problems = [], []
        for line in self._lines(last):
            self._number += 1
            if not line.strip():
                continue
            try:
                resource = _resource.validate_json(line)
            except ValidationError as error:
                what = error.errors(include_url=False)[0]["msg"]
                problems.append(f"MILEPOST_RESOURCES line {self._number} is no resource: {what}")
                continue
            # The process itself is one, too.
            if len(self._known) >= MAX_RESOURCES - 1:
                problems.append(f"MILEPOST_RESOURCES line {self._number} is one too many")
                continue
            self._known[resource.kind, resource.id] = resource
            resources.append(resource)
        return resources, problems

    def _lines(self, last: bool) -> list[bytes]:
        try:
            with self.path.open("rb") as file:
                file.seek(self._read)
                new = file.read(max(0, _MAX_BYTES - self._read))
        except OSError:  # the command removed it
            return []
        *lines, rest = new.split(b"\n")
        if last:
            lines.append(rest)
            rest = b""
        self._read += len(new) - len(rest)
        return lines
