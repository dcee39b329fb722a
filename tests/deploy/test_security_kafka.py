"""A broker with TLS, passwords, certificates and rights: who has them works, who has not is told why."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from cryptography.fernet import Fernet

from cli.conftest import milepost
from conftest import StartService
from milepost.client import (
    BrokerRefused,
    MilepostClient,
    MilepostError,
    Publisher,
    Subscriber,
    broker,
)
from milepost.processor import topics
from milepost.rights import Principals, Right, commands, rights
from milepost.settings import Settings
from secured import PASSWORD, Secured, secured_kafka
from stack import environment
from webhooks.certificates import Authority

PARTITIONS = 4
RUNS = 12


@pytest.fixture(scope="module")
async def kafka_secured(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Secured]:
    async with secured_kafka(tmp_path_factory.mktemp("secured")) as kafka:
        yield kafka


@pytest.fixture(scope="module")
def settings(kafka_secured: Secured, database: str) -> Settings:
    """Those of nobody: a test says as whom."""
    name = f"test-{uuid4().hex[:12]}"
    return Settings(
        kafka_bootstrap_servers=kafka_secured.open,
        topic_prefix=f"{name}.",
        consumer_group=name,
        session_timeout_seconds=2,
        database_url=database,
        api_port=0,
        api_access="open",
        webhook_keys=Fernet.generate_key().decode(),
    )


def like(settings: Settings, changes: dict[str, Any]) -> Settings:
    return Settings(**{**dict(settings), **changes})


@pytest.fixture(scope="module")
async def made(settings: Settings, kafka_secured: Secured) -> Settings:
    """The topics exist, made by an operator with an operator's rights."""
    kafka_secured.add_users(["operator"])
    kafka_secured.grant(rights(settings, Principals(operator=["User:operator"])))
    operator = like(settings, kafka_secured.as_user("operator"))
    assert {one.outcome for one in await topics.apply(operator, partitions=PARTITIONS)} == {
        "created"
    }
    await topics.verify(operator)
    return settings


async def test_everybody_works_with_a_password_or_a_certificate_and_no_more_rights_than_needed(
    made: Settings, kafka_secured: Secured, service: StartService
) -> None:
    users = ["processor", "api", "webhooks", "publisher", "subscriber"]
    kafka_secured.add_users(users)
    with_certificate = ("processor", "publisher", "subscriber")
    principals = {
        name: [f"User:{name}", *([f"User:CN={name}"] if name in with_certificate else [])]
        for name in users
    }
    kafka_secured.grant(rights(made, Principals(**principals, groups=["billing", "audit"])))
    as_user = {name: like(made, kafka_secured.as_user(name)) for name in users}
    certified = {name: like(made, kafka_secured.with_certificate(name)) for name in users}

    # Two, so that each has partitions.
    workers = await asyncio.gather(
        service("processor", settings=as_user["processor"]),
        service("processor", settings=certified["processor"]),
    )
    api = await service("api", settings=as_user["api"])
    await service("webhooks", settings=as_user["webhooks"])
    async with (
        Subscriber(as_user["subscriber"], group="billing", start="earliest") as billing,
        Subscriber(certified["subscriber"], group="audit", start="earliest") as audit,
        Publisher(as_user["publisher"]) as one,
        Publisher(certified["publisher"]) as other,
    ):
        ran = set()
        for number in range(RUNS):
            publisher = (one, other)[number % 2]
            run = await publisher.request("acme", "provision", provider="ecs", key=f"k-{number}")
            await run.succeeded()
            ran.add(run.execution_id)
        for completions in (billing, audit):
            heard = set()
            async with asyncio.timeout(20):
                async for completion in completions:
                    heard.add(completion.execution_id)
                    if heard == ran:
                        break
    async with MilepostClient(api.ready["api"]) as client:
        accepted = await client.request("acme", "provision", provider="ecs", key="over-http")
        assert (await client.wait(next(iter(ran)), timeout=20)).state == "succeeded"
        assert accepted.execution_id not in ran
    for worker in workers:
        assert await worker.stop() == 0, worker.tail()


