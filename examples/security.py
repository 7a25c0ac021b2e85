"""Signed messages: the worker runs what a trusted key has signed, and sets everything else aside."""

import os
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import running
from celerylite import Celery


def make_key(directory):
    """A key and a certificate for it, valid for a day; yours come from your own authority."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "example")])
    now = datetime.now(timezone.utc)
    cert = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1))
    form, no_password = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (directory / "worker.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, no_password))
    signed = cert.sign(key, hashes.SHA256())
    (directory / "worker.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))


# The worker, another process, finds the files of this one by the environment.
if "EXAMPLE_KEYS" not in os.environ:
    keys = tempfile.TemporaryDirectory()
    os.environ["EXAMPLE_KEYS"] = keys.name
    make_key(Path(keys.name))
KEYS = Path(os.environ["EXAMPLE_KEYS"])

app = Celery("security")
app.conf.update(
    security_key=str(KEYS / "worker.key"),
    security_certificate=str(KEYS / "worker.pem"),
    security_cert_store=str(KEYS / "*.pem"),
    task_serializer="auth",
    result_serializer="auth",
    event_serializer="auth",
    accept_content=["auth"],
)
app.setup_security()


@app.task
def add(x, y):
    """Adds."""
    return x + y


def main():
    with running.redis(), running.worker(app, "-c", "1"):
        print("signed:", add.delay(2, 3).get(timeout=20))
        # Somebody who has found the server, and has no key.
        Celery("stranger", set_as_current=False).send_task("security.add", (1, 1))
        print("signed, behind it:", add.delay(3, 4).get(timeout=20))
        for letter in app.broker.dead(10):
            print("set aside:", letter.reason)


if __name__ == "__main__":
    main()
