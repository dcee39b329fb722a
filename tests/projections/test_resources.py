"""Which rows of `resources` a change of an execution calls for, and no others."""

from milepost.projections.batch import decode_all, fold
from milepost.projections.resource import ResourceRow
from milepost.schemas.values import Resource
from projections.runs import TOPICS, Record, Run, placed

run = Run()
TASK = Resource("ecs.task", "task-1")
POD = Resource("pod", "pod-1", provider="k8s")


def rows(held: list[Record], *news: Record) -> list[ResourceRow]:
    """What folding `news` writes, with what `held` made in the tables already."""
    before = {
        (execution.execution_id, execution.tenant): execution
        for _, execution in fold(decode_all(placed(held)), {}, TOPICS).executions
    }
    return fold(decode_all(placed(news, offset=len(held))), before, TOPICS).resources


def told(found: list[ResourceRow]) -> list[tuple[str, str | None, str | None]]:
    return sorted((row.id, row.effective_provider, row.left_by) for row in found)


def test_the_provider_is_the_executions_unless_the_report_names_one() -> None:
    found = rows([], run.requested(), run.started(resources=(TASK, POD)))
    assert told(found) == [("pod-1", "k8s", None), ("task-1", "ecs", None)]
    assert {row.provider for row in found} == {"", "k8s"}


def test_a_late_request_tells_all_rows_the_provider() -> None:
    assert told(rows([], run.started(resources=(TASK,)))) == [("task-1", None, None)]
    found = rows([run.started(resources=(TASK,))], run.requested())
    assert told(found) == [("task-1", "ecs", None)]


def test_an_end_without_success_is_told_of_all_rows_once() -> None:
    held = [run.requested(), run.started(resources=(TASK, POD))]
    for end in (run.failed(), run.cancelled()):
        assert {row.left_by for row in rows(held, end)} == {
            "failed" if end.value == run.failed().value else "cancelled"
        }
        assert len(rows(held, end)) == 2
    assert rows([*held, run.failed()], run.progressed(at=6, percent=90)) == []


def test_what_changes_nothing_about_them_writes_none() -> None:
    held = [run.requested(), run.started(resources=(TASK, POD))]
    assert rows(held, run.progressed(percent=1), run.succeeded()) == []
    again = Resource("ecs.task", "task-1", status="up")
    assert told(rows(held, run.progressed(resources=(again,)))) == [("task-1", "ecs", None)]
