"""Lines out of bytes, progress out of lines, and the bounds of what is kept."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.providers.output import MAX_LINE, Lines, Output, progress_in
from milepost.schemas.events import Progressed
from milepost.schemas.topics import MAX_EVENT_BYTES
from milepost.schemas.values import MAX_LOG_LINES, Progress

NOW = datetime(2026, 3, 1, tzinfo=UTC)
# Bytes near what matters: line ends, NUL, halves of UTF-8 characters, lines around the limit.
PIECES = st.lists(
    st.one_of(
        st.sampled_from([b"\n", b"\r", b"\r\n", b"\0", b"\xc3", b"\xa9", b"\xff", "é".encode()]),
        st.binary(max_size=20),
        st.integers(MAX_LINE - 2, MAX_LINE + 2).map(lambda size: b"x" * size),
    ),
    max_size=12,
)


def _lines(pieces: list[bytes]) -> list[str]:
    lines = Lines()
    return [line for piece in pieces for line in lines.feed(piece)] + lines.end()


@given(PIECES)
def test_how_the_bytes_are_cut_makes_no_difference(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    assert _lines(pieces) == _lines([whole])
    assert _lines(pieces) == _lines([whole[at : at + 1] for at in range(len(whole))])


@given(PIECES)
def test_nothing_but_line_ends_and_nul_is_lost_and_every_line_is_bounded(
    pieces: list[bytes],
) -> None:
    lines = _lines(pieces)
    text = b"".join(pieces).decode(errors="replace")
    assert "".join(lines) == "".join(char for char in text if char not in "\r\n\0")
    assert all(len(line) <= MAX_LINE for line in lines)


def test_lines_end_in_three_ways_and_the_last_may_have_no_end() -> None:
    assert _lines([b"one\ntwo\r", b"\nthree\rfour"]) == ["one", "two", "three", "four"]


@pytest.mark.parametrize(
    ("line", "percent", "step", "steps"),
    [
        ("Downloading 42%", 42, None, None),
        ("42.5 % done", 42.5, None, None),
        ("[3/10] linking", None, 3, 10),
        ("(3 / 10) 30%", 30, 3, 10),
        ("1000% sure, 7/3, [9/3]", None, None, None),
        ("150%", None, None, None),
        ("nothing", None, None, None),
    ],
)
def test_progress_is_read_from_a_line(
    line: str, percent: float | None, step: int | None, steps: int | None
) -> None:
    found = progress_in(line, Progress())
    assert (found.percent, found.step, found.steps) == (percent, step, steps)
    assert found.message == line


def test_what_a_line_does_not_say_stays() -> None:
    before = progress_in("[1/2] 10%", Progress())
    after = progress_in("  compiling ", before)
    assert after == Progress(percent=10, step=1, steps=2, message="compiling")
    assert progress_in(" ", after) == after


def test_lines_are_taken_in_order_and_in_events_that_fit_in_a_record() -> None:
    output = Output(lambda: NOW)
    # The longest way to write a line in JSON.
    output.add("stdout", ["\x01" * MAX_LINE] * (2 * MAX_LOG_LINES))
    taken = output.take()
    assert len(taken) == MAX_LOG_LINES
    event = Progressed(occurred_at=NOW, log_lines=tuple(taken))
    assert len(event.model_dump_json()) < MAX_EVENT_BYTES
    assert output.news.is_set()
    assert len(output.take()) == MAX_LOG_LINES
    assert not output.news.is_set()


def test_what_comes_too_fast_is_left_out_and_counted() -> None:
    output = Output(lambda: NOW)
    output.add("stdout", [str(number) for number in range(5_000)])
    first, *rest = output.take()
    assert first.message == "[3000 lines left out: they came too fast]"
    assert rest[0].message == "3000"
    assert list(output.last_lines) == [str(number) for number in range(4_980, 5_000)]


def test_a_line_is_json_whatever_was_printed() -> None:
    for line in _lines([bytes(range(256)) * 5]):
        assert json.loads(json.dumps(line)) == line
