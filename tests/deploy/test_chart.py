"""The Helm chart: rendered, held against the schemas of Kubernetes, and against what Milepost is."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding
from prometheus_client import CollectorRegistry

from deploy.containers import CHART, COMMANDS, DEPLOY, ROOT, of_kind, of_pods, rendered, tool
from milepost import monitoring
from milepost.cli import maintenance
from milepost.cli.app import app
from milepost.schemas.topics import DEFAULT_PARTITIONS
from milepost.settings import Settings
from webhooks.certificates import Authority

_MANAGED: Final = ("--values", str(CHART / "values-managed.yaml"))
_ALL: Final = {
    "default": (),
    "managed": _MANAGED,
    "mutual TLS": (*_MANAGED, "--set", "kafkaTls.clientCertificate=true"),
    "no webhooks": ("--set", "webhooks.enabled=false,topics.enabled=false"),
}
# Who may know which secret; the password of a key and the like come with those of Kafka.
_SECRETS: Final = {
    "migrate": {"database_url"},
    "topics": {"kafka"},
    "processor": {"database_url", "kafka"},
    "api": {"database_url", "kafka", "webhook_keys"},
    "webhooks": {"database_url", "kafka", "webhook_keys"},
}
# What a pod listens on and where its files are is the chart's own; the rest is for clients.
_OF_THE_CHART: Final = {
    *("api_host", "api_port", "metrics_host", "metrics_port"),
    *("kafka_ca_file", "kafka_cert_file", "kafka_key_file"),
}
_OF_CLIENTS: Final = {"api_url", "token"}
Documents = tuple[dict[str, Any], ...]


@pytest.fixture(params=_ALL.values(), ids=list(_ALL))
def chart(request: pytest.FixtureRequest) -> Documents:
    return rendered(*request.param)


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `/etc/milepost` holds in a container: an authority, and a certificate of its."""
    folder = tmp_path_factory.mktemp("mounted")
    kafka = folder / "kafka"
    kafka.mkdir()
    authority = Authority(kafka)
    authority.serving("localhost")
    (kafka / "ca.crt").write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    for name in ("tls.crt", "tls.key"):
        shutil.copy(kafka / "localhost.pem", kafka / name)
    return folder


def pods(documents: Documents) -> Iterator[tuple[str, dict[str, Any]]]:
    for component, workload in of_kind(documents, "Deployment", "Job").items():
        yield component, workload["spec"]["template"]["spec"]


@pytest.mark.parametrize("options", _ALL.values(), ids=list(_ALL))
def test_helm_finds_nothing_wrong(options: tuple[str, ...]) -> None:
    tool("helm", "lint", "--strict", CHART, *options)


# The oldest that Chart.yaml allows, and the newest there is a schema of.
@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_kubernetes_has_every_field(version: str, tmp_path: Path) -> None:
    documents = [one for options in _ALL.values() for one in rendered(*options)]
    path = tmp_path / "rendered.yaml"
    path.write_text("\n---\n".join(json.dumps(one) for one in documents))
    told = tool("kubernetes-validate", "--strict", "-k", version, path)
    custom = sum("." in one["apiVersion"].split("/")[0].replace(".k8s.io", "") for one in documents)
    assert told.count(" passed ") == len(documents) - custom


def test_every_container_starts_with_what_it_is_given(
    chart: Documents, mounted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for container in of_pods(chart):
        assert container.command() is COMMANDS[container.name]
        with monkeypatch.context() as patched:
            for name, value in container.environment.items():
                patched.setenv(name, value.replace("/etc/milepost", str(mounted)))
            started = Settings()
        assert container.settings() <= set(Settings.model_fields)
        if container.name != "migrate":
            assert started.kafka_bootstrap_servers != Settings().kafka_bootstrap_servers


def test_values_can_say_every_setting_of_a_service() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())["$defs"]
    parts = (
        set(schema["settings"]["properties"]),
        set(schema["secrets"]["properties"]),
        _OF_THE_CHART,
        _OF_CLIENTS,
    )
    assert set.union(*parts) == set(Settings.model_fields)
    assert sum(map(len, parts)) == len(Settings.model_fields), "one place for each"
    assert set(schema["secrets"]["properties"]) >= {
        name
        for name, field in Settings.model_fields.items()
        if "SecretStr" in repr(field.annotation) and name not in _OF_CLIENTS
    }


def test_numbers_lists_and_maps_arrive_as_they_were_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "batch_records": 20_000,
        "api_requests_per_second": 1_000_000,
        "heartbeat_seconds": 0.5,
        "provider_heartbeat_seconds": {"terraform": 900},
        "api_trusted_proxies": ["10.1.0.0/16", "10.2.0.0/16"],
    }
    documents = rendered("--set-json", f"processor.settings={json.dumps(given)}")
    [container] = [one for one in of_pods(documents) if one.name == "processor"]
    for name, value in container.environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings().model_dump(mode="json")
    assert {name: settings[name] for name in given} == given


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--set", "settings.kafka_bootstrp_servers=kafka:9092"), "kafka_bootstrp_servers"),
        (("--set", "settings.database_url=postgresql://a:b@c/d"), "database_url"),
        (("--set", "secrets.database_url=postgresql://a:b@c/d"), "secrets/database_url"),
        (("--set", "environment.MILEPOST_TOKEN=secret"), "MILEPOST_TOKEN"),
        (("--set", "processor.replicas=-1"), "replicas"),
        (
            (*_MANAGED, "--set", "settings.kafka_sasl_mechanism=OAUTHBEARER"),
            "KEDA cannot log in to Kafka with settings.kafka_sasl_mechanism",
        ),
    ],
)
def test_a_mistake_is_named(options: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        rendered(*options)


def test_secrets_are_referred_to_and_each_service_has_its_own(chart: Documents) -> None:
    assert "Secret" not in {one["kind"] for one in chart}
    for component, pod in pods(chart):
        [container] = pod["containers"]
        secret = [one for one in container["env"] if "valueFrom" in one]
        names = {one["name"].removeprefix("MILEPOST_").lower() for one in secret}
        assert {"kafka" if "kafka" in one else one for one in names} <= _SECRETS[component]
        assert all(set(one["valueFrom"]) == {"secretKeyRef"} for one in secret)
        # Nothing else that is one stands there in clear.
        clear = {one["name"].removeprefix("MILEPOST_").lower() for one in container["env"]} - names
        assert not {name for name in clear if "password" in name or "url" in name}


def test_a_pod_may_do_nothing_that_it_need_not(chart: Documents) -> None:
    for _, pod in pods(chart):
        assert pod["automountServiceAccountToken"] is False
        # A Service of the release sets MILEPOST_API_PORT to tcp://... otherwise.
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        [container] = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"requests", "limits"} == set(container["resources"])


