"""Signing and verifying, and what is said where a key, a certificate or a setting does not fit."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from kombu.exceptions import ContentDisallowed, DecodeError
from kombu.serialization import disable_insecure_serializers, dumps, enable_insecure_serializers, loads, registry

pytest.importorskip("cryptography")

from celerylite import Celery
from celerylite.exceptions import ImproperlyConfigured, SecurityError
from celerylite.security import setup_security
from celerylite.security.certificate import Certificate, CertStore, FSCertStore
from celerylite.security.key import PrivateKey
from celerylite.security.serialization import SEPARATOR, SecureSerializer
from tests.support.certificates import signer

DATA = [1, "ä", {"k": [None, True]}]


class People(NamedTuple):
    """Two signers: their settings, and the folder with both certificates."""

    ann: dict[str, str]
    bob: dict[str, str]
    folder: Path

    def serializer(self, cls: Any = SecureSerializer, trusts: tuple[str, ...] = ("ann",), **options: Any) -> Any:
        """Ann signs; she trusts these. `cls` may be Celery's."""
        package = __import__(cls.__module__.rpartition(".")[0], fromlist=["certificate", "key"])
        store = package.certificate.CertStore()
        for name in trusts:
            store.add_cert(package.certificate.Certificate(read(getattr(self, name)["security_certificate"])))
        cert = package.certificate.Certificate(read(self.ann["security_certificate"]))
        return cls(package.key.PrivateKey(read(self.ann["security_key"])), cert, store, **options)


def read(path: str) -> bytes:
    return Path(path).read_bytes()


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> People:
    folder = tmp_path_factory.mktemp("people")
    return People(signer(folder, "ann"), signer(folder, "bob"), folder)


@pytest.fixture
def kombu_restored() -> Iterator[None]:
    """kombu's serializers belong to the process."""
    yield
    enable_insecure_serializers(["json", "yaml", "msgpack", "pickle"])
    disable_insecure_serializers()
    if "auth" in registry.name_to_type:
        registry.unregister("auth")


@pytest.fixture
def signed_app(people: People, kombu_restored: None) -> Callable[..., Celery]:
    def make(**conf: Any) -> Celery:
        app = Celery("signed", broker="memory://", backend="cache+memory://", set_as_current=False)
        settings = {**people.ann, "security_cert_store": str(people.folder / "*.pem")}
        app.conf.update({**settings, "task_serializer": "auth", "accept_content": ["auth"], **conf})
        return app

    return make


# -- the bytes


@pytest.mark.parametrize("digest", ["sha256", "sha512"])
@pytest.mark.parametrize("inner", ["json", "pickle"])
def test_celery_reads_what_we_sign_and_the_reverse(people: People, digest: str, inner: str) -> None:
    celery = pytest.importorskip("celery.security.serialization")
    ours = people.serializer(digest=digest, serializer=inner)
    theirs = people.serializer(celery.SecureSerializer, digest=digest, serializer=inner)
    assert theirs.deserialize(ours.serialize(DATA)) == DATA
    assert ours.deserialize(theirs.serialize(DATA)) == DATA


def test_a_changed_message_is_refused(people: People) -> None:
    serializer = people.serializer()
    parts = base64.b64decode(serializer.serialize(DATA)).split(SEPARATOR, 4)
    assert serializer.deserialize(base64.b64encode(SEPARATOR.join(parts))) == DATA
    parts[-1] = parts[-1].replace(b"1", b"2", 1)
    with pytest.raises(SecurityError, match="Bad signature"):
        serializer.deserialize(base64.b64encode(SEPARATOR.join(parts)))


def test_somebody_who_is_not_trusted_is_refused(people: People) -> None:
    signed = people.serializer().serialize(DATA)
    with pytest.raises(SecurityError, match="Unknown certificate: 'ann "):
        people.serializer(trusts=("bob",)).deserialize(signed)


