"""Whether a file of records is as it was written: every line, every record's bytes, and the counts."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from milepost.projections.archive import VERSION, Document, Line, lines, raw, raw_sha256, sha256

# So many are told; the others are counted.
_TOLD: Final = 100
_MANIFEST: Final = re.compile(r"\.jsonl\.gz$")


class Finding(NamedTuple):
    """What is wrong with a line (from 1; 0: with the file), and which record it is as far as it says."""

    line: int
    problem: str
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    execution_id: str | None = None


@dataclass
class Checked:
    """What is in a file and what is wrong with it; `problems` counts those that are not told, too.

    `chain` is that of the last line: whoever wrote it down elsewhere can tell a file that was made anew.
    """

    header: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    lines: int = 0
    chain: str | None = None
    sha256: str | None = None
    problems: int = 0
    findings: list[Finding] = field(default_factory=list)

    def add(self, finding: Finding) -> None:
        """One more thing that is wrong."""
        self.problems += 1
        if len(self.findings) < _TOLD:
            self.findings.append(finding)


def manifest_of(path: Path) -> Path:
    """Where the manifest of a month's file is."""
    return path.with_name(_MANIFEST.sub("", path.name) + ".manifest.json")


def check(path: Path) -> Checked:
    """Read a file to its end; against its manifest, too, where one lies beside it. Raises OSError."""
    checked = Checked(sha256=sha256(path))
    trailer: Document | None = None
    for line in lines(path):
        checked.lines, checked.chain = line.number, line.chain
        if trailer is not None:
            checked.add(Finding(line.number, "added: it comes after the trailer"))
        for finding in _findings(line):
            checked.add(finding)
        document = line.document
        if document is None:
            continue
        match document.get("kind"):
            case "header":
                checked.header = {
                    name: value for name, value in document.items() if name not in ("line", "kind")
                }
            case "trailer":
                trailer = document
            case kind:
                checked.counts[str(kind)] = checked.counts.get(str(kind), 0) + 1
    _check_ends(checked, trailer)
    manifest = manifest_of(path)
    if manifest.exists():
        _check_manifest(checked, manifest)
    return checked


def _findings(line: Line) -> Iterator[Finding]:
    """What is wrong with one line."""
    document = line.document or {}
    place = [document.get(name) for name in ("topic", "partition", "offset", "execution_id")]
    for problem in line.problems:
        yield Finding(line.number, problem, *place)
    if line.number == 1 and document.get("kind") != "header":
        yield Finding(1, "no header: the file does not begin here")
    if line.number == 1 and document.get("version") not in (VERSION, None):
        yield Finding(1, f"format version {document['version']}: this Milepost reads {VERSION}")
    if document.get("kind") == "record":
        try:
            same = raw_sha256(raw(document)) == document["sha256"]
        except (KeyError, TypeError, ValueError, AttributeError):
            same = False
        if not same:
            yield Finding(line.number, "its bytes are not those of its sha256", *place)


def _check_ends(checked: Checked, trailer: Document | None) -> None:
    if trailer is None:
        checked.add(Finding(checked.lines, "no trailer: what came after this line is missing"))
        return
    told = trailer.get("counts")
    if told != checked.counts:
        checked.add(Finding(0, f"the trailer counts {told}, the file has {checked.counts}"))


def _check_manifest(checked: Checked, path: Path) -> None:
    try:
        told = orjson.loads(path.read_bytes())
        expected = told["sha256"], told["counts"]
    except (ValueError, KeyError, TypeError):
        checked.add(Finding(0, f"{path.name} is no manifest"))
        return
    if expected != (checked.sha256, checked.counts):
        checked.add(Finding(0, f"it is not the file that {path.name} describes"))
