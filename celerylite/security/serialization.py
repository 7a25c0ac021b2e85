"""The serializer `auth`: the data, who signed it, and the signature, in Celery's order."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Any

from kombu.serialization import dumps, loads, registry

from celerylite.exceptions import SecurityError
from celerylite.security.certificate import Certificate, CertStore, FSCertStore
from celerylite.security.key import PrivateKey
from celerylite.security.utils import DEFAULT_DIGEST, get_digest_algorithm, reraise_errors

__all__ = ("SecureSerializer", "register_auth")

CONTENT_TYPE = "application/data"
#: Between the parts of a signed message.
SEPARATOR = b"\x00\x01"


class SecureSerializer:
    """Signs with `key`, names `cert` as the signer, and trusts the certificates in `cert_store`."""

    def __init__(
        self,
        key: PrivateKey | None = None,
        cert: Certificate | None = None,
        cert_store: CertStore | None = None,
        digest: str = DEFAULT_DIGEST,
        serializer: str = "json",
    ) -> None:
        self._key = key
        self._cert = cert
        self._cert_store = cert_store
        self._digest = get_digest_algorithm(digest)
        self._serializer = serializer

    def serialize(self, data: Any) -> str:
        """Signed data; raises `SecurityError` where it cannot be done."""
        if self._key is None or self._cert is None:
            raise SecurityError("Cannot sign: there is no key or no certificate (app.setup_security)")
        with reraise_errors("Unable to serialize: {0!r}"):
            content_type, encoding, body = dumps(data, serializer=self._serializer)
            body = body.encode(encoding) if isinstance(body, str) else body
            signature = self._key.sign(body, self._digest)
            head = (b64encode(self._cert.get_id().encode()), b64encode(signature))
            return b64encode(SEPARATOR.join((*head, content_type.encode(), encoding.encode(), body))).decode()

    def deserialize(self, data: bytes | str) -> Any:
        """The data, once the signature was found to be that of a trusted certificate; else `SecurityError`."""
        if self._cert_store is None:
            raise SecurityError("Cannot verify: there are no trusted certificates (app.setup_security)")
        with reraise_errors("Unable to deserialize: {0!r}"):
            parts = b64decode(data, validate=True).split(SEPARATOR, 4)
            if len(parts) != 5:
                raise SecurityError("Unable to deserialize: this is no signed message")
            signer, signature, content_type, encoding, body = parts
            self._cert_store[b64decode(signer)].verify(body, b64decode(signature), self._digest)
            return loads(body, content_type.decode(), encoding.decode(), force=True)


def register_auth(
    key: bytes | str | None = None,
    key_password: bytes | str | None = None,
    cert: bytes | str | None = None,
    store: str | None = None,
    digest: str = DEFAULT_DIGEST,
    serializer: str = "json",
) -> None:
    """Make `auth` known to kombu. `key` and `cert` are PEM texts, `store` is a path or a pattern."""
    signing = SecureSerializer(
        PrivateKey(key, key_password) if key else None, Certificate(cert) if cert else None,
        FSCertStore(store) if store else None, digest, serializer,
    )  # fmt: skip
    registry.register("auth", signing.serialize, signing.deserialize, CONTENT_TYPE, "utf-8")
