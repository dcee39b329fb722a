"""What is watched exists: the dashboard, the alerts, the runbook and the reference name no other metric."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Histogram as Single

from milepost.cli.metrics_reference import SERVICES, metrics, reference
from milepost.processor.histogram import Histogram

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs/reference/metrics.md"
DASHBOARD = json.loads((ROOT / "deploy/grafana/milepost.json").read_text())
[GROUP] = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text())["groups"]
RUNBOOK = (ROOT / "docs/runbook.md").read_text()

KNOWN = {one.name: one for module in SERVICES.values() for one in metrics(module)}
# Every scraped series has these; `le` has every bucket.
EVERYWHERE = {"job", "instance", "le"}
_name = re.compile(r"\b(?:milepost|process)_[a-z_]+")
_selector = re.compile(r"((?:milepost|process)_[a-z_]+)\{([^}]*)\}")
_grouping = re.compile(r"\bby \(([a-z_, ]*)\)")
_legend = re.compile(r"\{\{\s*(?:\$labels\.)?([a-z_]+)\s*\}\}")


def base(name: str) -> str:
    """The metric that a series is of."""
    stem = re.sub(r"_(bucket|sum|count)$", "", name)
    return stem if stem in KNOWN and KNOWN[stem].type == "histogram" else name


def labels(expression: str) -> set[str]:
    """The labels that a series of the expression can have."""
    found = {base(name) for name in _name.findall(expression)}
    ours = [set(KNOWN[name].labels) for name in found if name in KNOWN]
    return EVERYWHERE.union(*ours)


def expressions() -> Iterator[tuple[str, str, str]]:
    """Where it stands, the expression, and the text that shows its labels."""
    for rule in GROUP["rules"]:
        yield rule["alert"], rule["expr"], rule["annotations"]["summary"]
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"], target["legendFormat"]


def test_every_metric_that_is_used_exists_with_the_labels_it_is_used_by() -> None:
    used = set()
    for where, expression, text in expressions():
        names = _name.findall(expression)
        assert names, where
        used |= {base(name) for name in names if name.startswith("milepost_")}
        by = {part.strip() for group in _grouping.findall(expression) for part in group.split(",")}
        chosen = {
            label
            for _, selector in _selector.findall(expression)
            for label in re.findall(r"([a-z_]+)[!=]", selector)
        }
        shown = set(_legend.findall(text)) - {"value"}
        assert by | chosen | shown <= labels(expression), where
    assert used <= KNOWN.keys(), f"not defined: {used - KNOWN.keys()}"
    assert KNOWN.keys() <= used, f"on no dashboard: {KNOWN.keys() - used}"


def test_every_alert_has_its_entry_in_the_runbook_and_the_other_way_round() -> None:
    alerts = [rule["alert"] for rule in GROUP["rules"]]
    assert re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE) == alerts
    for rule in GROUP["rules"]:
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
    sections = RUNBOOK.split("\n## ")[1:]
    assert all("How to look:" in text and "What helps:" in text for text in sections)


def test_no_label_grows_with_tenants_or_executions() -> None:
    bounded = {
        "partition",
        "disposition",
        "reason",
        "cause",
        "route",
        "method",
        "status",
        "outcome",
    }
    assert {label for one in KNOWN.values() for label in one.labels} == bounded
    assert all(name.startswith("milepost_") and one.help for name, one in KNOWN.items())


def test_the_reference_is_what_the_code_defines() -> None:
    assert REFERENCE.read_text() == reference(), "run: make schemas"


@pytest.mark.parametrize("values", [[], [0.1], [3, 0.1, 0.2, 1, 1, 7]])
def test_many_observations_at_once_are_as_many_single_ones(values: list[float]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    many = Histogram("test_seconds", "As it is.", (0.1, 1.0, 5.0), ours)
    single = Single("test_seconds", "As it is.", buckets=(0.1, 1.0, 5.0), registry=theirs)
    many.observe(values)
    many.observe(values)
    for value in values * 2:
        single.observe(value)
    assert samples(ours) == samples(theirs)


def samples(registry: CollectorRegistry) -> Mapping[str, Any]:
    """What is scraped, without when it was made."""
    lines = generate_latest(registry).decode().splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
    return {name: float(value) for name, value in pairs if "_created" not in name}
