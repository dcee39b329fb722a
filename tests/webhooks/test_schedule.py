"""When a message is tried again: the whole life of a delivery, by a clock that the test moves."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain, pairwise, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milepost.webhooks.schedule import GIVEN_UP, LONGEST_WAIT, STEPS, Next, after, to_disable

START = datetime(2026, 11, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)


def life(answers: Iterator[int | None], chance: float = 0.5) -> tuple[str, list[timedelta]]:
    """How a delivery to an endpoint with these answers ends, and when each attempt was made."""
    clock, times = timedelta(), []
    for attempts, answer in enumerate(answers, start=1):
        times.append(clock)
        following = after(answer, attempts, chance=chance)
        if following.wait is None:
            return following.status, times
        assert following.status == "pending"
        clock += following.wait
    raise AssertionError("the answers ended first")


@pytest.mark.parametrize("answer", [None, 301, 400, 404, 408, 429, 500, 503])
def test_an_endpoint_that_stays_away_is_tried_for_75_hours(answer: int | None) -> None:
    status, times = life(repeat(answer))
    assert status == "failed"
    assert len(times) == 15
    assert 75 * HOUR < times[-1] < 76 * HOUR
    # Quickly at first, and at least twice a day later.
    assert times[3] < timedelta(minutes=3)
    assert max(late - early for early, late in pairwise(times)) == 12 * HOUR


@pytest.mark.parametrize("troubles", range(15))
def test_it_arrives_as_soon_as_the_endpoint_is_back(troubles: int) -> None:
    status, times = life(chain(repeat(503, troubles), repeat(204)))
    assert (status, len(times)) == ("delivered", troubles + 1)


def test_gone_is_gone() -> None:
    assert after(410, 1, chance=0.5) == Next("cancelled", gone=True)


@given(chance=st.floats(0, 1), attempts=st.integers(1, len(STEPS)))
def test_jitter_moves_a_step_by_a_tenth_at_most(chance: float, attempts: int) -> None:
    wait = after(503, attempts, chance=chance).wait
    assert wait is not None
    assert abs(wait.total_seconds() / STEPS[attempts - 1] - 1) <= 0.1 + 1e-6


@given(
    asked=st.none() | st.floats(0, 1e9),
    chance=st.floats(0, 1),
    attempts=st.integers(1, len(STEPS)),
)
def test_an_endpoint_may_ask_for_more_time_up_to_a_day_and_for_no_less(
    asked: float | None, chance: float, attempts: int
) -> None:
    wait = after(429, attempts, retry_after=asked, chance=chance).wait
    unasked = after(429, attempts, chance=chance).wait
    assert wait is not None
    assert unasked is not None
    assert unasked <= wait <= timedelta(seconds=LONGEST_WAIT)
    if asked is not None and asked <= LONGEST_WAIT:
        assert wait >= timedelta(seconds=asked)


def test_an_endpoint_is_given_up_after_five_days_of_failures_or_when_it_is_gone() -> None:
    retry = after(503, 1, chance=0.5)
    assert to_disable(retry, START, START) is None
    assert to_disable(retry, START, START + GIVEN_UP - HOUR) is None
    assert to_disable(retry, START, START + GIVEN_UP) == "failing"
    assert to_disable(after(410, 1, chance=0.5), START, START) == "gone"


def test_one_message_is_given_up_before_its_endpoint_is() -> None:
    _, times = life(repeat(503), chance=1)
    assert times[-1] < GIVEN_UP