def test_probes_ask_what_is_answered(chart: Documents) -> None:
    openapi = json.loads((ROOT / "schemas/published/openapi.json").read_text())
    workers = monitoring._app(CollectorRegistry(), monitoring.Checks())
    answered = {"http": set(openapi["paths"]), "metrics": {r.path for r in workers.routes}}  # type: ignore[attr-defined]
    for component, deployment in of_kind(chart, "Deployment").items():
        spec = deployment["spec"]["template"]["spec"]
        [container] = spec["containers"]
        [port] = container["ports"]
        assert port["name"] == ("http" if component == "api" else "metrics")
        variable = "MILEPOST_API_PORT" if component == "api" else "MILEPOST_METRICS_PORT"
        assert {"name": variable, "value": str(port["containerPort"])} in container["env"]
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = container[kind]["httpGet"]
            assert asked["port"] == port["name"]
            assert asked["path"] in answered[port["name"]]
        # The next one works before one goes, and each has time to end.
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {
            "maxSurge": 1,
            "maxUnavailable": 0,
        }
        assert spec["terminationGracePeriodSeconds"] >= 15


def test_what_speaks_of_pods_finds_them(chart: Documents) -> None:
    deployments = of_kind(chart, "Deployment")
    assert of_kind(chart, "PodDisruptionBudget").keys() == deployments.keys()
    policies = of_kind(chart, "NetworkPolicy")
    assert policies.keys() >= of_kind(chart, "Deployment", "Job").keys()
    for component, deployment in deployments.items():
        labels = deployment["spec"]["template"]["metadata"]["labels"].items()
        budget = of_kind(chart, "PodDisruptionBudget")[component]["spec"]["selector"]
        for selector in (
            deployment["spec"]["selector"]["matchLabels"],
            budget["matchLabels"],
            policies[component]["spec"]["podSelector"]["matchLabels"],
        ):
            assert selector.items() <= labels
            assert selector["app.kubernetes.io/component"] == component
        [container] = deployment["spec"]["template"]["spec"]["containers"]
        [rule] = policies[component]["spec"]["ingress"]
        assert [one["port"] for one in rule["ports"]] == [container["ports"][0]["containerPort"]]
    assert of_kind(chart, "Service")["api"]["spec"]["selector"].items() <= (
        deployments["api"]["spec"]["template"]["metadata"]["labels"].items()
    )


def test_the_schema_is_there_before_what_needs_it(chart: Documents) -> None:
    for job in of_kind(chart, "Job").values():
        assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
        # Nothing that the release makes later.
        assert "serviceAccountName" not in job["spec"]["template"]["spec"]


def test_processors_are_scaled_by_the_lag_of_their_group() -> None:
    documents = rendered(*_MANAGED)
    [scaled] = of_kind(documents, "ScaledObject").values()
    deployment = of_kind(documents, "Deployment")["processor"]
    assert scaled["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]
    [trigger] = scaled["spec"]["triggers"]
    assert trigger["metadata"]["topic"] == Settings().topics.events
    assert trigger["metadata"]["consumerGroup"] == Settings().consumer_group
    assert scaled["spec"]["maxReplicaCount"] <= DEFAULT_PARTITIONS
    [login] = of_kind(documents, "TriggerAuthentication").values()
    assert trigger["authenticationRef"]["name"] == login["metadata"]["name"]
    parameters = {one["parameter"] for one in login["spec"]["secretTargetRef"]}
    assert parameters == {"username", "password", "ca"}


def test_alert_rules_are_those_beside_the_chart() -> None:
    [rules] = of_kind(rendered(*_MANAGED), "PrometheusRule").values()
    assert rules["spec"] == yaml.safe_load((DEPLOY / "prometheus/alerts.yaml").read_text())
    assert rules["spec"]["groups"]


def test_the_owner_of_the_tables_maintains_them(chart: Documents) -> None:
    [job] = of_kind(chart, "CronJob").values()
    [container] = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    command, *_ = app.parse_args(container["args"], exit_on_error=False, print_error=False)
    assert command is maintenance.maintain
    [migrate] = of_kind(chart, "Job")["migrate"]["spec"]["template"]["spec"]["containers"]
    assert container["env"] == migrate["env"]


def test_topics_are_made_with_the_contracts_partitions() -> None:
    [container] = [one for one in of_pods(rendered()) if one.name == "topics"]
    assert f"--partitions={DEFAULT_PARTITIONS}" in container.arguments
