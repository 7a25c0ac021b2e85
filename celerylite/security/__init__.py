"""Signed messages: the serializer `auth`, whose bytes are those of Celery's.

Needs the package cryptography (`pip install 'celerylite[auth]'`). See docs/security.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from celerylite._state import get_current_app
from celerylite.exceptions import ImproperlyConfigured
from celerylite.security.utils import require_cryptography

if TYPE_CHECKING:
    from celerylite.app.base import Celery

__all__ = ("disable_untrusted_serializers", "setup_security")

INCOMPLETE = """\
Messages cannot be signed: {missing} not set. The serializer 'auth' needs the settings

    security_key            the file of the private key
    security_certificate    the file of its certificate
    security_cert_store     the certificates that are trusted, as /etc/certs/*.pem
"""

NOT_ENFORCED = """\
Signed messages are of no use while unsigned ones are accepted too. Set

    {settings}
"""


def setup_security(
    allowed_serializers: Iterable[str] | None = None,
    key: str | None = None,
    key_password: bytes | str | None = None,
    cert: str | None = None,
    store: str | None = None,
    digest: str | None = None,
    serializer: str = "json",
    app: Celery | None = None,
) -> None:
    """Sign what this process sends, and accept only what a trusted key has signed.

    `key`, `cert` are paths, `store` is a path or a pattern of paths; each defaults to its setting (`security_key`,
    `security_key_password`, `security_certificate`, `security_cert_store`, `security_digest`). Every serializer but
    `auth` and those in `allowed_serializers` is refused from then on. `serializer` is what the signed data is made
    with. Raises `ImproperlyConfigured` where something is missing, `SecurityError` for files that do not fit.
    """
    require_cryptography()
    from celerylite.security.serialization import register_auth  # it imports cryptography

    app = app or get_current_app()
    conf = app.conf
    _check_enforced(conf)
    key, cert, store = key or conf.security_key, cert or conf.security_certificate, store or conf.security_cert_store
    missing = [
        name
        for name, value in (("security_key", key), ("security_certificate", cert), ("security_cert_store", store))
        if not value
    ]
    if missing:
        raise ImproperlyConfigured(INCOMPLETE.format(missing=", ".join(missing)))
    assert key and cert and store
    register_auth(
        _read(key, "security_key"), key_password or conf.security_key_password,
        _read(cert, "security_certificate"), store, digest or conf.security_digest, serializer,
    )  # fmt: skip
    disable_untrusted_serializers({*(allowed_serializers or ()), "auth"})


def disable_untrusted_serializers(whitelist: Iterable[str] | None = None) -> None:
    """Refuse messages that were made by any serializer but these."""
    from kombu.serialization import disable_insecure_serializers  # kombu is loaded late

    disable_insecure_serializers(allowed=list(whitelist or ()))


def _check_enforced(conf: Any) -> None:
    wanted = [
        text
        for fits, text in (
            (conf.task_serializer == "auth", "task_serializer = 'auth'"),
            (set(conf.accept_content or ()) == {"auth"}, "accept_content = ['auth']"),
        )
        if not fits
    ]
    if wanted:
        raise ImproperlyConfigured(NOT_ENFORCED.format(settings="\n    ".join(wanted)))


def _read(path: str, setting: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as exc:
        raise ImproperlyConfigured(f"{setting}: cannot read {path!r}: {exc.strerror}") from exc
