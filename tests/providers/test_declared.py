"""Resources that a command writes to a file."""

from pathlib import Path

from milepost.client import Resource
from milepost.providers.declared import Declared
from milepost.schemas.values import MAX_RESOURCES


def test_lines_are_read_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "resources.jsonl"
    declared = Declared(path)
    assert declared.fresh() == ([], [])
    with path.open("a") as file:
        file.write('{"kind": "virtualenv", "id": "/srv/env"}\n{"kind": "f')
        file.flush()
        assert declared.fresh() == ([Resource("virtualenv", "/srv/env")], [])
        file.write('ile", "id": "a"}\n\n{"kind": "file", "id": "b"}')
        file.flush()
        assert declared.fresh() == ([Resource("file", "a")], [])
    assert declared.fresh(last=True) == ([Resource("file", "b")], [])
    assert [one.id for one in declared.resources] == ["/srv/env", "a", "b"]


def test_the_last_word_on_a_resource_counts(tmp_path: Path) -> None:
    path = tmp_path / "resources.jsonl"
    path.write_text(
        '{"kind": "file", "id": "a"}\n{"kind": "file", "id": "a", "status": "released"}\n'
    )
    declared = Declared(path)
    declared.fresh(last=True)
    assert declared.resources == [Resource("file", "a", status="released")]


def test_what_is_wrong_is_said_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "resources.jsonl"
    path.write_bytes(
        b'{"kind": "file", "id": "a"}\nnot json\n{"kind": "Bad Kind", "id": "x"}\n\xff\n'
    )
    resources, problems = Declared(path).fresh(last=True)
    assert resources == [Resource("file", "a")]
    assert [problem.split(" is ")[0] for problem in problems] == [
        f"MILEPOST_RESOURCES line {number}" for number in (2, 3, 4)
    ]


def test_there_is_an_end_to_it(tmp_path: Path) -> None:
    path = tmp_path / "resources.jsonl"
    path.write_text("".join(f'{{"kind": "file", "id": "{n}"}}\n' for n in range(MAX_RESOURCES + 5)))
    declared = Declared(path)
    _, problems = declared.fresh(last=True)
    assert len(declared.resources) == MAX_RESOURCES - 1
    assert len(problems) == 6
