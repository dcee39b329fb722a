"""The same request has the same id, everywhere and for ever."""

import hashlib
import json
import uuid
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given, settings
from hypothesis import strategies as st

from milepost.schemas import identifiers
from milepost.schemas.identifiers import (
    NAMESPACE,
    canonical,
    execution_id,
    fingerprint,
    outgoing_id,
    parameters_digest,
)
from schemas.strategies import json_values, parameters, tenants, text, words

PUBLISHED = Path(__file__).parents[2] / "schemas" / "published"
VECTORS: dict[str, list[dict[str, Any]]] = json.loads(
    (PUBLISHED / "identifiers.json").read_text(encoding="utf-8")
)
# Lone surrogates and integers that RFC 8785 does not know, too: both must refuse them.
anything = json_values(st.integers()) | st.text() | st.dictionaries(st.text(max_size=3), st.text())


def _outcome(function: Any, value: Any) -> bytes | type[ValueError]:
    try:
        written: bytes = function(value)
    except ValueError:
        return ValueError
    return written


@settings(max_examples=1_000)
@given(anything)
@example({"\ufb33": 1, "\U0001f600": 2})
@example([2**53, -(2**53)])
@example({"a": [1.0, -0.0, 1e21, 1e-7, 5e-324], "b": [True, False, None, "", [], {}]})
@example('\u0000\u001f\u007f\u0080\u2028"\\/')
@example(float("nan"))
@example({1: 2})
@example({"a": object()})
def test_canonical_json_is_that_of_rfc_8785(value: Any) -> None:
    assert _outcome(canonical, value) == _outcome(rfc8785.dumps, value)


@given(json_values(st.integers(-(2**53) + 1, 2**53 - 1)))
def test_canonical_json_read_as_json_is_canonical_again(value: Any) -> None:
    written = canonical(value)
    assert canonical(json.loads(written, parse_int=float)) == written


@given(tenants, words, text(40, 1))
def test_an_id_is_the_standard_uuid_5(tenant: str, operation: str, key: str) -> None:
    name = rfc8785.dumps([tenant, operation, key]).decode()
    assert execution_id(tenant, operation, key=key) == str(uuid.uuid5(NAMESPACE, name))


@given(tenants, words, parameters, st.randoms(use_true_random=False))
def test_the_order_of_members_does_not_matter(
    tenant: str, operation: str, given_: dict[str, Any], random: Any
) -> None:
    members = list(given_.items())
    random.shuffle(members)
    ids = {execution_id(tenant, operation, parameters=each) for each in (given_, dict(members))}
    assert len(ids) == 1
    assert parameters_digest(given_) == parameters_digest(dict(members))


@given(tenants, words, text(40, 1), parameters)
def test_with_a_key_only_tenant_operation_and_key_count(
    tenant: str, operation: str, key: str, given_: dict[str, Any]
) -> None:
    plain = execution_id(tenant, operation, key=key)
    assert plain == execution_id(tenant, operation, key=key, provider="ecs", parameters=given_)
    assert plain != execution_id(f"{tenant}x", operation, key=key)
    assert plain != execution_id(tenant, f"{operation}x", key=key)
    assert plain != execution_id(tenant, operation, key=f"{key}x")


def test_without_a_key_provider_parameters_and_links_count() -> None:
    first = execution_id("acme", "provision", provider="ecs", parameters={"cpu": 1})
    others = [
        execution_id("globex", "provision", provider="ecs", parameters={"cpu": 1}),
        execution_id("acme", "update", provider="ecs", parameters={"cpu": 1}),
        execution_id("acme", "provision", provider="k8s", parameters={"cpu": 1}),
        execution_id("acme", "provision", parameters={"cpu": 1}),
        execution_id("acme", "provision", provider="ecs", parameters={"cpu": 2}),
        execution_id("acme", "provision", provider="ecs"),
    ]
    assert len({first, *others}) == len(others) + 1


def test_a_retry_has_another_id_and_so_has_the_retry_of_it() -> None:
    first = execution_id("acme", "provision", parameters={"cpu": 1})
    retry = execution_id("acme", "provision", parameters={"cpu": 1}, links={"retry_of": first})
    again = execution_id("acme", "provision", parameters={"cpu": 1}, links={"retry_of": retry})
    assert len({first, retry, again}) == 3


