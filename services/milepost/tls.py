"""TLS to the Kafka broker: whom to trust, and what to present."""

import ssl
from pathlib import Path


class Unusable(Exception):
    """A file is not what it must be; `argument` is the one of `context` that named it."""

    def __init__(self, argument: str, message: str) -> None:
        super().__init__(message)
        self.argument = argument


def context(
    ca_file: Path | None = None,
    cert_file: Path | None = None,
    key_file: Path | None = None,
    key_password: str | None = None,
) -> ssl.SSLContext:
    """A client's context; names are checked against certificates. All files are PEM.

    Without `ca_file` the system's authorities are trusted. The files are read at each call, so that
    what was renewed counts for the next connection that is made with it. Raises Unusable.
    """
    try:
        made = ssl.create_default_context(cafile=ca_file)
    except (ssl.SSLError, OSError) as error:
        raise Unusable("ca_file", f"holds no certificates in PEM: {_reason(error)}") from None
    if cert_file is not None:
        try:
            # Without a password that can be asked for, OpenSSL would ask at the terminal.
            made.load_cert_chain(cert_file, key_file, lambda: key_password or "")
        except (ssl.SSLError, OSError, ValueError) as error:
            message = f"cannot be used with the key and its password: {_reason(error)}"
            raise Unusable("cert_file", message) from None
    return made


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
