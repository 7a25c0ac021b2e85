"""States and their ranks."""

from __future__ import annotations

from celerylite import states
from celerylite.states import state


def test_a_stronger_state_is_greater() -> None:
    assert state(states.SUCCESS) > state(states.STARTED) > state(states.PENDING)
    assert state(states.PENDING) < state(states.SUCCESS)
    assert state(states.RETRY) <= states.RETRY
    assert state(states.FAILURE) >= states.REVOKED


def test_custom_states_rank_between_failure_and_revoked() -> None:
    assert states.precedence("PROGRESS") == states.NONE_PRECEDENCE
    assert state(states.FAILURE) > "PROGRESS" > state(states.REVOKED)


def test_a_state_is_still_text() -> None:
    assert state("PENDING") == "PENDING"
    assert {state("PENDING")} == {"PENDING"}
