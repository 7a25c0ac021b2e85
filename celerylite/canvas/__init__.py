"""Canvas: signatures (calls as values), and what they are combined to: chain, group, chord, chunks, xmap, xstarmap.

A signature is a dict, so that it travels inside messages; its keys are Celery's. Sending one is `collect` (which
messages are there to send?) and then one trip to the broker.
"""

from __future__ import annotations

from celerylite.canvas.chains import _chain, chain
from celerylite.canvas.chords import _chord, chord
from celerylite.canvas.dispatch import ChordStart, Dispatch
from celerylite.canvas.groups import group
from celerylite.canvas.mapping import _basemap, chunks, xmap, xstarmap
from celerylite.canvas.signatures import Signature, maybe_signature, maybe_subtask, signature, subtask
from celerylite.canvas.stamping import StampingVisitor

__all__ = (
    "ChordStart",
    "Dispatch",
    "Signature",
    "StampingVisitor",
    "_basemap",
    "_chain",
    "_chord",
    "chain",
    "chord",
    "chunks",
    "group",
    "maybe_signature",
    "maybe_subtask",
    "signature",
    "subtask",
    "xmap",
    "xstarmap",
)
