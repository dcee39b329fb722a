"""The fold, cell by cell: what an event does to an execution that is there, on its way or at its end.

A report that ends nothing has no "same terminal": what holds for it at one end holds at every end.
"""

from typing import Any

import pytest

from milepost.projections import body
from milepost.projections.execution import MAX_CONFLICTS, Execution
from milepost.projections.view import render
from milepost.schemas.binding import moment
from milepost.schemas.events import Resources
from milepost.schemas.values import Category, Failure, Resource
from projections.runs import ECS, K8S, Record, Run, minute
from projections.specification import given

run = Run()
TASK = Resource("ecs.task", "task-1")
VOLUME = Resource("ecs.volume", "volume-1")
ENDS = ("succeeded", "failed", "cancelled")
OTHERS = [(held, told) for held in ENDS for told in ENDS if held != told]


def ended(state: str, at: float = 5, **told: Any) -> Record:
    """The report that an execution ended in this state."""
    record: Record = getattr(run, state)(at, **told)
    return record


def view(execution: Execution) -> dict[str, Any]:
    return render(body.fields(execution))


def transitions(execution: Execution) -> dict[str, dict[str, Any]]:
    return {told["state"]: told for told in view(execution)["transitions"]}


def statuses(execution: Execution) -> dict[str, str | None]:
    return {told["id"]: told["status"] for told in view(execution)["resources"]}


class TestRequested:
    def test_on_none_is_pending_and_commands_the_start(self) -> None:
        execution = given().when(run.requested(id="r-1")).then(
            "applied", state="pending", emitted="start"
        )  # fmt: skip
        assert execution.command_event_id == "r-1"

    def test_on_pending_without_its_request_fills_it_and_commands_the_start(self) -> None:
        execution = given(run.cancellation_requested(at=0)).when(run.requested(at=1)).then(
            "applied", "filled", state="pending", emitted="start cancel"
        )  # fmt: skip
        assert execution.fact("request")["provider"] == "ecs"

    def test_on_pending_again_is_a_duplicate(self) -> None:
        execution = given(run.requested(id="r-1")).when(run.requested(at=1, id="r-2")).then(
            "duplicate", "repeated", state="pending"
        )  # fmt: skip
        assert execution.command_event_id == "r-1"

    def test_on_pending_with_newer_labels_merges_them_and_commands_nothing(self) -> None:
        execution = (
            given(run.requested(labels={"team": "a"}))
            .when(run.requested(at=1, labels={"team": "b"}))
            .then("applied", "merged", state="pending")
        )
        assert view(execution)["labels"] == {"team": "b"}

    def test_on_running_is_late_and_fills_facts(self) -> None:
        execution = given(run.started()).when(run.requested()).then(
            "late", "filled", state="running"
        )  # fmt: skip
        assert view(execution)["operation"] == "provision"
        assert execution.command_event_id is None

    def test_on_running_again_is_a_duplicate(self) -> None:
        history = given(run.requested(), run.started())
        history.when(run.requested(at=4)).then("duplicate", "repeated", state="running")

    def test_on_running_with_newer_labels_is_late(self) -> None:
        history = given(run.requested(), run.started())
        history.when(run.requested(at=4, labels={"team": "b"})).then(
            "late", "repeated", state="running"
        )

    @pytest.mark.parametrize("state", ENDS)
    def test_on_terminal_is_late_and_fills_facts(self, state: str) -> None:
        execution = given(ended(state)).when(run.requested()).then("late", "filled", state=state)
        assert view(execution)["requested_at"] == minute(0)
        assert view(execution)["duration_seconds"] == 300


class TestStarted:
    def test_on_none_is_running(self) -> None:
        given().when(run.started()).then("applied", state="running")

    def test_on_pending_is_running(self) -> None:
        given(run.requested()).when(run.started()).then("applied", state="running")

    def test_on_running_merges(self) -> None:
        execution = (
            given(run.started(resources=(TASK,)))
            .when(run.started(at=2, resources=(VOLUME,)))
            .then("applied", "merged", state="running")
        )
        assert len(execution.resources) == 2
        assert view(execution)["started_at"] == minute(1)

    def test_on_running_with_nothing_new_is_a_duplicate(self) -> None:
        given(run.started()).when(run.started(at=2)).then("duplicate", "repeated", state="running")

    @pytest.mark.parametrize("state", ENDS)
    def test_on_terminal_is_late_and_brings_the_time(self, state: str) -> None:
        execution = given(run.requested(), ended(state)).when(run.started()).then(
            "late", state=state
        )  # fmt: skip
        assert view(execution)["started_at"] == minute(1)

    @pytest.mark.parametrize("state", ENDS)
    def test_on_terminal_again_is_a_duplicate(self, state: str) -> None:
        history = given(run.started(), ended(state))
        history.when(run.started(at=2)).then("duplicate", "repeated", state=state)


