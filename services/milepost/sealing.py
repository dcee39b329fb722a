"""Signing secrets at rest: sealed with the keys in the settings, never stored in the clear."""

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from milepost.settings import MAKE_A_KEY, Settings


class CannotSeal(Exception):
    """Secrets cannot be sealed or opened; the text says what to set. It never has a key in it."""


class Seal:
    """Seals with the newest key of `MILEPOST_WEBHOOK_KEYS`, opens with any of them.

    Raises CannotSeal where the settings have no key.
    """

    def __init__(self, settings: Settings) -> None:
        keys = settings.sealing_keys
        if not keys:
            raise CannotSeal(
                f"No key for the signing secrets of webhooks is set. Make one with {MAKE_A_KEY} and "
                "set MILEPOST_WEBHOOK_KEYS to it, for the API and the webhooks alike."
            )
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    def seal(self, secret: str) -> bytes:
        """The ciphertext of a secret, different each time."""
        return self._fernet.encrypt(secret.encode())

    def open(self, sealed: bytes) -> str:
        """The secret of a ciphertext. Raises CannotSeal where none of the keys made it."""
        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken:
            raise CannotSeal(
                "A signing secret was sealed with a key that is not in MILEPOST_WEBHOOK_KEYS. Put "
                "that key back behind the newest, separated by a comma, or rotate the secret."
            ) from None
