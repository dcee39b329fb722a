"""A soak can fail: what leaks, little by little or in steps, is not taken for flat."""

from random import Random

import pytest

from faults.flat import Measure, course

MEMORY = Measure("memory", "MiB", much=16, share=0.1)
HALF_AN_HOUR = range(0, 1_800, 15)


def test_a_leak_is_seen_through_the_noise() -> None:
    noise = Random(1)
    leaks = [(second, 120 + second * 0.02 + noise.uniform(-10, 10)) for second in HALF_AN_HOUR]
    found = course(MEMORY, leaks)
    assert not found.is_flat
    assert found.last - found.first > 16


def test_steps_are_a_leak_too() -> None:
    assert not course(
        MEMORY, [(second, 100 + second // 300 * 8) for second in HALF_AN_HOUR]
    ).is_flat


def test_a_table_whose_rows_take_more_and_more_room() -> None:
    rows = Measure("bytes a row", "B", much=16, share=0.1)
    assert not course(rows, [(second, 900 + second * 0.2) for second in HALF_AN_HOUR]).is_flat


def test_what_warms_up_and_swings_is_flat() -> None:
    noise = Random(2)
    swings = [
        (second, min(second, 300) / 3 + noise.uniform(-10, 10) + second % 60 / 6)
        for second in HALF_AN_HOUR
    ]
    assert course(MEMORY, swings).is_flat


def test_too_few_samples_are_no_proof() -> None:
    with pytest.raises(ValueError, match="samples say nothing"):
        course(MEMORY, [(second, 1.0) for second in range(6)])
