"""Containers as deploy/ describes them, whoever runs them."""

import re
import subprocess
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from milepost.cli import services
from milepost.cli.app import app
from milepost.settings import Settings

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
CHART: Final = DEPLOY / "helm/milepost"
_TOOLS: Final = ROOT / ".tools/bin"
_PREFIX: Final = str(Settings.model_config["env_prefix"])
# What a container of this name runs.
COMMANDS: Final[Mapping[str, Callable[..., None]]] = {
    "migrate": services.migrate,
    "topics": services.apply_topics,
    "processor": services.processor,
    "api": services.api,
    "webhooks": services.webhooks,
}
# What a secret holds that is only referred to.
SECRETS: Final = {
    "MILEPOST_DATABASE_URL": "postgresql://somebody:secret@postgres:5432/milepost",
    "MILEPOST_WEBHOOK_KEYS": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
}


class Container(NamedTuple):
    """One container: its command line and the environment that it is given."""

    name: str
    arguments: list[str]
    environment: Mapping[str, str]

    def command(self) -> Callable[..., Any]:
        """What `milepost` runs for its arguments. Raises cyclopts.CycloptsError where it has no such."""
        command, _, _ = app.parse_args(self.arguments, exit_on_error=False, print_error=False)
        return command

    def settings(self) -> set[str]:
        """The settings that its environment speaks of."""
        return {name.removeprefix(_PREFIX).lower() for name in self.environment if _PREFIX in name}


def tool(name: str, *arguments: str | Path, given: str | None = None) -> str:
    """What a tool of `.tools` prints. Raises AssertionError with its complaints where it fails."""
    program = _TOOLS / name
    assert program.exists(), "the tools are not installed: run `make deploy-check`"
    ended = subprocess.run(
        [program, *arguments],
        check=False,
        cwd=ROOT,
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@cache
def rendered(*options: str) -> tuple[dict[str, Any], ...]:
    """The documents that the chart is, in release `milepost`. Raises as `tool` does."""
    documents = yaml.safe_load_all(tool("helm", "template", "milepost", CHART, *options))
    return tuple(document for document in documents if document)


def of_kind(documents: tuple[dict[str, Any], ...], *kinds: str) -> dict[str, Any]:
    """The documents of these kinds, by component."""
    return {
        one["metadata"]["labels"]["app.kubernetes.io/component"]: one
        for one in documents
        if one["kind"] in kinds
    }


def of_pods(documents: tuple[dict[str, Any], ...]) -> list[Container]:
    """The container of each of the chart's pods; secrets stand in it as the name of the setting."""
    containers = []
    for workload in of_kind(documents, "Deployment", "Job").values():
        [container] = workload["spec"]["template"]["spec"]["containers"]
        environment = {
            one["name"]: one.get("value") or SECRETS.get(one["name"], one["name"])
            for one in container["env"]
        }
        containers.append(Container(container["name"], container["args"], environment))
    return containers


def names_in(folder: Path) -> set[str]:
    """Every MILEPOST_... that the files of a folder speak of, as the field of the settings."""
    text = "".join(path.read_text() for path in sorted(folder.rglob("*")) if path.is_file())
    return {name.lower() for name in re.findall(rf"\b{_PREFIX}([A-Z]\w*)", text)}
