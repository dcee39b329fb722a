"""Who gets in: keys and tokens that are good, and every kind that is not."""

import asyncio
import base64
import hmac
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from joserfc.jwk import ECKey, OKPKey, RSAKey
from pydantic import ValidationError

from api.callers import Clock, Guarded, Issuer, guarded_api
from api.events import started, succeeded
from api.harness import connected, document
from milepost.api import CannotServe, create_app, serve
from milepost.api.access import Principal, Role, Scope, read_grants
from milepost.api.guard import require_guarded
from milepost.api.issuer_keys import usable
from milepost.api.problems import Problem
from milepost.api.routes import streams
from milepost.settings import Settings


@pytest.fixture(scope="module")
async def guarded(settings: Settings) -> AsyncIterator[Guarded]:
    async with guarded_api(settings) as guarded:
        yield guarded


@pytest.fixture(autouse=True)
def _as_before(guarded: Guarded) -> None:
    """Each test finds the issuer at work, and may ask it at once."""
    guarded.issuer.status = 200
    guarded.clock.seconds += 400


def encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


class TestTokens:
    async def test_a_good_one_gets_in_and_reads_its_tenant_only(self, guarded: Guarded) -> None:
        token = guarded.issuer.token(guarded.clock)
        assert await guarded.status(token) == 200
        assert await guarded.status(token, "/v1/tenants/globex") == 404

    @pytest.mark.parametrize(
        "grants", [["acme:reader", "staff", 7, "acme:owner"], "acme:reader openid", ["*:reader"]]
    )
    async def test_grants_in_each_form(self, guarded: Guarded, grants: Any) -> None:
        token = guarded.issuer.token(guarded.clock, milepost_grants=grants)
        assert await guarded.status(token) == 200

    @pytest.mark.parametrize(
        "grants", [None, "", [], {"acme": "reader"}, 7, ["acme"], ["a:reader"]]
    )
    async def test_without_a_grant_for_it_a_tenant_is_unknown(
        self, guarded: Guarded, grants: Any
    ) -> None:
        token = guarded.issuer.token(guarded.clock, milepost_grants=grants)
        assert await guarded.status(token) == 404
        assert await guarded.status(token, f"/v1/executions/{uuid4()}") in (403, 404)

    @pytest.mark.parametrize(
        "claims",
        [
            {"iss": "https://issuer.example"},
            {"iss": None},
            {"aud": "another"},
            {"aud": ["another", "others"]},
            {"aud": None},
            {"sub": None},
            {"sub": "a\x00b"},
            {"exp": None},
            {"exp": "tomorrow"},
            {"exp": True},
            {"exp": 1_000},
            {"nbf": 32_503_680_000},
            {"iat": 32_503_680_000},
        ],
    )
    async def test_claims_that_are_not_for_us(
        self, guarded: Guarded, claims: dict[str, Any]
    ) -> None:
        response = await guarded.get(guarded.issuer.token(guarded.clock, **claims), "/v1/audit")
        assert document(response, 401)["type"] == "/problems/unauthorised"
        assert 'error="invalid_token"' in response.headers["www-authenticate"]

    async def test_one_that_was_good_expires(self, guarded: Guarded) -> None:
        token = guarded.issuer.token(guarded.clock, exp=int(guarded.clock.now().timestamp()) + 15)
        assert await guarded.status(token) == 200
        guarded.clock.seconds += 28  # within what is remembered, beyond the leeway of 10 s
        assert await guarded.status(token) == 401

    async def test_no_signature(self, guarded: Guarded) -> None:
        _, claims, signature = guarded.issuer.token(guarded.clock).split(".")
        for alg in ("none", "None", "NONE", ""):
            header = encoded({"alg": alg, "kid": guarded.issuer.signing[0].kid})
            for end in ("", signature):
                assert await guarded.status(f"{header}.{claims}.{end}") == 401

    async def test_a_public_key_is_no_secret(self, guarded: Guarded) -> None:
        """HS256 with what everybody knows of the key."""
        key = guarded.issuer.signing[0]
        assert isinstance(key, ECKey | RSAKey | OKPKey)
        _, claims, _ = guarded.issuer.token(guarded.clock).split(".")
        signed = f"{encoded({'alg': 'HS256', 'kid': key.kid})}.{claims}"
        public = key.as_dict(private=False)
        for known in (key.as_pem(private=False), json.dumps(public).encode(), str(public).encode()):
            mac = hmac.digest(known, signed.encode(), "sha256")
            signature = base64.urlsafe_b64encode(mac).decode().rstrip("=")
            assert await guarded.status(f"{signed}.{signature}") == 401

    async def test_another_key_under_a_known_id(self, guarded: Guarded) -> None:
        kid = guarded.issuer.signing[0].kid or ""
        for key in (
            ECKey.generate_key("P-256", {"kid": kid}),
            RSAKey.generate_key(2048, {"kid": kid}),
        ):
            assert await guarded.status(guarded.issuer.token(guarded.clock, key)) == 401

    @pytest.mark.parametrize(
        "kid",
        ["unknown", "", "../../../../dev/null", "first' OR '1'='1", "http://127.0.0.1/", None, 7],
    )
    async def test_key_ids_are_looked_up_and_nothing_else(self, guarded: Guarded, kid: Any) -> None:
        stranger = ECKey.generate_key("P-256", {"kid": "stranger"})
        _, claims, signature = guarded.issuer.token(guarded.clock, stranger).split(".")
        forged = f"{encoded({'alg': 'ES256', 'kid': kid})}.{claims}.{signature}"
        assert await guarded.status(forged) == 401

    async def test_keys_that_a_token_brings_along_are_not_used(self, guarded: Guarded) -> None:
        other = Issuer()
        stranger = other.signing[0]
        for brought in (
            {"jku": f"{guarded.issuer.url}/evil"},
            {"x5u": f"{guarded.issuer.url}/evil"},
            {"jwk": stranger.as_dict(private=False)},
            {"jwk": stranger.as_dict(private=False), "kid": "new"},
        ):
            _, claims, signature = other.token(guarded.clock, iss=guarded.issuer.url).split(".")
            header = encoded({"alg": "ES256", "kid": stranger.kid, **brought})
            assert await guarded.status(f"{header}.{claims}.{signature}") == 401
            signed = other.token(guarded.clock, iss=guarded.issuer.url, header=brought)
            assert await guarded.status(signed) == 401

    async def test_headers_that_must_be_understood(self, guarded: Guarded) -> None:
        first, claims, signature = guarded.issuer.token(guarded.clock).split(".")
        header = json.loads(base64.urlsafe_b64decode(first + "==")) | {"crit": ["exp"], "exp": 1}
        assert await guarded.status(f"{encoded(header)}.{claims}.{signature}") == 401

    @pytest.mark.parametrize(
        "text",
        ["x", ".", "..", "a.b", "a.b.c", "a.b.c.d.e", "é.é.é", "mp_", "e30.e30.e30", "x" * 9_000],
    )
    async def test_what_is_no_token(self, guarded: Guarded, text: str) -> None:
        headers = {b"Authorization": b"Bearer " + text.encode()}
        response = await guarded.api.http.get("/v1/tenants/acme", headers=headers)
        assert response.status_code == 401

    @pytest.mark.parametrize("header", [None, "", "Bearer", "Basic YTpi", "mp_x"])
    async def test_no_token_at_all_says_what_to_send(
        self, guarded: Guarded, header: str | None
    ) -> None:
        headers = {} if header is None else {"Authorization": header}
        response = await guarded.api.http.get("/v1/tenants/acme", headers=headers)
        assert document(response, 401)["type"] == "/problems/unauthorised"
        assert response.headers["www-authenticate"] == 'Bearer realm="milepost"'

    async def test_keys_rotate(self, guarded: Guarded) -> None:
        issuer, clock = guarded.issuer, guarded.clock
        before = issuer.token(clock)
        assert await guarded.status(before) == 200
        clock.seconds += 31
        for key in (
            RSAKey.generate_key(2048, {"kid": "rsa"}),
            OKPKey.generate_key("Ed25519", {"kid": "okp"}),
            ECKey.generate_key("P-256", {"kid": "ec"}),
        ):
            issuer.rotate(key.kid or "", key)
            assert await guarded.status(issuer.token(clock)) == 200
            if isinstance(key, OKPKey):
                assert await guarded.status(issuer.token(clock, header={"alg": "EdDSA"})) == 200
            clock.seconds += 31
        issuer.rotate("at once")
        token = issuer.token(clock)
        asked = issuer.asked
        assert set(await asyncio.gather(*(guarded.status(token) for _ in range(10)))) == {200}
        assert issuer.asked == asked + 1
        # The first key is gone with all the tokens it signed.
        assert await guarded.status(before) == 401

    async def test_unknown_key_ids_do_not_make_it_ask_at_each_request(
        self, guarded: Guarded
    ) -> None:
        stranger = ECKey.generate_key("P-256", {"kid": "stranger"})
        forged = guarded.issuer.token(guarded.clock, stranger)
        asked = guarded.issuer.asked
        for _ in range(20):
            assert await guarded.status(forged) == 401
        assert guarded.issuer.asked == asked + 1
        assert await guarded.status(guarded.issuer.token(guarded.clock)) == 200

    async def test_an_issuer_that_is_away(self, settings: Settings, guarded: Guarded) -> None:
        assert await guarded.status(guarded.issuer.token(guarded.clock)) == 200
        guarded.issuer.status = 500
        guarded.clock.seconds += 301
        # What is known still serves; a process that never had a key says so.
        assert await guarded.status(guarded.issuer.token(guarded.clock)) == 200
        async with guarded_api(settings) as another:
            another.issuer.status = 302
            response = await another.get(another.issuer.token(another.clock), "/v1/tenants/acme")
            assert document(response, 503)["type"] == "/problems/issuer-unavailable"

    def test_only_public_keys_for_signatures_are_used(self) -> None:
        good = ECKey.generate_key("P-256", {"kid": "good"}).as_dict(private=False)
        odd: list[Any] = [
            {**good, "kid": "for-secrets", "use": "enc"},
            {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "shared"},
            {"kty": "EC", "kid": "half"}, {}, None, 7, {**good, "kid": None, "kty": "x"},
        ]  # fmt: skip
        assert list(usable({"keys": [*odd, good]})) == ["good"]

    def test_keys_over_http_from_elsewhere_are_refused(self) -> None:
        with pytest.raises(ValidationError, match="use https"):
            Settings(jwt_jwks="http://issuer.example/keys")


