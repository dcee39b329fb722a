"""A Kafka broker that asks who is there: certificates, passwords and rights, made for a test."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import confluent_kafka.admin
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import SecretStr

from milepost.embedded import EmbeddedKafka
from milepost.embedded.claims import free_port
from milepost.rights import Right
from stack import BROKER
from webhooks.certificates import Authority

HOST: Final = "127.0.0.1"
confluent: Any = confluent_kafka.admin
PASSWORD: Final = "correct horse"
MECHANISM: Final = "SCRAM-SHA-512"
_SECONDS: Final = 15


@dataclass(frozen=True)
class Secured:
    """The broker's listeners: `open` is for its administrator, who may do everything."""

    open: str
    sasl: str
    mutual: str
    folder: Path
    vouching: Authority

    @property
    def authority(self) -> Path:
        """Who vouches for the broker, and whom the broker trusts to vouch for its clients."""
        return self.folder / "authority.pem"

    def as_user(self, name: str, password: str = PASSWORD) -> dict[str, Any]:
        """Settings of `User:<name>`, with a password over TLS."""
        return {
            "kafka_bootstrap_servers": self.sasl,
            "kafka_security_protocol": "SASL_SSL",
            "kafka_sasl_mechanism": MECHANISM,
            "kafka_username": name,
            "kafka_password": SecretStr(password),
            "kafka_ca_file": self.authority,
        }

    def with_certificate(self, name: str) -> dict[str, Any]:
        """Settings of `User:CN=<name>`, with a certificate of the authority's."""
        self.vouching.serving(name)
        return {
            "kafka_bootstrap_servers": self.mutual,
            "kafka_security_protocol": "SSL",
            "kafka_ca_file": self.authority,
            "kafka_cert_file": self.folder / f"{name}.pem",
            "kafka_key_file": self.folder / f"{name}.pem",
        }

    def add_users(self, names: Iterable[str]) -> None:
        """Make users with the one password."""
        how = confluent.ScramCredentialInfo(confluent.ScramMechanism.SCRAM_SHA_512, 4_096)
        changes = [
            confluent.UserScramCredentialUpsertion(name, how, PASSWORD.encode()) for name in names
        ]
        admin = self._admin()  # whose futures end with it
        for done in admin.alter_user_scram_credentials(changes).values():
            done.result(_SECONDS)

    def grant(self, rights: Iterable[Right]) -> None:
        """Give these rights."""
        bindings = [_binding(right) for right in rights]
        if not bindings:  # which the client refuses
            return
        admin = self._admin()
        for done in admin.create_acls(bindings).values():
            done.result(_SECONDS)

    def _admin(self) -> Any:
        return confluent.AdminClient({"bootstrap.servers": self.open})


@asynccontextmanager
async def secured_kafka(folder: Path) -> AsyncIterator[Secured]:
    """A broker with an authorizer that refuses what is not granted."""
    authority = Authority(folder)
    (folder / "authority.pem").write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    authority.serving(HOST)
    ports = {name: free_port() for name in ("PLAINTEXT", "SASL", "MUTUAL", "CONTROLLER")}
    places = {name: f"{name}://{HOST}:{port}" for name, port in ports.items()}
    stores = {
        "ssl.keystore.type": "PEM", "ssl.keystore.location": str(folder / f"{HOST}.pem"),
        "ssl.truststore.type": "PEM", "ssl.truststore.location": str(folder / "authority.pem"),
    }  # fmt: skip
    overrides = {
        **BROKER,
        **stores,
        "listeners": ",".join(places.values()),
        "advertised.listeners": ",".join(list(places.values())[:-1]),
        "controller.quorum.voters": f"1@{HOST}:{ports['CONTROLLER']}",
        "listener.security.protocol.map": (
            "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_SSL,MUTUAL:SSL"
        ),
        "sasl.enabled.mechanisms": MECHANISM,
        f"listener.name.sasl.{MECHANISM.lower()}.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "listener.name.mutual.ssl.client.auth": "required",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        # Whoever comes through the open listener, and the broker itself.
        "super.users": "User:ANONYMOUS",
    }
    async with EmbeddedKafka(folder / "kafka", ports["PLAINTEXT"], overrides=overrides) as kafka:
        yield Secured(
            kafka.bootstrap_servers,
            f"{HOST}:{ports['SASL']}",
            f"{HOST}:{ports['MUTUAL']}",
            folder,
            authority,
        )


def _binding(right: Right) -> Any:
    return confluent.AclBinding(
        confluent.ResourceType[right.resource],
        right.name,
        confluent.ResourcePatternType[right.pattern],
        right.principal,
        "*",
        confluent.AclOperation[right.operation],
        confluent.AclPermissionType.ALLOW,
    )
