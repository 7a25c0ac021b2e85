"""The benchmarks, in the order in which they are run."""

from __future__ import annotations

from cases import beat, canvas, drain, eta, footprint, publish, rabbitmq, roundtrip
from support import Case

CASES: tuple[Case, ...] = (
    *publish.CASES, *drain.CASES, *roundtrip.CASES, *canvas.CASES, *eta.CASES, *footprint.CASES, *beat.CASES,
    *rabbitmq.CASES,
)