class TestProgressed:
    def test_on_none_infers_running(self) -> None:
        execution = given().when(run.progressed(percent=10)).then(
            "applied", "inferred", state="running"
        )  # fmt: skip
        assert transitions(execution)["running"]["inferred"]

    def test_on_pending_infers_running(self) -> None:
        given(run.requested()).when(run.progressed()).then("applied", "inferred", state="running")

    def test_on_running_applies_if_newer(self) -> None:
        history = given(run.started(), run.progressed(at=2, percent=10))
        execution = history.when(run.progressed(at=3, percent=20)).then("applied", state="running")
        assert view(execution)["progress"] == {"percent": 20}

    def test_on_running_is_stale_if_older(self) -> None:
        history = given(run.started(), run.progressed(at=3, percent=20))
        execution = history.when(run.progressed(at=2, percent=10)).then(
            "stale", "older_progress", state="running"
        )
        assert view(execution)["progress"] == {"percent": 20}

    def test_on_running_with_nothing_but_a_sign_of_life_applies_without_a_new_version(self) -> None:
        history = given(run.started(), run.progressed(at=2))
        execution = history.when(run.progressed(at=3)).then("applied", state="running")
        assert history.held is not None
        assert execution.version == history.held.version

    def test_on_running_a_sign_of_life_of_another_source_counts_though_its_id_is_the_same(
        self,
    ) -> None:
        history = given(run.started(), run.progressed(at=2, id="7", source=ECS))
        history.when(run.progressed(at=3, id="7", source=K8S)).then("applied", state="running")

    @pytest.mark.parametrize("state", ENDS)
    def test_on_terminal_is_late(self, state: str) -> None:
        history = given(run.started(), run.progressed(at=2, percent=10), ended(state))
        execution = history.when(run.progressed(at=3, percent=20)).then("late", state=state)
        assert view(execution)["progress"] == {"percent": 20}

    @pytest.mark.parametrize("state", ENDS)
    def test_on_terminal_is_stale_if_older(self, state: str) -> None:
        history = given(run.started(), run.progressed(at=3, percent=20), ended(state))
        history.when(run.progressed(at=2, percent=10)).then(
            "stale", "older_progress", state=state
        )  # fmt: skip


class TestEnded:
    """Succeeded, failed, cancelled."""

    @pytest.mark.parametrize("state", ENDS)
    def test_on_none_is_terminal_and_notifies(self, state: str) -> None:
        execution = given().when(ended(state)).then("applied", state=state, emitted="completion")
        assert not view(execution)["requested"]

    @pytest.mark.parametrize("state", ENDS)
    def test_on_pending_is_terminal_and_notifies(self, state: str) -> None:
        given(run.requested()).when(ended(state)).then(
            "applied", state=state, emitted="completion"
        )  # fmt: skip

    @pytest.mark.parametrize("state", ENDS)
    def test_on_running_is_terminal_and_notifies(self, state: str) -> None:
        execution = given(run.requested(), run.started()).when(ended(state)).then(
            "applied", state=state, emitted="completion"
        )  # fmt: skip
        assert view(execution)["ended_at"] == minute(5)

    @pytest.mark.parametrize("state", ENDS)
    def test_on_the_same_terminal_is_late_merges_and_notifies_nobody(self, state: str) -> None:
        execution = (
            given(ended(state, at=5))
            .when(ended(state, at=6, resources=(TASK,)))
            .then("late", "repeated", state=state)
        )
        assert statuses(execution) == {"task-1": None}
        assert view(execution)["ended_at"] == minute(5)

    @pytest.mark.parametrize("state", ENDS)
    def test_on_the_same_terminal_an_earlier_report_brings_the_time(self, state: str) -> None:
        execution = given(ended(state, at=6)).when(ended(state, at=5)).then(
            "late", "repeated", state=state
        )  # fmt: skip
        assert view(execution)["ended_at"] == minute(5)

    @pytest.mark.parametrize("state", ENDS)
    def test_on_the_same_terminal_with_nothing_new_is_a_duplicate(self, state: str) -> None:
        given(ended(state, at=5)).when(ended(state, at=6)).then(
            "duplicate", "repeated", state=state
        )  # fmt: skip

    @pytest.mark.parametrize(("held", "told"), OTHERS)
    def test_on_another_terminal_is_conflicting_and_flagged(self, held: str, told: str) -> None:
        execution = given(ended(held)).when(ended(told, at=6, id="c-1")).then(
            "conflicting", f"already_{held}", state=held
        )  # fmt: skip
        [conflict] = view(execution)["conflicts"]
        assert (conflict["type"], conflict["event_id"]) == (
            f"milepost.execution.{told}.v1",
            "c-1",
        )
        assert set(transitions(execution)) == {"pending", held}