class TestKeys:
    async def test_the_life_of_a_key(self, guarded: Guarded) -> None:
        admin = await guarded.key("acme:admin")
        response = await guarded.send(
            admin, "POST", "/v1/api-keys", {"name": "deploy", "grants": ["acme:reader"]}
        )
        made = document(response, 201)
        assert response.headers["cache-control"] == "no-store"
        token, key_id = made["token"], made["key_id"]
        assert token.startswith(f"mp_{key_id}_")
        assert made["created_by"].startswith("key ")
        assert await guarded.status(token) == 200
        async with connected(guarded.api.settings.dsn) as owner:
            stored = await owner.fetchrow("SELECT * FROM api_keys WHERE key_id = $1", key_id)
            assert stored is not None
            assert token.removeprefix(f"mp_{key_id}_") not in repr(stored)
            assert stored["last_used_at"] == guarded.clock.now()
        listed = document(await guarded.get(admin, "/v1/api-keys"), 200)["items"]
        assert key_id in [key["key_id"] for key in listed]
        assert not any("token" in key or "secret_sha256" in key for key in listed)
        revoked = await guarded.send(admin, "POST", f"/v1/api-keys/{key_id}:revoke")
        assert document(revoked, 200)["revoked_at"] is not None
        guarded.clock.seconds += 2
        assert await guarded.status(token) == 401
        again = await guarded.send(admin, "POST", f"/v1/api-keys/{key_id}:revoke")
        assert document(again, 200) == document(revoked, 200)

    async def test_an_open_stream_tells_nothing_more_once_its_key_is_revoked(
        self, guarded: Guarded, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(streams, "_ASKED_AGAIN_SECONDS", 0)
        admin, token = await guarded.key("acme:admin"), await guarded.key("acme:reader")
        execution_id = await guarded.api.execution("acme")
        bearer = {"Authorization": f"Bearer {token}"}
        path = f"/v1/executions/{execution_id}/stream"
        async with asyncio.timeout(20), guarded.api.http.sse(path, headers=bearer) as events:
            told = aiter(events)
            assert (await anext(told)).event == "snapshot"
            await guarded.api.log.report("acme", execution_id, started())
            assert (await anext(told)).event == "execution"
            await guarded.send(admin, "POST", f"/v1/api-keys/{token.split('_')[1]}:revoke")
            guarded.clock.seconds += 2
            await guarded.api.log.report("acme", execution_id, succeeded())
            assert [event.event async for event in told if event.data] == []
        assert await guarded.status(token, path) == 401

    async def test_a_key_expires(self, guarded: Guarded) -> None:
        soon = guarded.clock.now() + timedelta(seconds=60)
        token = await guarded.key("acme:reader", expires_at=soon)
        assert await guarded.status(token) == 200
        guarded.clock.seconds += 60
        assert await guarded.status(token) == 401

    async def test_its_use_is_noted_once_a_minute(self, guarded: Guarded) -> None:
        token = await guarded.key("acme:reader")
        noted = set()
        first = guarded.clock.now()
        async with connected(guarded.api.settings.dsn) as owner:
            for _ in range(5):
                assert await guarded.status(token) == 200
                noted.add(
                    await owner.fetchval(
                        "SELECT last_used_at FROM api_keys WHERE key_id = $1", token.split("_")[1]
                    )
                )
                guarded.clock.seconds += 15
        assert noted == {first, first + timedelta(seconds=60)}

    async def test_secrets_that_are_almost_right(self, guarded: Guarded) -> None:
        token = await guarded.key("acme:reader")
        other = await guarded.key("acme:reader")
        start, secret = token[:16], token[16:]
        wrong = [start + other[16:], token[:-1], token + "A", start + secret.swapcase(),
                 f"mp_{uuid4().hex[:12]}_{secret}", token.upper(), f"mp_{secret}"]  # fmt: skip
        for one in wrong:
            assert await guarded.status(one) == 401
        assert await guarded.status(token) == 200

    @pytest.mark.parametrize(
        ("maker", "grants", "status"),
        [
            (["acme:admin"], ["acme:admin", "acme:reader"], 201),
            (["acme:admin"], ["globex:reader"], 404),
            (["acme:admin"], ["acme:reader", "globex:reader"], 404),
            (["acme:admin", "globex:reader"], ["globex:reader"], 403),
            (["acme:admin", "globex:admin"], ["acme:reader", "globex:operator"], 201),
            (["acme:admin"], ["*:reader"], 403),
            (["*:admin"], ["*:admin", "acme:reader"], 201),
            (["acme:operator"], ["acme:reader"], 403),
            (["*:operator", "acme:admin"], ["globex:reader"], 403),
            (["*:admin"], ["acme:owner"], 422),
            (["*:admin"], ["a,b:reader"], 422),
            (["*:admin"], [], 422),
            (["*:admin"], ["acme:reader\n"], 422),
        ],
    )
    async def test_nobody_gives_more_than_they_have(
        self, guarded: Guarded, maker: list[str], grants: list[str], status: int
    ) -> None:
        token = await guarded.key(*maker)
        body = {"name": "more", "grants": grants}
        document(await guarded.send(token, "POST", "/v1/api-keys", body), status)

    async def test_who_is_limited_to_providers_passes_the_limit_on(self, guarded: Guarded) -> None:
        token = await guarded.key("acme:admin", providers=["ecs", "k8s"])
        for asked, status, providers in (
            (None, 201, ["ecs", "k8s"]),
            (["ecs"], 201, ["ecs"]),
            (["terraform"], 403, None),
        ):
            body = {"name": "x", "grants": ["acme:reader"], "providers": asked}
            if asked is None:
                del body["providers"]
            made = document(await guarded.send(token, "POST", "/v1/api-keys", body), status)
            assert made.get("providers") == providers

    async def test_keys_of_others_are_neither_seen_nor_revoked(self, guarded: Guarded) -> None:
        admin = await guarded.key("acme:admin")
        for grants in (["globex:reader"], ["acme:reader", "globex:reader"], ["*:reader"]):
            token = await guarded.key(*grants, name="not yours")
            key_id = token.split("_")[1]
            response = await guarded.send(admin, "POST", f"/v1/api-keys/{key_id}:revoke")
            assert document(response, 404)["type"] == "/problems/unknown-key"
            assert await guarded.status(token, "/v1/tenants/globex") == 200
        page, names = "/v1/api-keys?page_size=2", []
        while True:
            listed = document(await guarded.get(admin, page), 200)
            names += [key["name"] for key in listed["items"]]
            if listed["next_page_token"] is None:
                break
            page = f"/v1/api-keys?page_size=2&page_token={listed['next_page_token']}"
        assert names
        assert "not yours" not in names


class TestRoles:
    async def test_a_role_too_small_is_named(self, guarded: Guarded) -> None:
        reader, publisher = await guarded.key("acme:reader"), await guarded.key("acme:publisher")
        body = {"operation": "provision", "provider": "ecs"}
        path = "/v1/tenants/acme/executions"
        problem = document(await guarded.send(reader, "POST", path, body), 403)
        assert problem["type"] == "/problems/forbidden"
        assert "role publisher for tenant acme" in problem["detail"]
        made = document(await guarded.send(publisher, "POST", path, body), 202)
        assert await guarded.status(publisher, f"/v1/executions/{made['execution_id']}") == 403
        assert await guarded.status(reader, f"/v1/executions/{made['execution_id']}") == 200
        assert await guarded.status(reader, "/v1/audit") == 403
        assert await guarded.status(reader, "/v1/tenants/acme/audit") == 403

    async def test_a_publisher_is_limited_to_its_providers(self, guarded: Guarded) -> None:
        ecs = await guarded.key("acme:publisher", providers=["ecs"])
        anyone = await guarded.key("acme:publisher")
        path = "/v1/tenants/acme/executions"
        made = {}
        for provider, status in (("ecs", 202), ("k8s", 403), (None, 403)):
            body = {"operation": "update", **({"provider": provider} if provider else {})}
            document(await guarded.send(ecs, "POST", path, body), status)
            made[provider] = (await guarded.send(anyone, "POST", path, body)).json()["execution_id"]
        for provider, status in (("ecs", 202), ("k8s", 403), (None, 403)):
            cancel = f"/v1/executions/{made[provider]}:cancel"
            document(await guarded.send(ecs, "POST", cancel), status)

    async def test_several_tenants_are_these_and_no_others(self, guarded: Guarded) -> None:
        token = await guarded.key("acme:reader", "globex:reader")
        ids = {one: await guarded.api.execution(one) for one in ("acme", "globex", "initech")}
        seen = {
            one: await guarded.status(token, f"/v1/executions/{id_}") for one, id_ in ids.items()
        }
        assert seen == {"acme": 200, "globex": 200, "initech": 404}
        async with guarded.api.parts.database.within(
            Scope(Principal("two", ["acme:reader", "globex:reader"]), Role.READER)
        ).acting_for("*") as connection:
            rows = await connection.fetch("SELECT DISTINCT tenant FROM executions")
        assert {tenant for (tenant,) in rows} == {"acme", "globex"}

    def test_what_grants_mean(self) -> None:
        assert read_grants(["acme:operator"])["acme"] == {
            Role.READER, Role.PUBLISHER, Role.OPERATOR,
        }  # fmt: skip
        assert read_grants(["acme:publisher"])["acme"] == {Role.PUBLISHER}
        for wrong in ("acme", "acme:", ":reader", "acme:Reader", "a b:reader", "**:reader",
                      "acme:reader\n", "acme:reader:x", "a,b:reader"):  # fmt: skip
            assert read_grants([wrong]) == {}

    def test_row_level_security_never_shows_more_than_the_scope(self) -> None:
        scope = Scope(Principal("p", ["acme:reader", "globex:admin"]), Role.READER)
        assert scope.visible("*") == "acme,globex"
        assert scope.visible("acme") == "acme"
        assert scope.visible("initech") == ""
        assert Scope(Principal("n", []), Role.READER).visible("*") == ""
        with pytest.raises(Problem) as unknown:
            scope.require("initech")
        assert unknown.value.kind.status == 404


class TestRoutes:
    async def test_what_is_open(self, guarded: Guarded) -> None:
        for path in ("/healthz", "/readyz", "/metrics", "/openapi.json"):
            assert await guarded.status(None, path) == 200
            assert await guarded.status("nonsense", path) == 200

    def test_a_route_without_a_role_is_not_served(self) -> None:
        app = create_app(Settings())

        @app.get("/v1/everything")
        async def everything() -> None:
            """A route that somebody forgot to declare."""

        with pytest.raises(TypeError, match=r"everything .* no entry in roles"):
            require_guarded(app)

    def test_a_route_round_the_guard_is_not_served(self) -> None:
        app = FastAPI(docs_url=None, redoc_url=None)
        app.add_api_route("/x", lambda: None, name="read_tenant")
        with pytest.raises(TypeError, match="no GuardedRoute"):
            require_guarded(app)

    async def test_refusals_come_before_the_body_is_read(self, guarded: Guarded) -> None:
        response = await guarded.api.http.post(
            "/v1/tenants/acme/executions",
            content=b"{",
            headers={"content-type": "application/json"},
        )
        assert response.status_code == 401

    async def test_openapi_describes_access(self, guarded: Guarded) -> None:
        described = (await guarded.get(None, "/openapi.json")).json()
        assert described["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
        for path, operations in described["paths"].items():
            for operation in operations.values():
                assert "429" in operation["responses"]
                if path.startswith("/v1"):
                    assert operation["security"] == [{"bearer": []}]
                    assert {"401", "403"} <= set(operation["responses"])
                    assert operation["x-milepost-role"] in set(Role)

    async def test_open_access_serves_this_machine_only(self, settings: Settings) -> None:
        async with guarded_api(settings, api_access="open") as opened:
            assert await opened.status(None) == 200
            foreign = await opened.send(None, "GET", "/v1/tenants/acme", Host="evil.example:8080")
            assert foreign.status_code == 403
            # A page in a browser here, which needs no answer to do harm.
            for origin, status in (
                ("https://evil.example", 403),
                ("null", 403),
                ("http://localhost:5173", 404),
                ("http://127.0.0.1", 404),
            ):
                cancel = f"/v1/executions/{uuid4()}:cancel"
                sent = await opened.send(None, "POST", cancel, Origin=origin)
                assert sent.status_code == status, origin
        with pytest.raises(CannotServe, match=r"access is open.*MILEPOST_API_ACCESS=required"):
            await serve(Settings(api_access="open", api_host="0.0.0.0"))
        with pytest.raises(ValidationError, match="MILEPOST_JWT_AUDIENCE"):
            Settings(jwt_issuer="https://issuer.example")

    def test_secrets_are_not_shown(self) -> None:
        clock, issuer = Clock(), Issuer()
        assert "mp_" not in repr(Principal("p", ["acme:reader"]))
        assert issuer.token(clock) not in repr(Settings(token=issuer.token(clock)))