def test_a_signature_with_somebody_elses_key_is_refused(people: People) -> None:
    """Who names Ann as the signer needs her key."""
    forger = SecureSerializer(
        PrivateKey(read(people.bob["security_key"])), Certificate(read(people.ann["security_certificate"]))
    )
    with pytest.raises(SecurityError, match="Bad signature"):
        people.serializer().deserialize(forger.serialize(DATA))


@pytest.mark.parametrize("junk", [b"", b"[1, 2]", b"not base64!", base64.b64encode(b"a\x00\x01b")])
def test_what_is_no_signed_message_is_refused(people: People, junk: bytes) -> None:
    with pytest.raises(SecurityError, match="Unable to deserialize"):
        people.serializer().deserialize(junk)


def test_without_key_or_certificates(people: People) -> None:
    with pytest.raises(SecurityError, match="no key or no certificate"):
        SecureSerializer().serialize(DATA)
    with pytest.raises(SecurityError, match="no trusted certificates"):
        SecureSerializer().deserialize(people.serializer().serialize(DATA))


def test_what_cannot_be_written(people: People) -> None:
    with pytest.raises(SecurityError, match="Unable to serialize"):
        people.serializer().serialize(object())


# -- keys and certificates


def test_bad_keys(people: People, tmp_path: Path) -> None:
    with pytest.raises(SecurityError, match="Invalid private key"):
        PrivateKey(b"no key")
    locked = read(signer(tmp_path, "locked", password=b"secret")["security_key"])
    with pytest.raises(SecurityError, match="Invalid private key"):
        PrivateKey(locked, "wrong")
    PrivateKey(locked, "secret")
    PrivateKey(locked.decode(), b"secret")


def test_keys_of_another_kind() -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    elliptic = ec.generate_private_key(ec.SECP256R1()).private_bytes(pem, form, serialization.NoEncryption())
    with pytest.raises(SecurityError, match="must be an RSA key"):
        PrivateKey(elliptic)


def test_bad_certificates(people: People) -> None:
    with pytest.raises(SecurityError, match="Invalid certificate"):
        Certificate(b"no certificate")
    with pytest.raises(SecurityError, match="Invalid certificate"):
        Certificate(read(people.ann["security_key"]))


def test_what_a_certificate_says(people: People) -> None:
    cert = Certificate(read(people.ann["security_certificate"]))
    assert cert.get_issuer() == "ann"
    assert cert.get_id() == f"ann {cert.get_serial_number()}"
    assert not cert.has_expired()


def test_stores(people: People, tmp_path: Path) -> None:
    both = FSCertStore(str(people.folder / "*.pem"))
    assert sorted(cert.get_issuer() for cert in both.itercerts()) == ["ann", "bob"]
    one = FSCertStore(people.ann["security_certificate"])
    assert [cert.get_issuer() for cert in one.itercerts()] == ["ann"]
    (tmp_path / "ann.pem").write_bytes(read(people.ann["security_certificate"]))
    assert [cert.get_issuer() for cert in FSCertStore(str(tmp_path)).itercerts()] == ["ann"]
    (tmp_path / "copy.pem").write_bytes(read(people.ann["security_certificate"]))
    with pytest.raises(SecurityError, match="Duplicate certificate: 'ann "):
        FSCertStore(str(tmp_path))
    with pytest.raises(SecurityError, match="nobody would be trusted"):
        FSCertStore(str(tmp_path / "*.none"))
    with pytest.raises(SecurityError, match="Unknown certificate"):
        CertStore()["ann 1"]


def test_an_expired_certificate_is_named(tmp_path: Path) -> None:
    signer(tmp_path, "old", days=-1)
    with pytest.raises(SecurityError, match=r"Expired certificate: 'old \d+' in .*old\.pem"):
        FSCertStore(str(tmp_path / "*.pem"))


# -- setting it up


