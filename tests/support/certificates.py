"""Keys and certificates: for servers that tests start with TLS (made with openssl), and for those who sign messages."""

from __future__ import annotations

import shutil
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest


def certificates(directory: Path) -> dict[str, str]:
    """A certificate authority (ca.crt) and a certificate for 127.0.0.1 that it signed (s.crt, s.key): their paths."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl to make certificates")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=directory, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-days", "2",
            "-subj", "/CN=test-ca")  # fmt: skip
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "s.key", "-out", "s.csr", "-subj", "/CN=127.0.0.1")
    (directory / "san").write_text("subjectAltName=IP:127.0.0.1")
    openssl("x509", "-req", "-in", "s.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "san", "-out", "s.crt")  # fmt: skip
    return {name: str(directory / name) for name in ("ca.crt", "s.crt", "s.key")}


def signer(directory: Path, name: str, days: float = 2, password: bytes | None = None) -> dict[str, str]:
    """A key and a certificate that it signed itself, as security settings; `days` below 0 make an expired one."""
    pytest.importorskip("cryptography")
    from cryptography import x509  # after the skip
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(timezone.utc)
    cert = (
        x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=10))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    files = {"security_key": directory / f"{name}.key", "security_certificate": directory / f"{name}.pem"}
    files["security_key"].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, encryption))
    files["security_certificate"].write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    return {setting: str(path) for setting, path in files.items()}
