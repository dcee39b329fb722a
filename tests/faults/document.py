"""docs/faults.md, .json and .svg: what was survived, for people and for machines."""

import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Final

from faults.table import HEADINGS, SOAK_HEADINGS, Part, Row, Told, soak_rows
from faults.trial import RECOVERY, Figures

_LEFT, _WIDTH, _LINE = 270, 420, 26
_TEXT: Final = f"""\
# Faults survived

Written by `make test-faults`: two processors, the API and the webhook worker, each supervised, on one
Kafka broker and one Postgres. A fault comes when a fifth of what was sent before it is folded, and as
much is sent while it lasts. Afterwards everything Milepost holds and has sent is compared with what
`tests/oracle.py` makes of the topic's records.

![seconds from the end of a fault until nothing waited](faults.svg)

- **lost**: events, completions and commands that are missing.
- **repeated**: events folded twice; completions and commands that a `read_committed` consumer heard twice.
- **calls repeated**: webhook calls under an id that was called before, which receivers drop; webhooks are
  sent at least once.
- **back after at most**: seconds from the end of a fault until nothing waited to be folded or sent; more
  than {RECOVERY:.0f} fails the run.

"""
_SOAK: Final = """
## Soak

One rate for a long time, with a webhook endpoint, readers, a caller and a stream. The first quarter of the
time is warm-up; of what follows, the table has the means of the first and of the last quarter. **growth**
is that of a straight line through all samples, **may grow** the bound. Tables that keep a row for each
event or execution grow; what a row takes, dead ones and free space included, must not.

"""
_PARTS: Final = "\n## All that was run\n\n"


def write(told: Told, parts: Sequence[Part], folder: Path) -> None:
    """Write the three. For runs that were survived as a whole."""
    reasons = "".join(
        f"\nLeft out: {fault}. {reason[:1].upper()}{reason[1:]}.\n"
        for fault, reason in told.left_out.items()
    )
    (folder / "faults.md").write_text(
        _TEXT
        + _markdown(HEADINGS, told.rows())
        + reasons
        + _SOAK
        + _markdown(SOAK_HEADINGS, soak_rows(told.courses))
        + _PARTS
        + _markdown(("what", "how much", "", "took"), (part.row for part in parts))
    )
    (folder / "faults.svg").write_text(_chart(sorted(told.figures)))
    kept = {
        "faults": [one._asdict() for one in sorted(told.figures)],
        "soak": [one._asdict() for one in told.courses],
    }
    (folder / "faults.json").write_text(json.dumps(kept, indent=2) + "\n")


def _markdown(headings: Row, rows: Iterable[Row]) -> str:
    lines = [headings, ("---", *["---:"] * (len(headings) - 1)), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _chart(figures: Sequence[Figures]) -> str:
    """A bar for each fault, as long as the longest recovery from it; the bound is a line."""
    height = _LINE * len(figures) + 30
    bound = _LEFT + _WIDTH
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {bound + 70} {height}">',
        "<style>text { font: 13px sans-serif }</style>",
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for number, one in enumerate(figures):
        y = number * _LINE + 4
        length = max(1, round(one.recovery_seconds / RECOVERY * _WIDTH))
        parts += [
            f'<text x="{_LEFT - 8}" y="{y + 15}" text-anchor="end">{escape(one.fault)}</text>',
            f'<rect x="{_LEFT}" y="{y}" width="{length}" height="20" fill="#1a6e5a"/>',
            f'<text x="{_LEFT + length + 6}" y="{y + 15}">{one.recovery_seconds:.1f} s</text>',
        ]
    return "\n".join(
        [
            *parts,
            f'<line x1="{bound}" y1="0" x2="{bound}" y2="{height - 24}" stroke="#b03a2e"/>',
            f'<text x="{bound}" y="{height - 8}" text-anchor="middle">{RECOVERY:.0f} s</text>',
            "</svg>",
            "",
        ]
    )