class TestCancellationRequested:
    def test_on_none_is_pending_and_waits_for_the_request(self) -> None:
        execution = given().when(run.cancellation_requested()).then("applied", state="pending")
        assert transitions(execution)["pending"]["occurred_at"] is None

    def test_on_pending_commands_the_cancellation(self) -> None:
        execution = (
            given(run.requested())
            .when(run.cancellation_requested(reason="not needed", requested_by="eva"))
            .then("applied", state="pending", emitted="cancel")
        )
        assert view(execution)["cancellation_requested"] == {
            "reason": "not needed",
            "requested_by": "eva",
            "occurred_at": minute(3),
        }

    def test_on_running_commands_the_cancellation(self) -> None:
        given(run.requested(), run.started()).when(run.cancellation_requested()).then(
            "applied", state="running", emitted="cancel"
        )

    @pytest.mark.parametrize("state", ENDS)
    def test_on_terminal_is_stale(self, state: str) -> None:
        execution = given(ended(state)).when(run.cancellation_requested()).then(
            "stale", "already_terminal", state=state
        )  # fmt: skip
        assert execution.cancellation is None


class TestOnTop:
    """What holds beside the table."""

    @pytest.mark.parametrize(
        "record", [run.requested(), run.started(), run.progressed(), run.failed()]
    )
    def test_the_event_of_a_known_transition_is_a_duplicate(self, record: Record) -> None:
        history = given(record)
        assert history.held is not None
        history.when(record).then("duplicate", "known_event", state=history.held.state)

    def test_the_id_of_a_known_transition_is_a_duplicate_whatever_it_says(self) -> None:
        given(run.started(id="7")).when(run.failed(id="7")).then(
            "duplicate", "known_event", state="running"
        )

    def test_the_same_id_of_another_source_is_another_event(self) -> None:
        given(run.started(id="7")).when(run.failed(id="7", source=K8S)).then(
            "applied", state="failed", emitted="completion"
        )

    @pytest.mark.parametrize("state", ["pending", "running", "succeeded"])
    def test_a_second_request_with_another_fingerprint_reuses_the_key(self, state: str) -> None:
        history = [run.requested(parameters={"size": 1}), run.started(), run.succeeded()]
        other = run.requested(at=1, parameters={"size": 2}, labels={"team": "b"}, id="r-2")
        held = given(*history[: ["pending", "running", "succeeded"].index(state) + 1])
        execution = held.when(other).then("conflicting", "key_reused", state=state)
        [conflict] = view(execution)["conflicts"]
        assert (conflict["reason"], conflict["event_id"]) == ("key_reused", "r-2")
        assert view(execution)["parameters"] == {"size": 1}
        assert view(execution)["labels"] == {}

    def test_a_conflict_told_again_is_flagged_once(self) -> None:
        other = run.requested(at=1, parameters={"size": 2})
        execution = given(run.requested(), other).when(other).then(
            "duplicate", "known_event", state="pending"
        )  # fmt: skip
        assert len(execution.conflicts) == 1

    def test_conflicts_are_bounded(self) -> None:
        conflicts = [run.failed(at=6 + number) for number in range(MAX_CONFLICTS)]
        execution = given(run.succeeded(), *conflicts).when(run.failed(at=99)).then(
            "conflicting", "already_succeeded", state="succeeded"
        )  # fmt: skip
        assert len(execution.conflicts) == MAX_CONFLICTS

    def test_a_second_cancellation_request_is_a_duplicate_without_a_second_command(self) -> None:
        history = given(run.requested(), run.cancellation_requested(at=3, reason="first"))
        execution = history.when(run.cancellation_requested(at=2, reason="second")).then(
            "duplicate", "already_requested", state="pending"
        )
        assert view(execution)["cancellation_requested"]["reason"] == "first"

    def test_a_cancellation_before_the_request_is_commanded_with_it_once(self) -> None:
        history = given(run.cancellation_requested())
        history.when(run.requested()).then(
            "applied", "filled", state="pending", emitted="start cancel"
        )
        given(run.cancellation_requested(), run.requested()).when(
            run.cancellation_requested(at=4)
        ).then("duplicate", "already_requested", state="pending")

    def test_late_facts_fill_what_is_not_known(self) -> None:
        execution = (
            given(run.requested(), run.started(), run.succeeded())
            .when(run.progressed(at=4, log_link="https://logs/1", resources=(TASK,)))
            .then("late", state="succeeded")
        )
        assert view(execution)["log_link"] == "https://logs/1"
        assert statuses(execution) == {"task-1": None}

    def test_other_tenants_events_make_another_execution(self) -> None:
        execution = given().when(Run(tenant="globex").started()).then("applied", state="running")
        assert execution.tenant == "globex"


