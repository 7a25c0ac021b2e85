"""Transports of kombu that celerylite brings along, and `register`, which makes them known to kombu by name."""

from __future__ import annotations

__all__ = ("register",)

SQLITE = "celerylite.transports.sqlite:Transport"


def register() -> None:
    """Make `sqlite://` known to kombu; whoever uses kombu without celerylite names the class (`SQLITE`)."""
    from kombu.transport import TRANSPORT_ALIASES  # lazy: kombu is imported when the first connection is made

    TRANSPORT_ALIASES.setdefault("sqlite", SQLITE)
