"""The names of the states that a task can be in, sets of them, and which state outranks which.

Any other upper-case name may be used as a custom state; it ranks just above REVOKED.
"""

from __future__ import annotations

__all__ = (
    "PENDING",
    "RECEIVED",
    "STARTED",
    "SUCCESS",
    "FAILURE",
    "REVOKED",
    "RETRY",
    "IGNORED",
    "READY_STATES",
    "UNREADY_STATES",
    "EXCEPTION_STATES",
    "PROPAGATE_STATES",
    "precedence",
    "state",
)

#: Nothing is known of the task: it waits, or it never existed.
PENDING = "PENDING"
#: A worker has the message (seen in events only).
RECEIVED = "RECEIVED"
#: A worker runs it (stored when `task_track_started` is set).
STARTED = "STARTED"
#: It returned.
SUCCESS = "SUCCESS"
#: It raised, and will not be tried again.
FAILURE = "FAILURE"
#: Someone took it back before it ran, or it expired.
REVOKED = "REVOKED"
#: A worker refused the message (seen in events only).
REJECTED = "REJECTED"
#: It failed and will be tried again.
RETRY = "RETRY"
#: It asked that no state be stored.
IGNORED = "IGNORED"

#: From the strongest to the weakest; None stands for every custom state.
PRECEDENCE: list[str | None] = [
    SUCCESS,
    FAILURE,
    None,
    REVOKED,
    STARTED,
    RECEIVED,
    REJECTED,
    RETRY,
    PENDING,
]
PRECEDENCE_LOOKUP: dict[str | None, int] = {name: rank for rank, name in enumerate(PRECEDENCE)}
NONE_PRECEDENCE: int = PRECEDENCE_LOOKUP[None]

READY_STATES = frozenset({SUCCESS, FAILURE, REVOKED})
UNREADY_STATES = frozenset({PENDING, RECEIVED, STARTED, REJECTED, RETRY})
EXCEPTION_STATES = frozenset({RETRY, FAILURE, REVOKED})
PROPAGATE_STATES = frozenset({FAILURE, REVOKED})
ALL_STATES = frozenset({PENDING, RECEIVED, STARTED, SUCCESS, FAILURE, RETRY, REVOKED})


def precedence(state: str) -> int:
    """The rank of a state: the lower the number, the stronger the state."""
    return PRECEDENCE_LOOKUP.get(state, NONE_PRECEDENCE)


class state(str):  # the lower-case name is Celery's
    """A state that compares by rank: `state("PENDING") < state("SUCCESS")`."""

    __slots__ = ()

    def __gt__(self, other: str) -> bool:
        return precedence(self) < precedence(other)

    def __ge__(self, other: str) -> bool:
        return precedence(self) <= precedence(other)

    def __lt__(self, other: str) -> bool:
        return precedence(self) > precedence(other)

    def __le__(self, other: str) -> bool:
        return precedence(self) >= precedence(other)
