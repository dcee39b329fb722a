"""What a command prints: lines out of bytes, progress out of lines, kept in bounded memory."""

import asyncio
import codecs
import io
import re
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

from milepost.schemas.values import MAX_LOG_LINES, LogLine, Progress

# 200 lines of 800 characters fit in one record whatever they hold: 6 bytes a character in JSON.
MAX_LINE: Final = 800
_WAITING_LINES: Final = 10 * MAX_LOG_LINES
_LAST_LINES: Final = 20
_MESSAGE: Final = 200
_PERCENT: Final = re.compile(r"(?<![\d.])(\d{1,3}(?:\.\d+)?) ?%")
_STEP: Final = re.compile(r"[\[(] *(\d{1,9}) */ *(\d{1,9}) *[\])]")


class Lines:
    r"""Splits bytes, in whatever pieces they come, into lines of at most `MAX_LINE` characters.

    Lines end with \n, \r\n or \r (as progress bars do). Bytes that are not UTF-8 are replaced, NUL
    is left out. How the bytes are cut into pieces makes no difference.
    """

    def __init__(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._decoder = io.IncrementalNewlineDecoder(decoder, translate=True)
        self._rest = ""

    def feed(self, piece: bytes) -> list[str]:
        """The lines that `piece` completes."""
        return self._split(self._decoder.decode(piece))

    def end(self) -> list[str]:
        """What is left at the end, unless it is nothing."""
        lines = self._split(self._decoder.decode(b"", final=True))
        rest, self._rest = self._rest, ""
        return [*lines, rest] if rest else lines

    def _split(self, text: str) -> list[str]:
        *whole, rest = (self._rest + text.replace("\0", "")).split("\n")
        lines = [part for line in whole for part in _parts(line)]
        *full, self._rest = _parts(rest)
        return lines + full


def _parts(line: str) -> Iterator[str]:
    yield line[:MAX_LINE]
    for start in range(MAX_LINE, len(line), MAX_LINE):
        yield line[start : start + MAX_LINE]


def progress_in(line: str, before: Progress) -> Progress:
    """What `line` says about progress: `NN%`, `[3/10]`; what it does not say stays as it was."""
    found = before.model_dump()
    if "%" in line and (match := _PERCENT.search(line)) and float(match[1]) <= 100:
        found["percent"] = float(match[1])
    if "/" in line and (match := _STEP.search(line)) and int(match[1]) <= int(match[2]):
        found |= {"step": int(match[1]), "steps": int(match[2])}
    if message := line.strip()[:_MESSAGE]:
        found["message"] = message
    return Progress(**found)


class Output:
    """What was printed and is not reported yet; `news` is set while there is something.

    Where lines come faster than they can be reported, the oldest are left out and counted.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.news = asyncio.Event()
        self.progress = Progress()
        self.last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._waiting: deque[tuple[str, str, datetime]] = deque()
        self._left_out = 0
        self._clock = clock

    def add(self, stream: str, lines: list[str]) -> None:
        """Keep what was printed on `stream` (stdout, stderr)."""
        if not lines:
            return
        now = self._clock()
        for line in lines:
            self._waiting.append((stream, line, now))
            self.progress = progress_in(line, self.progress)
        self.last_lines.extend(lines)
        while len(self._waiting) > _WAITING_LINES:
            self._waiting.popleft()
            self._left_out += 1
        self.news.set()

    def take(self) -> list[LogLine]:
        """The next lines to report, as many as fit in one event."""
        taken = []
        if self._left_out:
            message = f"[{self._left_out} lines left out: they came too fast]"
            taken.append(LogLine(message=message, stream="milepost", occurred_at=self._clock()))
            self._left_out = 0
        while self._waiting and len(taken) < MAX_LOG_LINES:
            stream, line, moment = self._waiting.popleft()
            taken.append(LogLine(message=line, stream=stream, occurred_at=moment))
        if not self._waiting:
            self.news.clear()
        return taken
