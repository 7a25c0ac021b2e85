"""An entry on its way from tick to tick, and a tick that is about to be claimed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from celerylite.beat.entry import event_t
from celerylite.beat.runs import Run
from celerylite.brokers.values import Claim


@dataclass(slots=True)
class Plan:
    """One entry on its way from tick to tick."""

    entry: Any
    #: Its note as we know it; None where there is none.
    seen: bytes | None
    run: Run
    #: Its place in the heap; others that mention it are out of date.
    event: event_t | None = None


@dataclass(slots=True)
class Firing:
    """A tick that is about to be claimed."""

    plan: Plan
    claim: Claim
    run: Run
    #: The tick after it, where that is known.
    next: float | None
    #: Whether a task is sent for it.
    sends: bool