class TestTimes:
    def test_a_transition_has_three_times_its_event_and_its_place(self) -> None:
        record = run.started(at=1, reported=2, recorded=3, id="s-1")._replace(
            partition=7, offset=42
        )
        execution = given(run.requested()).when(record).then("applied", state="running")
        assert transitions(execution)["running"] == {
            "state": "running",
            "occurred_at": minute(1),
            "reported_at": minute(2),
            "recorded_at": minute(3),
            "inferred": False,
            "skewed": False,
            "event_id": "s-1",
            "source": ECS,
            "partition": 7,
            "offset": 42,
        }

    @pytest.mark.parametrize(
        ("reported", "recorded", "skewed"),
        [(6, 6, False), (6.01, 6.01, True), (1, 6.01, True), (-4.01, 1, True), (-2, 3, False)],
    )
    def test_times_more_than_five_minutes_apart_are_skewed(
        self, reported: float, recorded: float, skewed: bool
    ) -> None:
        record = run.started(at=1, reported=reported, recorded=recorded)
        execution = given(run.requested()).when(record).then("applied", state="running")
        assert transitions(execution)["running"]["skewed"] is skewed

    def test_the_smallest_key_says_when_a_state_was_entered(self) -> None:
        history = given(run.started(at=2, id="later"))
        execution = history.when(run.started(at=1, id="earlier")).then(
            "applied", "merged", state="running"
        )
        assert transitions(execution)["running"]["event_id"] == "earlier"

    def test_among_events_of_one_moment_the_sequence_decides(self) -> None:
        history = given(
            run.started(), run.progressed(at=2, percent=20, sequence=2, id="a", source=ECS)
        )
        history.when(run.progressed(at=2, percent=10, sequence=1, id="b", source=ECS)).then(
            "stale", "older_progress", state="running"
        )

    def test_an_inferred_transition_has_no_occurred_time_until_started_brings_it(self) -> None:
        history = given(run.requested(), run.progressed(at=2))
        assert history.held is not None
        assert transitions(history.held)["running"]["occurred_at"] is None
        assert view(history.held)["started_at"] is None
        # Later than the progress, and nevertheless what somebody told.
        execution = history.when(run.started(at=3)).then("applied", "merged", state="running")
        assert transitions(execution)["running"]["occurred_at"] == minute(3)

    def test_pending_is_inferred_until_its_request_comes(self) -> None:
        history = given(run.started(at=1, recorded=2))
        assert history.held is not None
        pending = transitions(history.held)["pending"]
        assert pending["inferred"]
        assert (pending["occurred_at"], pending["recorded_at"]) == (None, minute(2))
        execution = history.when(run.requested(at=0)).then("late", "filled", state="running")
        assert transitions(execution)["pending"]["occurred_at"] == minute(0)

    def test_an_end_without_any_beginning_has_no_duration(self) -> None:
        execution = given().when(run.succeeded()).then(
            "applied", state="succeeded", emitted="completion"
        )  # fmt: skip
        assert view(execution)["duration_seconds"] is None
        assert list(transitions(execution)) == ["pending", "succeeded"]

    def test_recorded_never_goes_back(self) -> None:
        history = given(run.requested(recorded=9))
        execution = history.when(run.started(at=1, recorded=3)).then("applied", state="running")
        assert moment(execution.recorded) == minute(9)


