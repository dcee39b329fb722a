"""The stacks that tests run on: the chosen one works, and so does the one in containers."""

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from milepost.settings import Settings
from stack import (
    Services,
    docker_problem,
    environment,
    kafka_container,
    postgres_container,
    variant,
)


async def _lists_topics(servers: str) -> list[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        topics: list[str] = await admin.list_topics()
        return topics
    finally:
        await admin.close()


async def _major_version(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval("SHOW server_version_num")) // 10_000
    finally:
        await connection.close()


async def test_a_module_has_its_own_topics_and_its_own_migrated_database(
    settings: Settings,
) -> None:
    topics = await _lists_topics(settings.kafka_bootstrap_servers)
    assert {topic.name for topic in settings.topics.declared()} <= set(topics)
    connection = await asyncpg.connect(settings.dsn)
    assert await connection.fetchval("SELECT count(*) FROM executions") == 0
    await connection.close()


async def test_the_stack_in_containers_starts() -> None:
    if problem := docker_problem():
        pytest.skip(problem)
    with kafka_container() as servers, postgres_container() as dsn:
        assert await _lists_topics(servers) == []
        assert await _major_version(dsn) == 18


def test_without_docker_and_without_a_choice_the_stack_is_embedded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MILEPOST_TEST_STACK", raising=False)
    assert variant() == ("embedded" if docker_problem() else "testcontainers")


def test_an_unknown_stack_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_TEST_STACK", "docker")
    with pytest.raises(ValueError, match="embedded, testcontainers or external"):
        variant()


def test_a_service_reads_the_settings_of_its_test(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


async def test_a_service_that_does_not_become_ready_shows_why(service: Services) -> None:
    with pytest.raises(AssertionError, match="no-such-service"):
        await service("no-such-service")