def test_only_signed_messages_are_accepted_then(signed_app: Callable[..., Celery]) -> None:
    signed_app().setup_security()
    content_type, encoding, body = dumps(DATA, serializer="auth")
    assert (content_type, encoding) == ("application/data", "utf-8")
    assert loads(body, content_type, encoding) == DATA
    with pytest.raises(ContentDisallowed):
        loads("[1]", "application/json", "utf-8")


def test_others_may_be_allowed(signed_app: Callable[..., Celery]) -> None:
    signed_app().setup_security(allowed_serializers=["json"])
    assert loads("[1]", "application/json", "utf-8") == [1]
    with pytest.raises(ContentDisallowed):
        loads("[1]", "application/x-yaml", "utf-8")


def test_the_digest_of_the_settings_is_used(signed_app: Callable[..., Celery], people: People) -> None:
    setup_security(app=signed_app(security_digest="sha512"))
    signed = dumps(DATA, serializer="auth")[2]
    assert people.serializer(digest="sha512").deserialize(signed) == DATA
    with pytest.raises(SecurityError, match="Bad signature"):
        people.serializer(digest="sha256").deserialize(signed)


def test_the_apps_method_takes_sha256_as_celerys_does(signed_app: Callable[..., Celery], people: People) -> None:
    """A project that has set another digest talks to Celery's workers, which take no notice."""
    signed_app(security_digest="sha512").setup_security()
    assert people.serializer(digest="sha256").deserialize(dumps(DATA, serializer="auth")[2]) == DATA


def test_the_current_app_is_the_default(signed_app: Callable[..., Celery]) -> None:
    signed_app().set_current()
    setup_security()
    assert loads(*(dumps(DATA, serializer="auth")[n] for n in (2, 0, 1))) == DATA


@pytest.mark.parametrize("setting", ["security_key", "security_certificate", "security_cert_store"])
def test_a_missing_setting_is_named(signed_app: Callable[..., Celery], setting: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=rf"{setting} not set.*needs the settings(?s:.*)/etc/certs"):
        signed_app(**{setting: None}).setup_security()


@pytest.mark.parametrize(
    ("setting", "value", "fix"),
    [
        ("task_serializer", "json", "task_serializer = 'auth'"),
        ("accept_content", ["auth", "json"], r"accept_content = \['auth'\]"),
    ],
)
def test_signing_that_nobody_enforces_is_refused(
    signed_app: Callable[..., Celery], setting: str, value: Any, fix: str
) -> None:
    with pytest.raises(ImproperlyConfigured, match=fix):
        signed_app(**{setting: value}).setup_security()


@pytest.mark.parametrize("setting", ["security_key", "security_certificate"])
def test_a_file_that_cannot_be_read_is_named(signed_app: Callable[..., Celery], setting: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=rf"{setting}: cannot read '/nowhere/x': No such file"):
        signed_app(**{setting: "/nowhere/x"}).setup_security()


def test_an_unknown_digest(signed_app: Callable[..., Celery]) -> None:
    with pytest.raises(SecurityError, match="there is no digest 'sha257'"):
        signed_app().setup_security(digest="sha257")


def test_without_the_package(signed_app: Callable[..., Celery], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celerylite.security.utils.find_spec", lambda name: None)
    with pytest.raises(ImproperlyConfigured, match=r"pip install 'celerylite\[auth\]'"):
        signed_app().setup_security()


def test_the_body_of_a_chord_waits_signed(signed_app: Callable[..., Celery]) -> None:
    """Who could plant one on the server would have a worker sign a call of any task."""
    app = signed_app(result_backend="redis://nowhere")
    app.setup_security()
    backend: Any = app.backend
    body = {"task": "t.add", "args": [1], "kwargs": {}, "options": {}}
    written = backend._write_body(body)
    assert backend._read(written) == body
    for planted in (b'{"task": "t.add"}', written[:-8], b"\x80\x04N."):
        with pytest.raises((SecurityError, DecodeError)):
            backend._read(planted)
