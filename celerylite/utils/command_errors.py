"""The error that ends a command with an exit code of its own; not in `exceptions`, because it needs click."""

from __future__ import annotations

from click.exceptions import ClickException

__all__ = ("CeleryCommandException", "ClickException")


class CeleryCommandException(ClickException):
    """A command failed; `exit_code` is what the process returns."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]