def test_a_key_cannot_be_mistaken_for_parameters() -> None:
    identity = canonical({"links": {}, "parameters": {}, "provider": None}).decode()
    assert execution_id("acme", "provision") != execution_id("acme", "provision", key=identity)


@pytest.mark.parametrize("value", [2**53, float("inf"), float("nan"), "\ud800", {1: 2}])
def test_what_rfc_8785_cannot_express_has_no_id(value: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - three libraries, three messages
        execution_id("acme", "provision", parameters={"a": value})


def test_what_goes_out_has_an_id_of_its_own() -> None:
    execution = execution_id("acme", "provision", key="order-7")
    given_ = [
        ("acme", "succeeded", 3),
        ("acme", "succeeded", 4),
        ("acme", "start", 3),
        ("globex", "succeeded", 3),
    ]
    ids = {outgoing_id(tenant, execution, kind, version) for tenant, kind, version in given_}
    assert len(ids) == len(given_)
    assert outgoing_id("acme", execution, "succeeded", 3) in ids


@pytest.mark.parametrize("vector", VECTORS["execution_id"], ids=lambda vector: vector["name"])
def test_published_execution_ids_recompute(vector: dict[str, Any]) -> None:
    arguments = ("tenant", "operation", "key", "provider", "parameters", "links")
    assert execution_id(**{name: vector[name] for name in arguments}) == vector["execution_id"]
    hashed = uuid.uuid5(uuid.UUID(str(VECTORS["namespace"])), vector["canonical"])
    assert vector["execution_id"] == str(hashed)


@pytest.mark.parametrize("vector", VECTORS["parameters_digest"], ids=lambda vector: vector["name"])
def test_published_parameters_digests_recompute(vector: dict[str, Any]) -> None:
    assert parameters_digest(vector["parameters"]) == vector["parameters_digest"]
    assert _sha256(vector["canonical"]) == vector["parameters_digest"]


@pytest.mark.parametrize("vector", VECTORS["fingerprint"], ids=lambda vector: vector["name"])
def test_published_fingerprints_recompute(vector: dict[str, Any]) -> None:
    arguments = [vector[name] for name in ("provider", "parameters_digest", "links")]
    assert fingerprint(*arguments) == vector["fingerprint"]
    assert _sha256(vector["canonical"]) == vector["fingerprint"]


@pytest.mark.parametrize("vector", VECTORS["outgoing_id"])
def test_published_outgoing_ids_recompute(vector: dict[str, Any]) -> None:
    arguments = [vector[name] for name in ("tenant", "execution_id", "kind", "version")]
    assert outgoing_id(*arguments) == vector["outgoing_id"]
    name = f"{vector['tenant']}:{vector['kind']}:{vector['version']}"
    assert vector["outgoing_id"] == str(uuid.uuid5(uuid.UUID(vector["execution_id"]), name))


def _sha256(hashed: str) -> str:
    return hashlib.sha256(hashed.encode()).hexdigest()


def test_the_vectors_hold_the_hard_cases_of_rfc_8785() -> None:
    hashed = {vector["name"]: vector["canonical"] for vector in VECTORS["parameters_digest"]}
    assert hashed["empty"] == "{}"
    for written in ('"whole":1}', '"negative zero":0,', '"large":1e+21,', '"small":1e-7,',
                    '"below large":100000000000000000000,', '"above small":0.000001,',
                    '"smallest":5e-324,', '"largest":1.7976931348623157e+308,'):  # fmt: skip
        assert written in hashed["numbers"]
    names = ["", "\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert list(json.loads(hashed["names"])) == names  # the order of RFC 8785, appendix B
    assert hashed["nested"].startswith('{"a":{"z":{"y":{"x":"w"}}},"b":[{"c":[true,')


def test_the_namespace_is_for_ever() -> None:
    assert str(identifiers.NAMESPACE) == "5b0d7f0c-6a51-5d0b-9d7e-6d3c1f0a9e42"
    assert (
        execution_id("acme", "provision", key="order-7") == "2752fe1d-e26c-5317-ba64-ee07aca23c9e"
    )
