"""Why a broker lets nobody in: aiokafka tells its log only."""

import ssl
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

_REQUEST_MS: Final = 5_000


class Refusal(NamedTuple):
    """Why nobody is let in, with the setting to look at; `final`: trying again changes nothing."""

    reason: str
    final: bool


async def refusal(connection: Mapping[str, Any]) -> Refusal | None:
    """Why the brokers that these arguments name do not let us in; None where they do, or are away."""
    arguments = {**connection, "request_timeout_ms": _REQUEST_MS}
    for host, port, _ in collect_hosts(arguments.pop("bootstrap_servers")):
        try:
            made = await create_conn(host, port, **arguments)
            try:
                await made.send(MetadataRequest([]))
            finally:
                made.close()
        except (OSError, KafkaError) as error:
            if found := _explained(error, connection):
                return found
    return None


def _explained(error: Exception, connection: Mapping[str, Any]) -> Refusal | None:
    protocol = f"MILEPOST_KAFKA_SECURITY_PROTOCOL={connection['security_protocol']}"
    mechanism = f"MILEPOST_KAFKA_SASL_MECHANISM={connection.get('sasl_mechanism')}"
    match error:
        case SaslAuthenticationFailed() | AuthenticationFailedError():
            user = f"MILEPOST_KAFKA_USERNAME={connection.get('sasl_plain_username')}"
            reason = f"{user} or MILEPOST_KAFKA_PASSWORD is wrong, or known under another mechanism"
            return Refusal(f"{reason} than {mechanism}.", final=True)
        case UnsupportedSaslMechanismError() | IllegalSaslStateError():
            return Refusal(f"it does not take {mechanism}.", final=True)
        case ssl.SSLCertVerificationError():
            reason = f"its certificate is not trusted ({error.verify_message})"
            return Refusal(f"{reason}: see MILEPOST_KAFKA_CA_FILE.", final=True)
        case ssl.SSLError(reason="WRONG_VERSION_NUMBER" | "RECORD_LAYER_FAILURE"):
            return Refusal(f"it speaks no TLS: {protocol} is wrong.", final=True)
        case ssl.SSLError():
            reason = f"TLS fails ({(error.reason or str(error)).lower().replace('_', ' ')})"
            return Refusal(f"{reason}: see MILEPOST_KAFKA_CERT_FILE and {protocol}.", final=True)
        case KafkaConnectionError() | ConnectionResetError() | ConnectionAbortedError():
            reason = f"it closes the connection at once: is {protocol} what it expects"
            if connection["ssl_context"] is not None:
                reason += ", and MILEPOST_KAFKA_CERT_FILE one that it trusts"
            return Refusal(f"{reason}?", final=False)
    return None
