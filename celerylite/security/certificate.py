"""Certificates of those whose messages are trusted."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509 import load_pem_x509_certificate

from celerylite.exceptions import SecurityError
from celerylite.security.key import pss
from celerylite.security.utils import reraise_errors

__all__ = ("CertStore", "Certificate", "FSCertStore")


class Certificate:
    """An X.509 certificate in PEM form with an RSA key; raises `SecurityError` where it is none."""

    def __init__(self, cert: bytes | str) -> None:
        with reraise_errors("Invalid certificate: {0!r}"):
            self._cert = load_pem_x509_certificate(cert.encode() if isinstance(cert, str) else cert)
        if not isinstance(self._cert.public_key(), rsa.RSAPublicKey):
            raise SecurityError("Invalid certificate: its key is no RSA key")

    def has_expired(self) -> bool:
        """Whether its time is over."""
        return datetime.now(timezone.utc) >= self._cert.not_valid_after_utc

    def get_pubkey(self) -> Any:
        """The public key."""
        return self._cert.public_key()

    def get_serial_number(self) -> int:
        """Its number at the issuer."""
        return self._cert.serial_number

    def get_issuer(self) -> str:
        """Who signed it."""
        return " ".join(str(attribute.value) for attribute in self._cert.issuer)

    def get_id(self) -> str:
        """How messages name it: issuer and number."""
        return f"{self.get_issuer()} {self.get_serial_number()}"

    def verify(self, data: bytes, signature: bytes, digest: Any) -> None:
        """Raise `SecurityError` unless the signature is that of this certificate's key."""
        with reraise_errors("Bad signature: {0!r}"):
            self.get_pubkey().verify(signature, data, pss(digest), digest)


class CertStore:
    """Trusted certificates by their id."""

    def __init__(self) -> None:
        self._certs: dict[str, Certificate] = {}

    def itercerts(self) -> Iterator[Certificate]:
        """All of them."""
        yield from self._certs.values()

    def __getitem__(self, id: bytes | str) -> Certificate:
        name = id.decode("utf-8", "replace") if isinstance(id, bytes) else id
        try:
            return self._certs[name]
        except KeyError:
            raise SecurityError(f"Unknown certificate: {name!r}") from None

    def add_cert(self, cert: Certificate) -> None:
        """Trust a certificate; raises `SecurityError` where another one has its id."""
        known = self._certs.setdefault(cert.get_id(), cert)
        if known is not cert:
            raise SecurityError(f"Duplicate certificate: {cert.get_id()!r}")


class FSCertStore(CertStore):
    """The certificates in the files that `path` names: a folder, a file, or a pattern as `/etc/certs/*.pem`."""

    def __init__(self, path: str) -> None:
        super().__init__()
        paths = sorted(glob.glob(os.path.join(path, "*") if os.path.isdir(path) else path))
        for name in paths:
            with open(name, "rb") as file, reraise_errors(f"{name}: {{0}}"):
                cert = Certificate(file.read())
            if cert.has_expired():
                raise SecurityError(f"Expired certificate: {cert.get_id()!r} in {name}")
            self.add_cert(cert)
        if not paths:
            raise SecurityError(f"security_cert_store: there is no file {path!r}, so nobody would be trusted")
