"""The pages of the documentation, what they show, and which of it is not run."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
_GENERATED: Final = {
    f"docs/reference/{one}.md" for one in ("api", "cli", "events", "metrics", "settings")
}
_FENCE: Final = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)

# Every block of these is run, in order, beside a running stack.
EXECUTED: Final = (
    "README.md",
    "docs/tutorial.md",
    "docs/how-to/use-the-http-api.md",
    "docs/how-to/publish-provider-events.md",
    "docs/how-to/receive-webhooks.md",
    "docs/how-to/grant-access.md",
    "docs/how-to/rebuild-and-replay.md",
    "docs/how-to/upgrade.md",
)
# What they show is no program. JSON and YAML are parsed, SQL is run and rolled back.
SHOWN: Final = ("text", "json", "yaml", "sql")
# Why a block is not run, by page and by how it begins. What it says is held against the code.
NOT_RUN: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "installs, or runs for long; tests/cli/long/test_demo.py and tests/cli/test_up.py run the same": {
        "README.md": ("make demo", "make test"),
        "CONTRIBUTING.md": ("make setup", "make check"),
        "docs/tutorial.md": ("make setup", ". .venv/bin/activate"),
        "docs/how-to/deploy.md": (".venv/bin/milepost up",),
    },
    "runs until Ctrl-C; tests/cli/test_listen.py runs it": {
        "docs/how-to/receive-webhooks.md": (
            "milepost listen --tenant hooli --forward-to http://127.0.0.1:3000/hooks",
        ),
    },
    "needs Docker or a cluster; tests/deploy/test_guide.py holds it against what is rendered": {
        "docs/how-to/deploy.md": (
            "(umask 077; python3 - > deploy/.env <<'END'",
            "docker compose -f deploy/compose.yaml up --build --wait",
            "docker build -f deploy/Dockerfile -t registry.example/platform/milepost:0.1.0 .",
            "kubectl create namespace milepost",
            "helm upgrade",
            "milepost topics acls --processor User:milepost-processor --api User:milepost-api \\",
            "kubectl --namespace milepost scale",
        ),
    },
    "is for a secured Kafka or Postgres; tests/deploy/test_security_*.py work with both": {
        "docs/how-to/secure-kafka.md": (
            "export MILEPOST_KAFKA_BOOTSTRAP_SERVERS=kafka.example:9093",
            "export MILEPOST_KAFKA_BOOTSTRAP_SERVERS=kafka.example:9094",
            "milepost topics acls \\",
            "milepost topics acls --subscriber User:billing --group billing",
        ),
        "docs/how-to/secure-postgres.md": (
            "milepost db maintain",
            "export MILEPOST_DATABASE_URL=",
        ),
        "docs/how-to/grant-access.md": ("export MILEPOST_JWT_ISSUER=https://issuer.example/",),
    },
    "needs months of history; tests/cli/test_audit.py and tests/projections/test_retention.py run it": {
        "docs/how-to/keep-history.md": (
            "milepost db maintain --archive /srv/milepost/archive --keep-months 24 --dry-run",
            'milepost audit hold acme --reason "case 12"',
            "milepost audit export --tenant acme --archive /srv/milepost/archive acme.jsonl.gz",
            "milepost audit verify acme.jsonl.gz",
        ),
    },
    "is for a service of its own; tests/watching/ has some": {
        "docs/how-to/watch.md": (
            "MILEPOST_METRICS_PORT=9101 milepost processor",
            "pip install 'milepost[server,otel]'",
            "MILEPOST_LOG_FORMAT=json MILEPOST_LOG_LEVEL=info milepost processor",
        ),
    },
    "is for trouble, of which there is none here; the SQL in it is run, doctor by its own tests": {
        "docs/runbook.md": (
            "milepost doctor --only",
            'psql "$MILEPOST_DATABASE_URL" -c "SELECT topic',
            "milepost db maintain",
            'psql "$MILEPOST_DATABASE_URL" -c "SELECT date_trunc',
            'curl -s "$MILEPOST_API_URL/healthz"',
            'curl -s "$MILEPOST_API_URL/readyz"',
        ),
    },
    "is for a broken stack; tests/doctor/test_doctor.py has one": {
        "docs/how-to/doctor.md": ("milepost doctor", "milepost doctor --only topics database -o json"),
    },
}  # fmt: skip


class Block(NamedTuple):
    """A fenced block: the page's path from the root, its language, and what stands in it."""

    page: str
    language: str
    text: str


def pages() -> list[str]:
    """Every page that people write."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    names = sorted(path.relative_to(ROOT).as_posix() for path in found)
    return [name for name in names if name not in _GENERATED]


def text(page: str) -> str:
    """What is written on a page."""
    return (ROOT / page).read_text()


def prose(page: str) -> str:
    """The same without its blocks."""
    return _FENCE.sub("", text(page))


def blocks(page: str) -> Iterator[Block]:
    """The blocks of a page, in their order."""
    for indent, language, content in _FENCE.findall(text(page)):
        lines = (line.removeprefix(indent) for line in content.splitlines())
        yield Block(page, language, "\n".join(lines) + "\n")


def not_run(block: Block) -> bool:
    """Whether it is listed as not to be run."""
    listed = [begin for pages in NOT_RUN.values() for begin in pages.get(block.page, ())]
    return block.text.startswith(tuple(listed))
