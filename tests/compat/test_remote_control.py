"""Every remote control command, sent to a worker of Celery's and to one of ours: the same keys, types and words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from tests.conftest import OURS, THEIRS, Site, Workers
from tests.support.ledger import Ledger
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

HOST = "w1@h"
#: As ids stand in answers.
RUNNING, LATER, HELD = "<running>", "<later>", "<held>"


class Both(NamedTuple):
    """A worker of each library, alone on a database each, and Celery's client for both."""

    theirs: Site
    ours: Site
    clients: dict[str, Any]
    #: library -> name -> id of a task
    tasks: dict[str, dict[str, str]]

    def ask(self, lib: str, command: str, arguments: dict[str, Any]) -> Any:
        """The worker's answer; None where it gives none."""
        options = {"timeout": 10.0 if command != "shutdown" else 1.0, "limit": 1}
        answers = self.clients[lib].control.broadcast(command, arguments, reply=True, **options)
        return answers[0][HOST] if answers else "no answer"

    def site(self, lib: str) -> Site:
        return self.theirs if lib == THEIRS else self.ours


@pytest.fixture(scope="module")
def both(
    new_redis_url: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Both]:  # fmt: skip
    sites, clients, tasks = {}, {}, {}
    for lib in (THEIRS, OURS):
        directory = tmp_path_factory.mktemp(lib)
        site = sites[lib] = Site(new_redis_url(), Ledger(directory / "ledger"), Workers(directory))
        site.worker("-c", "1", "-n", HOST, program=lib, ready=False)
        clients[lib] = site.client(THEIRS)
    for lib in (THEIRS, OURS):
        sites[lib].workers.started[0].wait_ready()
        tasks[lib] = _occupy(sites[lib], clients[lib])
    yield Both(sites[THEIRS], sites[OURS], clients, tasks)
    for site in sites.values():
        site.close()


def _occupy(site: Site, client: Any) -> dict[str, str]:
    """A task that is not due, one that runs and one that waits behind it."""
    later = client.tasks["t.add"].apply_async((1, 2), countdown=1000).id
    wait_for(lambda: client.control.broadcast("scheduled", reply=True, timeout=2, limit=1)[0][HOST], 20)
    running = client.tasks["t.work"].apply_async((), {"gate": "gate"}).id
    wait_for(lambda: site.ledger.starts(), 20)
    held = client.tasks["t.work"].apply_async((), {"gate": "gate"}).id
    return {LATER: later, RUNNING: running, HELD: held}


