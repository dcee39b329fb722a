"""docs/how-to/deploy.md: its commands are what Helm, Compose and Milepost take.

What talks to a cluster or a Docker daemon is held against what is rendered, and not run.
"""

import re
import shlex
from collections.abc import Iterator
from typing import Any, Final

import yaml

from deploy.containers import CHART, DEPLOY, ROOT, Container, of_kind, rendered, tool

_GUIDE: Final = (ROOT / "docs/how-to/deploy.md").read_text()


def commands(program: str) -> Iterator[list[str]]:
    """The arguments of every call of `program` in the guide, also of one within a container."""
    blocks = "\n".join(re.findall(r"^```sh\n(.*?)^```$", _GUIDE, re.DOTALL | re.MULTILINE))
    inline = "\n".join(re.findall(r"`([a-z]+ [^`]+)`", _GUIDE))
    text = re.sub(r"\\?\n +", " ", f"{blocks}\n{inline}")
    for line in text.splitlines():
        for call in re.split(r" -- | exec api ", line):
            if re.match(rf"(\S*/)?{program} ", call):
                yield shlex.split(call)[1:]


def test_milepost_has_the_commands() -> None:
    found = list(commands("milepost"))
    for arguments in found:
        Container("guide", arguments, {}).command()
    assert {"up", "db", "doctor", "topics", "projections", "api-keys"} <= {one[0] for one in found}


def test_helm_renders_what_is_installed() -> None:
    found = list(commands("helm"))
    assert len(found) == 2
    for verb, *arguments in found:
        assert verb == "upgrade"
        options = [one for one in arguments if one not in ("--install", "--wait")]
        if "--reset-then-reuse-values" in options:
            options.remove("--reset-then-reuse-values")
        tool("helm", "template", *options)


def test_kubectl_speaks_of_what_is_there() -> None:
    managed = rendered("--values", str(CHART / "values-managed.yaml"))
    names = {(one["kind"].lower(), one["metadata"]["name"]) for one in managed}
    found = list(commands("kubectl"))
    assert all("--namespace" in one for one in found if "create" not in one)
    spoken: set[tuple[str, str]] = set()
    for arguments in found:
        line = " ".join(arguments)
        spoken |= {("deployment", one) for one in re.findall(r"deploy/(\S+)", line)}
        spoken |= {
            (kind, name)
            for kind, several in re.findall(r"(deployment|scaledobject) ((?:milepost\S+ ?)+)", line)
            for name in several.split()
        }
    assert spoken <= names
    assert {name for kind, name in spoken if kind == "deployment"} == {
        one["metadata"]["name"] for one in of_kind(managed, "Deployment").values()
    }


def test_the_secrets_that_are_made_are_those_that_are_referred_to() -> None:
    made = {
        (arguments[arguments.index("generic") + 1], key)
        for arguments in commands("kubectl")
        if "generic" in arguments
        for key in re.findall(r"--from-literal=(\w+)=", " ".join(arguments))
    }
    referred = {
        (
            variable["valueFrom"]["secretKeyRef"]["name"],
            variable["valueFrom"]["secretKeyRef"]["key"],
        )
        for workload in of_kind(rendered(), "Deployment", "Job").values()
        for variable in workload["spec"]["template"]["spec"]["containers"][0]["env"]
        if "valueFrom" in variable
    }
    assert made == referred


def test_compose_is_given_the_variables_that_it_asks_for() -> None:
    compose: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    asked = set(re.findall(r"\$\{(\w+)", yaml.safe_dump(compose)))
    assert set(re.findall(r'print\(f"(\w+)=', _GUIDE)) == asked
    assert ".env" in (ROOT / ".gitignore").read_text().split()