class TestFacts:
    """Facts, outcomes and resources merge by the key of the event that told them."""

    def test_the_newest_failure_stays(self) -> None:
        first = Failure(code="timeout", message="1", category=Category.RETRIABLE)
        later = Failure(code="out_of_memory", message="2")
        history = given(run.failed(at=6, failure=later))
        execution = history.when(run.failed(at=5, failure=first)).then(
            "late", "repeated", state="failed"
        )
        assert view(execution)["failure"]["code"] == "out_of_memory"
        assert view(execution)["ended_at"] == minute(5)

    def test_a_failure_keeps_every_detail(self) -> None:
        failure = Failure(
            code="image_missing",
            message="no such image",
            category=Category.REQUIRES_MANUAL_INTERVENTION,
            provider_code="CannotPullContainerError",
            details={"image": "shop:1.4.2", "registry": None, "tries": [1, 2.5, True]},
            last_lines=("pulling", "not found"),
        )
        execution = given().when(run.failed(failure=failure)).then(
            "applied", state="failed", emitted="completion"
        )  # fmt: skip
        assert Failure.model_validate(view(execution)["failure"]) == failure

    def test_the_newest_outputs_stay(self) -> None:
        history = given(run.succeeded(at=6, outputs={"url": "new"}))
        execution = history.when(run.succeeded(at=5, outputs={"url": "old"})).then(
            "late", "repeated", state="succeeded"
        )
        assert view(execution)["outputs"] == {"url": "new"}

    def test_resources_merge_each_by_itself(self) -> None:
        up = Resource("ecs.task", "task-1", status="up", attributes={"cpu": 1})
        down = Resource("ecs.task", "task-1", status="released")
        history = given(run.started(resources=(up, VOLUME)))
        execution = history.when(run.progressed(at=2, resources=(down,))).then(
            "applied", state="running"
        )
        task, volume = view(execution)["resources"]
        assert (task["status"], task["released"], task["attributes"]) == (
            "released",
            True,
            {"cpu": 1},
        )
        assert (volume["status"], volume["released"]) == (None, False)
        assert task["provider"] is None, "nobody has said who the provider is"

    def test_an_older_report_does_not_bring_a_resource_back(self) -> None:
        history = given(run.started(), run.progressed(at=3, resources=_task("released")))
        history.when(run.progressed(at=2, resources=_task("up"))).then(
            "stale", "older_progress", state="running"
        )

    def test_resources_of_another_provider_or_region_are_others(self) -> None:
        elsewhere = Resource("ecs.task", "task-1", region="us-east-1")
        execution = given().when(run.started(resources=(TASK, elsewhere))).then(
            "applied", state="running"
        )  # fmt: skip
        assert len(execution.resources) == 2

    @pytest.mark.parametrize("state", ["failed", "cancelled"])
    def test_what_does_not_succeed_keeps_what_it_left_behind(self, state: str) -> None:
        history = given(run.started(resources=(TASK,)))
        execution = history.when(ended(state, resources=(VOLUME,))).then(
            "applied", state=state, emitted="completion"
        )
        assert set(statuses(execution)) == {"task-1", "volume-1"}

    @pytest.mark.parametrize(("held", "told"), OTHERS)
    def test_resources_of_a_conflicting_end_are_kept(self, held: str, told: str) -> None:
        history = given(ended(held, resources=(TASK,)))
        execution = history.when(ended(told, at=6, resources=(VOLUME,))).then(
            "conflicting", f"already_{held}", state=held
        )
        assert set(statuses(execution)) == {"task-1", "volume-1"}

    def test_a_cancelled_execution_says_who_and_why(self) -> None:
        execution = given(run.started()).when(
            run.cancelled(reason="too expensive", requested_by="eva")
        ).then("applied", state="cancelled", emitted="completion")  # fmt: skip
        assert view(execution)["cancellation"] == {
            "reason": "too expensive",
            "requested_by": "eva",
            "occurred_at": minute(5),
        }


def _task(status: str) -> Resources:
    return (Resource("ecs.task", "task-1", status=status),)


class TestCancellationBeforeEverythingElse:
    def test_is_commanded_once_something_has_begun(self) -> None:
        history = given(run.cancellation_requested(at=0))
        history.when(run.started()).then("applied", state="running", emitted="cancel")
        history.when(run.progressed()).then(
            "applied", "inferred", state="running", emitted="cancel"
        )  # fmt: skip

    def test_is_commanded_once_only(self) -> None:
        given(run.cancellation_requested(at=0), run.started()).when(run.requested()).then(
            "late", "filled", state="running"
        )  # fmt: skip
        given(run.cancellation_requested(at=0), run.requested()).when(run.started()).then(
            "applied", state="running"
        )  # fmt: skip