def shape(value: Any) -> Any:
    """The value with a type in the place of each plain value, and lists by their first entry."""
    if isinstance(value, dict):
        return {key: shape(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def translated(value: Any, table: dict[str, str]) -> Any:
    """`value` with what the table has in the place of its keys."""
    if isinstance(value, dict):
        return {table.get(key, key): translated(entry, table) for key, entry in value.items()}
    if isinstance(value, list):
        return [translated(entry, table) for entry in value]
    if isinstance(value, str):
        for name, other in table.items():
            value = value.replace(name, other)
    return value


def answers(both: Both, command: str, arguments: dict[str, Any]) -> tuple[Any, Any]:
    """Theirs and ours; ids of tasks stand as their names in arguments and answers."""
    got = []
    for lib in (THEIRS, OURS):
        ids = both.tasks[lib]
        answer = both.ask(lib, command, translated(arguments, ids))
        got.append(translated(answer, {task_id: name for name, task_id in ids.items()}))
    return got[0], got[1]


#: Commands whose answers are the same to the letter, in an order in which they make sense.
SAME: list[tuple[str, dict[str, Any]]] = [
    ("ping", {}),
    ("ping", {"unknown": 1}),
    ("revoked", {}),
    ("active_queues", {}),
    ("hello", {}),
    ("hello", {"from_node": HOST}),
    ("objgraph", {}),
    ("no_such_command", {}),
    ("query_task", {"ids": ["nobody"]}),
    ("query_task", {"task_id": "nobody"}),
    ("query_task", {}),
    ("rate_limit", {"task_name": "t.add", "rate_limit": "5/m"}),
    ("rate_limit", {"task_name": "t.add", "rate_limit": 2.5}),
    ("rate_limit", {"task_name": "t.add", "rate_limit": 0}),
    ("rate_limit", {"task_name": "t.add", "rate_limit": None}),
    ("rate_limit", {"task_name": "t.add", "rate_limit": "abc"}),
    ("rate_limit", {"task_name": "t.nobody", "rate_limit": "5/m"}),
    ("rate_limit", {"task_name": "t.add"}),
    ("time_limit", {"task_name": "t.add", "hard": 10, "soft": 5}),
    ("time_limit", {"task_name": "t.add", "soft": 5}),
    ("time_limit", {"task_name": "t.add"}),
    ("time_limit", {"task_name": "t.nobody", "hard": 10}),
    ("add_consumer", {"queue": "q2"}),
    ("add_consumer", {"queue": "q2"}),
    ("add_consumer", {"queue": "q3", "exchange": "e3", "exchange_type": "topic", "routing_key": "a.#"}),
    ("add_consumer", {}),
    ("active_queues", {}),
    ("cancel_consumer", {"queue": "q2"}),
    ("cancel_consumer", {"queue": "q3"}),
    ("cancel_consumer", {"queue": "nobody"}),
    ("cancel_consumer", {}),
    ("active_queues", {}),
    ("pool_restart", {}),
    ("autoscale", {"max": 3, "min": 1}),
    ("enable_events", {}),
    ("enable_events", {}),
    ("disable_events", {}),
    ("disable_events", {}),
    ("heartbeat", {}),
    ("election", {"id": "1"}),
    ("revoke", {"task_id": "a"}),
    ("revoke", {"task_id": []}),
    ("revoke", {"task_id": None}),
    ("revoke", {}),
    ("revoke", {"task_id": "b", "terminate": True}),
    ("revoke", {"task_id": ["c"], "terminate": True, "signal": "KILL"}),
    ("revoke", {"task_id": "d", "terminate": True, "signal": "NOPE"}),
    ("revoke_by_stamped_headers", {"headers": {"a": "b"}}),
    ("revoke_by_stamped_headers", {"headers": {"a": ["b", "c"]}, "terminate": True}),
    ("revoke_by_stamped_headers", {}),
    ("terminate", {"signal": "TERM", "task_id": "e"}),
    ("terminate", {"task_id": "e"}),
    ("terminate", {"signal": "KILLX", "task_id": "e"}),
]


def test_answers_that_are_the_same(both: Both) -> None:
    wrong = []
    for command, arguments in SAME:
        theirs, ours = answers(both, command, arguments)
        if theirs != ours:
            wrong.append(f"{command} {arguments}\n    theirs: {theirs}\n    ours:   {ours}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "command, arguments",
    [
        ("clock", {}),
        ("active", {}),
        ("active", {"safe": True}),
        ("dump_active", {}),
        ("scheduled", {}),
        ("query_task", {"ids": [RUNNING, LATER]}),
        ("query_task", {"ids": RUNNING}),
        ("memsample", {}),
        ("hello", {"from_node": "w9@h", "revoked": {"theirs": 1.0}}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_answers_of_the_same_shape(both: Both, command: str, arguments: dict[str, Any]) -> None:
    theirs, ours = answers(both, command, arguments)
    assert shape(ours) == shape(theirs)


def test_what_runs(both: Both) -> None:
    """Everything but times and processes is the same."""
    theirs, ours = answers(both, "active", {})
    for answer in (theirs, ours):
        assert [entry.pop("time_start") > 1e9 and entry.pop("worker_pid") > 1 for entry in answer] == [True]
    assert ours == theirs
    theirs, ours = answers(both, "scheduled", {})
    for answer in (theirs, ours):
        assert answer[0].pop("eta").endswith("+00:00")
    assert ours == theirs


def test_statistics(both: Both) -> None:
    theirs, ours = answers(both, "stats", {})
    assert ours["total"] == theirs["total"] == {"t.work": 1}
    assert ours["pid"] == both.ours.workers.started[0].pid
    assert ours["pool"].keys() == theirs["pool"].keys()
    assert shape({**ours, "pool": 0}) == shape({**theirs, "pool": 0})
    assert ours["broker"].pop("port") and theirs["broker"].pop("port")
    assert {**ours["broker"], "virtual_host": 0} == {**theirs["broker"], "virtual_host": 0}


def test_registered_tasks(both: Both) -> None:
    for arguments in ({}, {"taskinfoitems": ["name", "ignore_result"]}, {"builtins": True}):
        theirs, ours = answers(both, "registered", arguments)
        assert set(theirs) <= set(ours)


def test_settings(both: Both) -> None:
    theirs, ours = answers(both, "conf", {})
    assert {"broker_url", "result_backend"} <= ours.keys()
    assert set(theirs) - set(ours) <= {"deprecated_settings", "worker_disable_prefetch", "include"}
    theirs, ours = answers(both, "conf", {"with_defaults": True})
    assert ours["broker_password"] == theirs["broker_password"] == "********"


def test_report_and_memory(both: Both) -> None:
    for command in ("report", "memdump"):
        theirs, ours = answers(both, command, {})
        assert shape(ours) == shape(theirs)
    assert "software -> celerylite:" in ours["ok"] if isinstance(ours, dict) else "rss (end)" in ours


def test_whom_a_request_is_for(both: Both) -> None:
    for lib in (THEIRS, OURS):
        ping = both.clients[lib].control.broadcast
        assert ping("ping", reply=True, timeout=5, destination=[HOST]) == [{HOST: {"ok": "pong"}}]
        assert ping("ping", reply=True, timeout=5, limit=1, pattern="w*", matcher="glob") == [{HOST: {"ok": "pong"}}]
        assert ping("ping", reply=True, timeout=5, limit=1, pattern="w.@", matcher="pcre") == [{HOST: {"ok": "pong"}}]
        assert ping("ping", reply=True, timeout=0.3, destination=["other@h"]) == []


def test_terminate_and_shutdown(both: Both) -> None:
    """Last, for nothing runs afterwards."""
    theirs, ours = answers(both, "revoke", {"task_id": RUNNING, "terminate": True})
    assert (theirs, ours) == ({"ok": f"terminate: {RUNNING}"},) * 2
    for lib in (THEIRS, OURS):
        result = both.clients[lib].AsyncResult(both.tasks[lib][RUNNING])
        wait_for(lambda result=result: result.state == "REVOKED", 20, f"{lib}: REVOKED")
        both.site(lib).open("gate", 2)
    assert answers(both, "pool_grow", {"n": 1}) == ({"ok": "pool will grow"},) * 2
    assert answers(both, "shutdown", {}) == ("no answer", "no answer")
    for lib in (THEIRS, OURS):
        assert both.site(lib).workers.started[0].wait(20) == 0


def test_election_in_a_mixed_fleet(site: Site) -> None:
    """Celery's worker hears that ours are there, and leaves it to them."""
    theirs = site.worker("-c", "1", "-n", "theirs@h", program=THEIRS, loglevel="DEBUG")
    ours = [site.worker("-c", "1", "-n", f"ours{n}@h", ready=False) for n in (1, 2)]
    theirs.wait_log("ours[12]@h joined the party", 30, count=2)
    client = site.client(THEIRS)
    assert len(client.control.ping(timeout=10, limit=3)) == 3
    client.control.election("election-1", "task", action=client.tasks["t.work"].s())
    wait_for(lambda: sum("I won the election" in worker.log() for worker in ours) == 1, 20, "one of ours to be elected")
    wait_for(lambda: sum("@h elected" in worker.log() for worker in ours) == 1, 20, "the other one to say so")
    site.ledger.wait("start")
    assert len(client.control.ping(timeout=10, limit=3)) == 3
    assert client.tasks["t.add"].delay(1, 1).get(timeout=20) == 2
    assert site.ledger.count("start") == 1
