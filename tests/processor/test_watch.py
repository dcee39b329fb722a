"""A worker that does not move ends; one that has nothing to do, or cannot, does not."""

import pytest
from faust.types import TP

from milepost.processor.report import STUCK, Stuck, Watch

ONE, TWO = TP("events", 0), TP("events", 1)
LATE = STUCK + 1


def test_lag_without_progress() -> None:
    watch = Watch()
    watch.look([ONE], {ONE: 5}, {ONE: 9}, 0)
    watch.look([ONE], {ONE: 5}, {ONE: 99}, STUCK)
    with pytest.raises(Stuck, match="partition 0 stands at 5, the topic at 99"):
        watch.look([ONE], {ONE: 5}, {ONE: 99}, LATE)


def test_progress_of_one_does_not_count_for_another() -> None:
    watch = Watch()
    for step in range(3):
        watch.look([ONE, TWO], {ONE: step, TWO: 0}, {ONE: 9, TWO: 0}, step * LATE)
    watch.look([ONE, TWO], {ONE: 3, TWO: 0}, {ONE: 9, TWO: 1}, 3 * LATE)
    with pytest.raises(Stuck):
        watch.look([ONE, TWO], {ONE: 4, TWO: 0}, {ONE: 9, TWO: 1}, 4 * LATE)


def test_nothing_to_do() -> None:
    watch = Watch()
    watch.look([ONE], {ONE: 9}, {ONE: 9}, 0)
    watch.look([ONE], {ONE: 9}, {ONE: 9}, LATE)
    # The first lag after a long rest is no standstill.
    watch.look([ONE], {ONE: 9}, {ONE: 10}, 2 * LATE)


def test_a_partition_of_ours_that_nobody_folds() -> None:
    watch = Watch()
    watch.look([ONE], {}, {ONE: 0}, 0)
    with pytest.raises(Stuck):
        watch.look([ONE], {}, {ONE: 0}, LATE)


def test_time_in_which_nothing_could_move_does_not_count() -> None:
    watch = Watch()
    watch.look([ONE], {ONE: 5}, {ONE: 9}, 0)
    watch.forget()
    watch.look([ONE], {ONE: 5}, {ONE: 9}, LATE)
    watch.look([], {}, {}, LATE + 1)
    watch.look([ONE], {ONE: 5}, {ONE: 9}, 2 * LATE)
