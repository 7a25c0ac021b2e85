"""Certificates for servers that tests start with TLS, made with openssl."""

from __future__ import annotations

import shutil
import subprocess
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
