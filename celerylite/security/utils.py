"""What the parts of signing share: the digest by name, and errors of one kind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from celerylite.exceptions import ImproperlyConfigured, SecurityError

DEFAULT_DIGEST = "sha256"


def require_cryptography() -> None:
    """Raise `ImproperlyConfigured` where the package is missing."""
    if find_spec("cryptography") is None:
        raise ImproperlyConfigured(
            "Signing messages needs the package cryptography: pip install 'celerylite[auth]'"
        )


def get_digest_algorithm(digest: str = DEFAULT_DIGEST) -> Any:
    """The hash algorithm of this name, as `sha256`; raises `SecurityError` for an unknown one."""
    from cryptography.hazmat.primitives import hashes  # optional

    algorithm = getattr(hashes, digest.upper(), None)
    if algorithm is None:
        raise SecurityError(f"security_digest: there is no digest {digest!r}; sha256 and sha512 are common")
    return algorithm()


@contextmanager
def reraise_errors(text: str = "{0!r}", errors: tuple[type[BaseException], ...] = (Exception,)) -> Iterator[None]:
    """Turn these errors into `SecurityError`, whose text is `text` with the error put in."""
    try:
        yield
    except SecurityError:
        raise
    except errors as exc:
        raise SecurityError(text.format(exc)) from exc
