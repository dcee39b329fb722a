"""Reports of executions by number: the same number always tells the same, so that steps can be repeated.

For what hypothesis should explore itself see `histories.py`.
"""

from random import Random
from typing import Any, Final

from milepost.schemas.identifiers import parameters_digest
from milepost.schemas.values import Expectations, Failure, LogLine, Resource
from projections.runs import ECS, K8S, Record, Run

OPEN: Final = ("requested", "started", "progressed", "cancellation_requested")
ENDS: Final = ("succeeded", "failed", "cancelled")
KINDS: Final = (*OPEN, *ENDS)


def report(run: Run, kind: str, number: int) -> Record:
    """The report of this kind with this number; (kind, number) is its id within its source."""
    random = Random(f"{kind} {number}")
    at = random.randrange(5)
    made: Record = getattr(run, kind)(
        at,
        id=f"{kind}-{number}",
        source=random.choice([ECS, K8S]),
        sequence=random.choice([None, 0, 1]),
        reported=at + random.randrange(7),
        **_facts(random, run, kind),
    )
    return made


def history(random: Random, run: Run, *, ends: int = 1) -> list[Record]:
    """Some reports of one execution, in any order, of at most so many different ends."""
    kinds = ["requested"] * random.randint(0, 2) + ["progressed"] * random.randint(0, 3)
    kinds += ["started"] * random.randint(0, 2) + ["cancellation_requested"] * random.randint(0, 2)
    kinds += random.choices(random.sample(ENDS, ends), k=random.randint(0, 2))
    records = [report(run, kind, random.getrandbits(32)) for kind in kinds or ["started"]]
    random.shuffle(records)
    return records


def _facts(random: Random, run: Run, kind: str) -> dict[str, Any]:
    match kind:
        case "requested":
            # Two ways to say the same parameters, and seldom others under the same key.
            parameters = run.parameters or {"size": 1 if random.random() < 0.9 else 2}
            digest = parameters_digest(parameters)
            told: list[dict[str, Any]] = [{"parameters": parameters}, {"parameters_digest": digest}]
            facts = random.choice(told)
            facts |= _some(random, labels={"team": random.choice("ab")}, requested_by="eva")
            return facts | _some(random, expectations=Expectations(heartbeat_seconds=5))
        case "started":
            return _resources(random) | _some(random, details={"a": random.randrange(3), "b": None})
        case "progressed":
            counts = {name: random.randrange(3) for name in ("step", "steps")}
            facts = _some(random, percent=random.choice([0.0, 50.5]), message="x" * counts["step"])
            lines = tuple(LogLine(message=f"line {line}") for line in range(counts["steps"]))
            facts |= _some(random, **counts, log_link="https://logs", log_lines=lines)
            return facts | _resources(random)
        case "cancellation_requested":
            return _some(random, reason=random.choice("xy"), requested_by="eva")
        case "succeeded":
            return _some(random, outputs={"url": random.choice("ab")}) | _resources(random)
        case "failed":
            failure = Failure(
                code=random.choice(["quota_exceeded", "ours"]), message="no",
                **_some(random, provider_code="E1", last_lines=("a", "b")),
            )  # fmt: skip
            return {"failure": failure} | _resources(random)
        case _:
            return _some(random, reason="x", requested_by="max") | _resources(random)


def _resources(random: Random) -> dict[str, Any]:
    resources = [
        Resource(
            "pod", random.choice("ab"), region=random.choice([None, "eu"]),
            provider=random.choice([None, "k8s"]),
            **_some(
                random, status=random.choice(["up", "released"]),
                attributes={"cpu": random.randrange(3)},
            ),
        )
        for _ in range(random.randrange(3))
    ]  # fmt: skip
    return _some(random, resources=tuple(resources))


def _some(random: Random, **facts: Any) -> dict[str, Any]:
    """Some of these facts."""
    return {name: value for name, value in facts.items() if random.random() < 0.6}
