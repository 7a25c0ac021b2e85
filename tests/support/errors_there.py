"""An exception that only the worker imports, at the moment it raises it."""

from __future__ import annotations


class There(Exception):
    """The client meets it by name only."""
