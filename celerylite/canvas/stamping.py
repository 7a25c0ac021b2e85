"""Stamps: headers that mark the calls of a canvas, and visitors that choose them while it is walked."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Mapping
from typing import Any

from celerylite.utils.functional import maybe_list

__all__ = ("StampingVisitor", "with_stamps")

Stamps = dict[str, Any]


class StampingVisitor(metaclass=ABCMeta):
    """Chooses stamps for the parts of a canvas (`sig.stamp(visitor)`).

    Each method is given a part and the stamps from above it, and returns further stamps for the part and what is in
    it. Where the key `stamped_headers` names some of the keys that are returned, only those are stamps.
    """

    @abstractmethod
    def on_signature(self, sig: Any, **headers: Any) -> Stamps:
        """Stamps for a single task."""

    def on_group_start(self, group: Any, **headers: Any) -> Stamps:
        """Stamps for the members of a group."""
        return {}

    def on_group_end(self, group: Any, **headers: Any) -> None:  # noqa: B027 (most visitors need none)
        """All members have been stamped."""

    def on_chain_start(self, chain: Any, **headers: Any) -> Stamps:
        """Stamps for the steps of a chain."""
        return {}

    def on_chain_end(self, chain: Any, **headers: Any) -> None:  # noqa: B027
        """All steps have been stamped."""

    def on_chord_header_start(self, sig: Any, **header: Any) -> Stamps:
        """Stamps for a chord; its header is a group."""
        group = sig.TYPES["group"]
        if not isinstance(sig.tasks, group):
            sig.tasks = group(sig.tasks, app=sig._app)
        return self.on_group_start(sig.tasks, **header)

    def on_chord_header_end(self, sig: Any, **header: Any) -> None:
        """The header has been stamped."""
        self.on_group_end(sig.tasks, **header)

    def on_chord_body(self, sig: Any, **header: Any) -> Stamps:
        """Stamps for a chord's body."""
        return {}

    def on_callback(self, callback: Any, **header: Any) -> Stamps:
        """Stamps for a linked callback."""
        return {}

    def on_errback(self, errback: Any, **header: Any) -> Stamps:
        """Stamps for a linked errback."""
        return {}


def with_stamps(headers: Mapping[str, Any], more: Mapping[str, Any] | None) -> Stamps:
    """Stamps, with further ones; `stamped_headers` names them all."""
    more = more or {}
    names = list(dict.fromkeys((*_names(headers), *_names(more))))
    return {**headers, **more, "stamped_headers": names}


def _names(headers: Mapping[str, Any]) -> list[str]:
    return list(maybe_list(headers.get("stamped_headers")) or [key for key in headers if key != "stamped_headers"])
