"""Flower 2.2, unmodified: its pages in a real browser, and its API, on our worker. Flower itself runs on celerylite."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import OURS, Site
from tests.support.browser import Browser
from tests.support.redis_server import free_port
from tests.support.waiting import wait_for
from tests.support.worker import WorkerProcess

pytestmark = pytest.mark.slow

NAME = "w@here"


class Flower:
    """A running Flower."""

    def __init__(self, site: Site, directory: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        env = site.environment(None, "", {"CELERYLITE_AS_CELERY": "1", "FLOWER_UNAUTHENTICATED_API": "true"})
        port = self.url.rpartition(":")[2]
        argv = [sys.executable, "-m", "celerylite", "-A", "tests.support.app", "flower", "--address=127.0.0.1"]
        self.process = WorkerProcess(
            None, program="celery", argv=[*argv, f"--port={port}"], env=env, log_file=directory / "flower.log"
        ).start()
        wait_for(lambda: self.process.returncode is not None or self._answers(), 60, "Flower's port")
        assert self.process.returncode is None, self.process.tail()

    def _answers(self) -> bool:
        try:
            return bool(self.get("/healthcheck"))
        except OSError:
            return False

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return answer.read().decode()

    def api(self, path: str, **params: Any) -> Any:
        return json.loads(self.get(f"/api/{path}?{urllib.parse.urlencode(params)}"))

    def post(self, path: str, body: Any = None, **params: Any) -> Any:
        data = json.dumps(body).encode() if body is not None else urllib.parse.urlencode(params).encode()
        request = urllib.request.Request(f"{self.url}/api/{path}", data=data, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as exc:
            raise AssertionError(f"{path}: {exc} {exc.read()!r}") from None

    def state_of(self, task_id: str) -> str | None:
        try:
            return self.api(f"task/info/{task_id}")["state"]
        except urllib.error.HTTPError:
            return None  # not heard of yet

    def wait_state(self, task_id: str, state: str) -> None:
        wait_for(lambda: self.state_of(task_id) == state, 30, f"{state} of {task_id} in Flower")


@pytest.fixture(scope="module")
def worker(module_site: Site) -> WorkerProcess:
    return module_site.worker("-c", "2", "-E", "-n", NAME)


@pytest.fixture(scope="module")
def flower(module_site: Site, worker: WorkerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flower]:
    if importlib.util.find_spec("flower") is None:
        reason = "Flower is not installed: pip install --no-deps flower; pip install tornado prometheus_client humanize"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    flower = Flower(module_site, tmp_path_factory.mktemp("flower"))
    wait_for(lambda: NAME in flower.api("workers"), 60, "the worker in Flower")
    yield flower
    flower.process.kill_tree()


@pytest.fixture(scope="module")
def browser(flower: Flower, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def tasks(module_site: Site, flower: Flower) -> Any:
    """Tasks of a client that tells of its calls."""
    return module_site.client(OURS, task_send_sent_event=True).tasks


def test_the_page_of_workers(browser: Browser, flower: Flower) -> None:
    browser.goto(f"{flower.url}/workers")
    browser.wait_for_text(NAME, "Online")
    assert browser.run("document.querySelector('#workers-online').innerText.trim()") == "1"


def test_the_page_of_a_worker(browser: Browser, flower: Flower) -> None:
    browser.goto(f"{flower.url}/worker/{NAME}")
    browser.wait_for_text(NAME, "Pool", "Queues", "Max concurrency")


def test_the_pages_of_tasks(browser: Browser, flower: Flower, tasks: Any) -> None:
    good = tasks["t.add"].delay(20, 22)
    bad = tasks["t.fail"].delay("ValueError", "as foreseen")
    flower.wait_state(good.id, "SUCCESS")
    flower.wait_state(bad.id, "FAILURE")
    browser.goto(f"{flower.url}/tasks")
    browser.wait_for_text("t.add", "SUCCESS", "t.fail", "FAILURE", NAME)
    browser.goto(f"{flower.url}/task/{good.id}")
    browser.wait_for_text("t.add", "(20, 22)", "42", NAME, "SUCCESS")
    browser.goto(f"{flower.url}/task/{bad.id}")
    browser.wait_for_text("as foreseen", "Traceback", "FAILURE")


def test_the_page_of_the_broker(browser: Browser, flower: Flower, worker: WorkerProcess) -> None:
    browser.goto(f"{flower.url}/broker")
    browser.wait_for_text("celery", "0")


def test_a_task_is_ended_on_its_page(browser: Browser, flower: Flower, tasks: Any, module_site: Site) -> None:
    long = tasks["t.work"].delay(gate="never")
    flower.wait_state(long.id, "STARTED")
    browser.goto(f"{flower.url}/task/{long.id}")
    browser.wait_for_text("STARTED")
    browser.click("#task-terminate")
    flower.wait_state(long.id, "REVOKED")
    assert long.state == "REVOKED"


def test_the_api_tells_what_there_is(flower: Flower, tasks: Any) -> None:
    result = tasks["t.add"].delay(1, 2)
    flower.wait_state(result.id, "SUCCESS")
    info = flower.api(f"task/info/{result.id}")
    assert (info["name"], info["args"], info["result"], info["worker"]) == ("t.add", "(1, 2)", "3", NAME)
    assert info["sent"] and info["received"] and info["started"] and info["runtime"] is not None
    assert result.id in flower.api("tasks", taskname="t.add")
    assert "t.add" in flower.api("task/types")["task-types"]
    assert flower.api("workers", status=1) == {NAME: True}
    assert {"name": "celery", "messages": 0} in flower.api("queues/length")["active_queues"]
    details = flower.api("workers", refresh=1, workername=NAME)[NAME]
    assert "t.add" in details["registered"] and details["stats"]["pool"]["max-concurrency"] == 2
    assert f'flower_events_total{{task="t.add",type="task-succeeded",worker="{NAME}"}}' in flower.get("/metrics")


def test_the_api_calls_and_revokes(flower: Flower, tasks: Any) -> None:
    called = flower.post("task/async-apply/t.add", {"args": [2, 2]})
    flower.wait_state(called["task-id"], "SUCCESS")
    later = tasks["t.add"].apply_async((1, 1), countdown=600)
    assert later.id in flower.post(f"task/revoke/{later.id}")["message"]
    wait_for(lambda: later.state == "REVOKED", 30, "REVOKED")


def test_the_api_sets_limits_and_the_pool(flower: Flower, worker: WorkerProcess) -> None:
    flower.post("task/rate-limit/t.add", workername=NAME, ratelimit="600/m")
    flower.post("task/timeout/t.add", workername=NAME, soft=30, hard=60)
    before = len(worker.children())
    flower.post(f"worker/pool/grow/{NAME}", n=1)
    wait_for(lambda: len(worker.children()) == before + 1, 30, "another process")
    flower.post(f"worker/pool/shrink/{NAME}", n=1)
    wait_for(lambda: len(worker.children()) == before, 30, "one process less")
    flower.post(f"worker/queue/add-consumer/{NAME}", queue="more")
    flower.post(f"worker/queue/cancel-consumer/{NAME}", queue="more")


def test_the_worker_is_shut_down_on_its_page(browser: Browser, flower: Flower, worker: WorkerProcess) -> None:
    browser.goto(f"{flower.url}/worker/{NAME}")
    browser.wait_for_text(NAME)
    browser.click("#worker-shutdown")
    assert worker.wait(30) == 0
    wait_for(lambda: flower.api("workers", status=1) == {NAME: False}, 30, "Flower to notice")
    browser.goto(f"{flower.url}/workers")
    browser.wait_for_text(NAME, "Offline")
