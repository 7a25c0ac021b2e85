"""The private key that messages are signed with."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from celerylite.exceptions import SecurityError
from celerylite.security.utils import reraise_errors

__all__ = ("PrivateKey",)


class PrivateKey:
    """An RSA key in PEM form; raises `SecurityError` where it is none, or the password is wrong."""

    def __init__(self, key: bytes | str, password: bytes | str | None = None) -> None:
        with reraise_errors("Invalid private key: {0!r}"):
            found = serialization.load_pem_private_key(_bytes(key), _bytes(password) if password else None)
        if not isinstance(found, rsa.RSAPrivateKey):
            raise SecurityError(f"The private key must be an RSA key, not {type(found).__name__}")
        self._key = found

    def sign(self, data: bytes | str, digest: Any) -> bytes:
        """The signature of `data`."""
        with reraise_errors("Unable to sign data: {0!r}"):
            return self._key.sign(_bytes(data), pss(digest), digest)


def pss(digest: Any) -> padding.PSS:
    """How Celery pads signatures."""
    return padding.PSS(mgf=padding.MGF1(digest), salt_length=padding.PSS.MAX_LENGTH)


def _bytes(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value
