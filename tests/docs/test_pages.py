"""What the pages say is there: links, commands, settings, targets, files, tests."""

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml
from cyclopts import App

from docs.pages import EXECUTED, NOT_RUN, ROOT, SHOWN, Block, blocks, not_run, pages, prose, text
from milepost.cli.app import app
from milepost.settings import Settings

PAGES: Final = pages()
BLOCKS: Final = [block for page in PAGES for block in blocks(page)]
TARGETS: Final = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
# What a run writes, or a reader: not every checkout has it.
WRITTEN: Final = {"docs/benchmarks.md", "docs/faults.md", "deploy/.env"}
GUARANTEES: Final = "docs/explanation/guarantees.md"
_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
_INLINE: Final = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)")
_SUBSTITUTED: Final = re.compile(r"\$\(([^()]*)\)")
# What stands between two commands, or before one that another program starts.
_JOINT: Final = re.compile(r" && | \| | -- (?=milepost)| exec api ")
_VARIABLE: Final = re.compile(r"\bMILEPOST_[A-Z0-9_]+\b")
# Not settings: what people give to commands, tests and the shell.
_OTHERS: Final = re.compile(r"MILEPOST_(CACHE|LISTEN_SECRET|TEST_[A-Z_]+)")
_FILE: Final = re.compile(r"(?:docs|tests|deploy|schemas|services|projections)/[\w./*-]+")


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as they are made of them where Markdown is shown."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found[slug] = found.get(slug, 0) + 1
    return {name for slug, times in found.items() for name in _numbered(slug, times)}


def _numbered(slug: str, times: int) -> Iterator[str]:
    yield slug
    for number in range(1, times):
        yield f"{slug}-{number}"


def calls(program: str, script: str) -> Iterator[list[str]]:
    """The arguments of each call of a program in shell code."""
    lines = re.sub(r"\\\n *", "", script).splitlines()
    for line in lines:
        lines += _SUBSTITUTED.findall(line)
        for command in _JOINT.split(_SUBSTITUTED.sub("x", line)):
            words = re.sub(r"^\s*(\w+=\S* )*", "", command)
            if re.match(rf"(\S*/)?{program}( |$)", words):
                yield shlex.split(re.sub(r" >.*$| &$", "", words), comments=True)[1:]


def is_command(words: list[str]) -> bool:
    """Whether `milepost` followed by these names a command, or a group of them."""
    parent: App = app
    for word in words:
        if word.startswith("-") or not any(not name.startswith("-") for name in parent):
            return True
        if word not in parent:
            return parent is not app and parent.default_command is not None
        parent = parent[word]
    return True


@pytest.mark.parametrize(
    "page",
    [
        *PAGES,
        *(f"docs/reference/{one}.md" for one in ("api", "cli", "events", "metrics", "settings")),
    ],
)
def test_links_lead_somewhere(page: str) -> None:
    for link in _LINK.findall(prose(page)):
        target, _, anchor = link.partition("#")
        if re.match(r"https?:", target):
            continue
        path = (ROOT / page).parent / target if target else ROOT / page
        name = path.resolve().relative_to(ROOT).as_posix()
        assert path.exists() or name in WRITTEN, f"{page}: {link}"
        if anchor:
            assert anchor in anchors(name), f"{page}: {link}"


@pytest.mark.parametrize("page", PAGES)
def test_names_in_the_prose_are_those_of_the_code(page: str) -> None:
    for found in _INLINE.findall(prose(page)):
        words = found.split()
        if words[0] == "milepost":
            assert is_command(words[1:]), f"{page}: {found}"
        if words[0] == "make" and len(words) > 1:
            assert words[1] in TARGETS, f"{page}: {found}"
        if _FILE.fullmatch(found) and found not in WRITTEN:
            assert any(ROOT.glob(found.rstrip("/"))), f"{page}: {found}"
    for variable in _VARIABLE.findall(text(page)):
        name = variable.removeprefix("MILEPOST_").lower()
        assert name in Settings.model_fields or _OTHERS.fullmatch(variable), f"{page}: {variable}"


def test_every_block_is_run_or_listed_with_the_reason() -> None:
    unknown = [
        block
        for block in BLOCKS
        if block.language not in SHOWN and block.page not in EXECUTED and not not_run(block)
    ]
    assert unknown == []
    assert {block.language for block in BLOCKS} <= {*SHOWN, "sh", "python"}
    for reason, listed in NOT_RUN.items():
        for named in re.findall(r"tests/[\w/*.]+", reason):
            assert any(ROOT.glob(named)), reason
        for page, begins in listed.items():
            for begin in begins:
                assert any(one.text.startswith(begin) for one in blocks(page)), f"{page}: {begin}"


@pytest.mark.parametrize(
    "block",
    [one for one in BLOCKS if one.language == "sh" and (one.page not in EXECUTED or not_run(one))],
    ids=lambda one: f"{one.page}: {one.text[:40]}",
)
def test_commands_that_are_not_run_are_understood(block: Block) -> None:
    for arguments in calls("milepost", block.text):
        app.parse_args(arguments, exit_on_error=False, print_error=False)
    for arguments in calls("make", block.text):
        assert set(arguments[:1]) <= TARGETS


def test_what_is_shown_is_well_formed() -> None:
    read: dict[str, Any] = {"json": json.loads, "yaml": yaml.safe_load}
    for block in BLOCKS:
        if block.language in read:
            read[block.language](block.text)


def test_every_guarantee_names_tests_that_there_are() -> None:
    *sections, last = text(GUARANTEES).split("\n## ")[1:]
    assert last.startswith("Not promised")
    assert len(sections) > 8
    for section in sections:
        title = section.partition("\n")[0]
        files = [
            ROOT / "docs/explanation" / one for one in _LINK.findall(section) if "tests/" in one
        ]
        assert files, title
        code = "".join(one.read_text() for one in files if one.suffix == ".py")
        for name in re.findall(r"`(test_\w+)`", section):
            assert f"def {name}(" in code, f"{title}: {name}"


def test_no_page_names_a_machine() -> None:
    for page in PAGES:
        assert not re.search(r"/(work|root|home)/", text(page)), page
