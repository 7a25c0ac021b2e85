"""Processes are killed, stopped and ended on SQLite as on Redis; these are the same tests in another laboratory."""

from __future__ import annotations

import pytest

from tests.crash.test_child_killed import (
    test_early_loses_only_what_runs_and_says_so,
    test_late_loses_nothing,
    test_late_without_reject_fails_what_ran,
    test_long_queue_survives_the_death_of_all_children_at_once,
    test_what_waits_in_a_killed_process_goes_on_at_once,
)
from tests.crash.test_client_killed import test_every_call_that_returned_is_run
from tests.crash.test_eta_killed import (
    test_countdown_longer_than_the_visibility_timeout,
    test_promoting_process_killed_again_and_again,
    test_retry_waits_through_a_kill,
    test_worker_killed_while_500_wait,
    test_worker_killed_while_they_become_due,
)
from tests.crash.test_poison import (
    test_a_task_that_kills_its_parent_too,
    test_early_fails_once,
    test_errors_that_are_no_ordinary_exceptions,
    test_late_default_limit_is_five,
    test_late_is_set_aside_after_the_limit,
    test_many_poisons_among_many_tasks,
)
from tests.crash.test_tree_killed import (
    test_a_live_worker_keeps_its_long_task,
    test_a_task_that_holds_the_interpreter_lock_keeps_its_lease,
    test_kills_while_tasks_trickle_in,
    test_many_kills_while_draining,
    test_recovery_within_the_lease,
    test_sigterm_to_the_whole_group,
    test_two_kills_while_draining,
)

__all__ = [
    "test_a_live_worker_keeps_its_long_task",
    "test_a_task_that_holds_the_interpreter_lock_keeps_its_lease",
    "test_a_task_that_kills_its_parent_too",
    "test_countdown_longer_than_the_visibility_timeout",
    "test_early_fails_once",
    "test_early_loses_only_what_runs_and_says_so",
    "test_errors_that_are_no_ordinary_exceptions",
    "test_every_call_that_returned_is_run",
    "test_kills_while_tasks_trickle_in",
    "test_late_default_limit_is_five",
    "test_late_is_set_aside_after_the_limit",
    "test_late_loses_nothing",
    "test_late_without_reject_fails_what_ran",
    "test_long_queue_survives_the_death_of_all_children_at_once",
    "test_many_kills_while_draining",
    "test_many_poisons_among_many_tasks",
    "test_promoting_process_killed_again_and_again",
    "test_recovery_within_the_lease",
    "test_retry_waits_through_a_kill",
    "test_sigterm_to_the_whole_group",
    "test_two_kills_while_draining",
    "test_what_waits_in_a_killed_process_goes_on_at_once",
    "test_worker_killed_while_500_wait",
    "test_worker_killed_while_they_become_due",
]

pytestmark = [pytest.mark.crash, pytest.mark.slow]