@pytest.mark.parametrize(
    ("principals", "lost", "error"),
    [
        ({"publisher": ["User:lacking"]}, ("WRITE", "TOPIC"), "milepost topics acls"),
        ({"subscriber": ["User:lacking"]}, ("READ", "TOPIC"), "milepost topics acls"),
        (
            {"subscriber": ["User:lacking"]},
            ("READ", "GROUP"),
            "GroupAuthorizationFailed.*topics acls",
        ),
        ({"subscriber": ["User:lacking"]}, ("CREATE", "TOPIC"), "TopicAuthorizationFailed"),
        ({"processor": ["User:lacking"]}, ("DESCRIBE_CONFIGS", "TOPIC"), "AuthorizationFailed"),
        ({"processor": ["User:lacking"]}, ("WRITE", "TRANSACTIONAL_ID"), "Transactional"),
    ],
)
async def test_without_one_right_it_fails_and_says_so(
    made: Settings, kafka_secured: Secured, principals: Any, lost: tuple[str, str], error: str
) -> None:
    name, group = f"lacking-{uuid4().hex[:8]}", uuid4().hex
    kafka_secured.add_users([name])
    principals = {role: [f"User:{name}"] for role in principals}
    needed = rights(made, Principals(**principals, groups=[group]))
    taken = [one for one in needed if (one.operation, one.resource) == lost]
    assert taken
    lacking = like(made, kafka_secured.as_user(name))
    kafka_secured.grant(one for one in needed if one not in taken)
    with pytest.raises((MilepostError, KafkaError), match=error):
        await work(lacking, next(iter(principals)), group)
    kafka_secured.grant(taken)
    await work(lacking, next(iter(principals)), group)


async def work(settings: Settings, role: str, group: str) -> None:
    """What this role does at the broker, begun."""
    match role:
        case "publisher":
            async with Publisher(settings, timeout=5) as publisher:
                await publisher.request("acme", "provision", provider="ecs", key=group)
        case "subscriber":
            async with Subscriber(settings, group=group, timeout=5):
                pass
        case _:
            await topics.verify(settings)
            producer = AIOKafkaProducer(
                **broker.connection(settings),
                transactional_id=f"{settings.consumer_group}.{settings.topics.events}.{group}",
            )
            try:
                await producer.start()
            finally:
                await producer.stop()


def test_the_rights_are_written_for_kafkas_own_tool(settings: Settings) -> None:
    needed = [Right("User:CN=a b", "READ", "TOPIC", "t"), Right("User:CN=a b", "CREATE", "TOPIC", "t"),
              Right("User:x", "WRITE", "TRANSACTIONAL_ID", "g.", "PREFIXED")]  # fmt: skip
    login = "kafka-acls.sh --bootstrap-server k:1 --command-config admin.properties --add"
    first, second = commands(needed, "k:1")
    assert first == (
        f"{login} --allow-principal 'User:CN=a b' --operation Read --operation Create --topic t"
    )
    assert second == (
        f"{login} --allow-principal User:x --operation Write --transactional-id g. "
        "--resource-pattern-type prefixed"
    )


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("password", "MILEPOST_KAFKA_USERNAME=mistaken or MILEPOST_KAFKA_PASSWORD is wrong"),
        ("mechanism", "does not take MILEPOST_KAFKA_SASL_MECHANISM=PLAIN"),
        ("authority", "certificate is not trusted .*MILEPOST_KAFKA_CA_FILE"),
        ("no certificate", "MILEPOST_KAFKA_CERT_FILE"),
        ("no TLS", "MILEPOST_KAFKA_SECURITY_PROTOCOL=SSL"),
    ],
)
async def test_who_is_not_let_in_is_told_which_setting_to_look_at(
    made: Settings, kafka_secured: Secured, tmp_path: Any, mistake: str, said: str
) -> None:
    kafka_secured.add_users(["mistaken"])
    changes = kafka_secured.as_user("mistaken")
    match mistake:
        case "password":
            changes = kafka_secured.as_user("mistaken", "incorrect")
        case "mechanism":
            changes["kafka_sasl_mechanism"] = "PLAIN"
        case "authority":
            Authority(tmp_path).serving("somebody")
            changes["kafka_ca_file"] = tmp_path / "somebody.pem"
        case _:
            changes = kafka_secured.with_certificate("mistaken")
            changes["kafka_cert_file"] = changes["kafka_key_file"] = None
            if mistake == "no TLS":
                changes["kafka_bootstrap_servers"] = kafka_secured.open
    mistaken = like(made, changes)
    with pytest.raises(MilepostError, match=said) as refused:
        async with Publisher(mistaken, timeout=5):
            pass
    assert PASSWORD not in str(refused.value)
    with pytest.raises(BrokerRefused, match=said):
        await topics.verify(mistaken)


async def test_a_command_says_it_in_a_sentence(
    made: Settings, kafka_secured: Secured, tmp_path: Any
) -> None:
    mistaken = like(made, kafka_secured.as_user("nobody", "incorrect"))
    ended = await milepost("processor", cwd=tmp_path, **environment(mistaken))
    assert ended.status == 1
    assert "MILEPOST_KAFKA_USERNAME=nobody or MILEPOST_KAFKA_PASSWORD is wrong" in ended.err
    assert "Traceback" not in ended.err
    assert "incorrect" not in ended.err
