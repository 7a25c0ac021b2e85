"""The small commands against a real Redis: call, result, purge, dead, report."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

import celerylite
from celerylite.bin.celery import celery

Run = Callable[..., Result]


@pytest.fixture
def run(redis_app: Any) -> Run:
    """Run a command for the app."""

    def run_it(*words: str, input: str | None = None) -> Result:
        result = CliRunner().invoke(celery, list(words), obj=redis_app, input=input, prog_name="celerylite")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run_it


@pytest.fixture
def set_aside(redis_app: Any) -> list[str]:
    """Sends two tasks that are then set aside; gives their task ids."""
    ids = [redis_app.send_task("no.such", args=(number,)).id for number in range(2)]
    consumer = redis_app.broker.consumer(["celery"], serial=True, lease=15.0)
    for delivery in consumer.fetch(2, 5.0):
        consumer.bury(delivery, "unknown task")
    consumer.flush()
    consumer.close()
    return ids


def length(app: Any, queue: str = "celery") -> int:
    return int(app.broker.queue_length(queue))


def test_call_sends_the_task_and_prints_its_id(run: Run, redis_app: Any, redis_client: Any) -> None:
    result = run(
        "call", "shop.pay", "-a", "[1, 2]", "-k", '{"now": true}', "--countdown", "0", "--queue", "money"
    )
    (raw,) = redis_client.lrange("money", 0, -1)
    headers = json.loads(raw)["headers"]
    assert headers["id"] == result.stdout.strip()
    assert (headers["task"], headers["argsrepr"], headers["kwargsrepr"]) == (
        "shop.pay",
        "[1, 2]",
        "{'now': True}",
    )


@pytest.mark.parametrize(
    "words", [("-a", "x"), ("-a", "{}"), ("-k", "[]"), ("--eta", "soon"), ("--expires", "late")]
)
def test_call_refuses_what_it_cannot_read(run: Run, words: tuple[str, str]) -> None:
    result = run("call", "shop.pay", *words)
    assert result.exit_code == 2
    assert "Invalid value" in result.output


def test_result_prints_the_value(run: Run, redis_app: Any) -> None:
    redis_app.backend.mark_as_done("the-id", {"total": 5})
    assert run("result", "the-id").stdout == "{'total': 5}\n"


def test_result_of_a_task_that_failed(run: Run, redis_app: Any) -> None:
    redis_app.backend.mark_as_failure("the-id", ValueError("boom"), traceback="Traceback …\nValueError: boom\n")
    result = run("result", "the-id")
    assert result.exit_code == 1 and result.stdout == "" and result.stderr.endswith("ValueError: boom\n")
    assert run("result", "the-id", "--traceback").stdout.startswith("Traceback …\nValueError: boom")


def test_result_of_a_task_that_is_not_there(run: Run) -> None:
    result = run("result", "the-id", "-t", "shop.none")
    assert result.exit_code == 2 and "There is no task 'shop.none'." in result.output


def test_purge_asks_first(run: Run, redis_app: Any) -> None:
    redis_app.send_task("shop.pay")
    assert run("purge", input="n\n").exit_code == 1
    assert length(redis_app) == 1
    assert "Purged 1 message from 1 known task queue." in run("purge", input="y\n").stdout
    assert length(redis_app) == 0
    assert run("purge", "-f").stdout == "No messages purged from 1 queue.\n"


def test_purge_only_the_queues_that_are_named(run: Run, redis_app: Any) -> None:
    for queue in ("a", "b", "c"):
        redis_app.send_task("shop.pay", queue=queue)
    assert "Purged 1 message from 1 known task queue." in run("purge", "-f", "-Q", "a,b", "-X", "b").stdout
    assert [length(redis_app, queue) for queue in "abc"] == [0, 1, 1]


def test_dead_without_any(run: Run) -> None:
    assert run("dead", "list").stdout == "No message is set aside.\n"


def test_dead_list_and_show(run: Run, set_aside: list[str]) -> None:
    lines = run("dead", "list").stdout.splitlines()
    assert len(lines) == 2
    assert all("unknown task" in line and "no.such[" in line for line in lines)
    assert len(run("dead", "list", "-n", "1").stdout.splitlines()) == 1
    text = run("dead", "show", set_aside[0]).stdout
    assert f"task id: {set_aside[0]}" in text
    assert '"argsrepr": "(0,)"' in text


def test_dead_retry_one(run: Run, redis_app: Any, set_aside: list[str]) -> None:
    assert run("dead", "retry", set_aside[1]).stdout == "Put 1 message back.\n"
    assert length(redis_app) == 1
    assert len(run("dead", "list").stdout.splitlines()) == 1


def test_dead_retry_all(run: Run, redis_app: Any, set_aside: list[str]) -> None:
    assert run("dead", "retry", "--all").stdout == "Put 2 messages back.\n"
    assert length(redis_app) == 2


def test_dead_retry_needs_to_know_which(run: Run, set_aside: list[str]) -> None:
    assert "Name the messages, or give --all." in run("dead", "retry").output
    assert "No message 'nope' is set aside" in run("dead", "retry", "nope").output


def test_dead_purge(run: Run, set_aside: list[str]) -> None:
    assert run("dead", "purge", input="n\n").exit_code == 1
    assert "Deleted 2 messages." in run("dead", "purge", "-f").stdout
    assert run("dead", "list").stdout == "No message is set aside.\n"


def test_a_hostile_message_does_not_steer_the_terminal(run: Run, redis_app: Any, redis_client: Any) -> None:
    redis_client.lpush("celery", b"\x1b[2J not a message \xff")
    consumer = redis_app.broker.consumer(["celery"], serial=True, lease=15.0)
    (delivery,) = consumer.fetch(1, 5.0)
    consumer.bury(delivery, "cannot be read: \x1b[31m")
    consumer.flush()
    consumer.close()
    listed = run("dead", "list").stdout
    assert "\x1b" not in listed
    shown = run("dead", "show", listed.split()[0]).stdout
    assert "\x1b" not in shown
    assert "\\x1b[2J not a message \\xff" in shown


def test_report_masks_passwords(run: Run, redis_app: Any) -> None:
    redis_app.conf.broker_password = "hush"
    redis_app.conf.broker_url = "redis://:hush@h:1/0"
    text = run("report").stdout
    assert "software ->" in text
    assert "hush" not in text


def test_python_m() -> None:
    command = [sys.executable, "-m", "celerylite", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == celerylite.VERSION_BANNER
