"""Publish which metrics there are: `python -m milepost.cli.metrics_reference FILE`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final, NamedTuple

from prometheus_client.metrics import MetricWrapperBase

from milepost.api import metrics as api
from milepost.processor import metrics as processor
from milepost.processor.histogram import Histogram
from milepost.webhooks import metrics as webhooks

# What each service is called, and its definitions.
SERVICES: Final[dict[str, ModuleType]] = {
    "Processor": processor,
    "HTTP API": api,
    "Webhook worker": webhooks,
}
_HEAD: Final = """# Metrics

Generated from the code by `make schemas`. Prometheus reads them at `/metrics`: of the HTTP API on its
own port, of the processor and of the webhook worker on `MILEPOST_METRICS_PORT`
([how to watch](../how-to/watch.md)). Units are seconds and records. No label names a tenant or an
execution. Each service has the `process_...` metrics of its process, too.
"""


class Metric(NamedTuple):
    """A metric as Prometheus knows it; a histogram has `_bucket`, `_sum` and `_count` after its name."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


def metrics(module: ModuleType) -> Iterator[Metric]:
    """Those that a module defines, in its order."""
    for defined in vars(module).values():
        if not isinstance(defined, MetricWrapperBase | Histogram):
            continue
        (family,) = defined.collect()
        name = f"{family.name}_total" if family.type == "counter" else family.name
        # What a metric without values yet is told by is nowhere public.
        labels = tuple(getattr(defined, "_labelnames", ()))
        yield Metric(name, family.type, labels, family.documentation)


def reference() -> str:
    """The page, in Markdown."""
    parts = [_HEAD]
    for service, module in SERVICES.items():
        parts.append(
            f"\n## {service}\n\n| metric | type | labels | what it says |\n|---|---|---|---|\n"
        )
        for one in metrics(module):
            labels = ", ".join(f"`{label}`" for label in one.labels)
            parts.append(f"| `{one.name}` | {one.type} | {labels} | {one.help} |\n")
    return "".join(parts)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference())
