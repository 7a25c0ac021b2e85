"""A project's own steps in real workers: where and when they run, and that their consumers outlive the broker."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Consumer, Exchange, Queue

from celerylite import Celery, bootsteps
from celerylite.contrib.testing.worker import start_worker as worker_in_thread
from tests.conftest import Workers
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

#: As in Celery's guide, with a project's `from celery import …` in mind; what happens is noted in a file.
PROJECT = '''
import os

import click
import redis
from kombu import Consumer, Exchange, Queue

from celerylite import Celery, bootsteps

URL = os.environ["STEPS_URL"]
app = Celery("stepsproj", broker=URL, backend=URL, set_as_current=False)
app.user_options["worker"].add(click.Option(("--greeting",), default="hello", help="What is answered."))
custom = Queue("custom", Exchange("custom"), "routing_key")


def note(*words):
    with open(os.environ["STEPS_NOTES"], "a") as file:
        file.write(" ".join(map(str, (*words, os.getpid()))) + "\\n")


def answer(key, text):
    with redis.Redis.from_url(URL) as client:
        client.rpush(key, text)


class Answering(bootsteps.ConsumerStep):
    def __init__(self, c, greeting=None, **options):
        super().__init__(c, **options)
        self.greeting = greeting

    def get_consumers(self, channel):
        note("consumes")
        return [Consumer(channel, queues=[custom], callbacks=[self.handle], accept=["json"])]

    def handle(self, body, message):
        message.ack()
        if "who" not in body:
            raise TimeoutError("nobody")  # neither the connection's nor that of a wait for messages
        answer("answers", self.greeting + " " + body["who"])


class Noting:
    def start(self, parent):
        note(self.alias, "start")

    def stop(self, parent):
        note(self.alias, "stop")

    def shutdown(self, parent):
        note(self.alias, "shutdown")


class Inner(Noting, bootsteps.StartStopStep):
    requires = {"celery.worker.components:Pool"}


class Outer(Noting, bootsteps.StartStopStep):
    requires = {Inner}


class Beside(Noting, bootsteps.StartStopStep):
    requires = (Answering, "celery.worker.consumer.tasks:Tasks")


class Ticking(bootsteps.StartStopStep):
    requires = {"celery.worker.components:Timer"}

    def __init__(self, worker, **kwargs):
        self.tref = worker.timer.call_repeatedly(0.1, self.tick, (worker,), priority=10)

    def tick(self, worker):
        answer("ticks", "%s %d" % (worker.hostname, len(worker.active_requests)))

    def stop(self, worker):
        self.tref.cancel()


app.steps["worker"].update([Outer, Ticking])
app.steps["consumer"].add(Beside)


class Failing(bootsteps.StartStopStep):
    requires = {Inner}

    def start(self, worker):
        raise KeyError("no such thing")


class Circle(bootsteps.Step):
    pass


Circle.requires = (Circle,)

for name in os.environ.get("STEPS_MORE", "").split():
    app.steps["worker"].add(globals()[name])
'''


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """One of our own, which is killed."""
    server = RedisServer().start()
    yield server
    server.close()


class Project:
    """The project above, and its workers."""

    def __init__(self, directory: Path, server: RedisServer, workers: Workers) -> None:
        self.directory, self.server, self.workers = directory, server, workers
        self.notes = directory / "notes"
        self.notes.touch()
        (directory / "stepsproj.py").write_text(PROJECT)

    def worker(self, *options: str, more: str = "", **given: Any) -> Any:
        env = {
            "STEPS_URL": self.server.url(), "STEPS_NOTES": str(self.notes), "STEPS_MORE": more,
            "PYTHONPATH": f"{Path(__file__).resolve().parents[2]}{os.pathsep}{self.directory}",
        }  # fmt: skip
        return self.workers("stepsproj", *options, env=env, cwd=self.directory, **given)

    def noted(self) -> list[str]:
        """What was done, without the process that did it."""
        return [line.rpartition(" ")[0] for line in self.notes.read_text().splitlines()]

    def pop(self, key: str) -> str:
        """The next answer under this key; waits for it."""
        with self.server.client() as client:
            found: Any = client.blpop([key], timeout=60)
        assert found is not None, f"nothing under {key}"
        return bytes(found[1]).decode()

    def ask(self, who: str) -> None:
        with Connection(self.server.url()) as connection:
            exchange = Exchange("custom")
            producer = connection.Producer(serializer="json")
            queue = Queue("custom", exchange, "routing_key")
            producer.publish({"who": who}, exchange=exchange, routing_key="routing_key", declare=[queue])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, server: RedisServer, start_module_worker: Workers) -> Project:
    return Project(tmp_path_factory.mktemp("steps"), server, start_module_worker)


@pytest.fixture(scope="module")
def worker(project: Project) -> Any:
    return project.worker("-c", "1", "-n", "w@here", "--greeting", "good day")


def test_a_consumer_answers(project: Project, worker: Any) -> None:
    project.ask("Ann")
    assert project.pop("answers") == "good day Ann"


def test_a_message_that_cannot_be_handled_is_logged(project: Project, worker: Any) -> None:
    with Connection(project.server.url()) as connection:
        connection.Producer(serializer="json").publish({}, exchange="custom", routing_key="routing_key")
    worker.wait_log(r"A consumer step failed: TimeoutError\('nobody'\)", 30)
    project.ask("Bob")
    assert project.pop("answers") == "good day Bob"
    assert "connection to broker lost" not in worker.log()


def test_the_timer(project: Project, worker: Any) -> None:
    assert project.pop("ticks") == "w@here 0"
    assert project.pop("ticks") == "w@here 0"


def test_steps_run_in_one_process_that_is_not_the_main_one(project: Project, worker: Any) -> None:
    assert project.noted()[:4] == ["Inner start", "Outer start", "consumes", "Beside start"]
    pids = {line.rpartition(" ")[2] for line in project.notes.read_text().splitlines()}
    assert len(pids) == 1 and pids != {str(worker.pid)}


def test_consumers_outlive_the_broker(project: Project, worker: Any) -> None:
    before = len(project.noted())
    project.server.kill()
    worker.wait_log("Consumer steps: connection to broker lost", 60)
    project.server.start()
    wait_for(lambda: project.noted()[before:].count("Beside start") == 1, 60, "the consumer steps to start again")
    noted = project.noted()[before:]
    assert noted[0] == "Beside stop" and noted[-2:] == ["consumes", "Beside start"]
    project.ask("Eve")
    assert project.pop("answers") == "good day Eve"


def test_another_control_process_starts_them_anew(project: Project, worker: Any) -> None:
    notes = project.notes.read_text().splitlines()
    os.kill(int(notes[-1].rpartition(" ")[2]), signal.SIGKILL)
    wait_for(lambda: len(project.noted()) == len(notes) + 4, 60, "the steps to start again")
    assert project.noted()[len(notes) :] == ["Inner start", "Outer start", "consumes", "Beside start"]
    project.ask("Ida")
    assert project.pop("answers") == "good day Ida"


def test_the_order_of_a_warm_shutdown(project: Project, worker: Any) -> None:
    """Last of this worker."""
    before = len(project.noted())
    assert worker.terminate(60) == 0
    assert project.noted()[before:] == ["Beside stop", "Outer stop", "Inner stop", "Beside shutdown"]


def test_a_start_that_fails_ends_the_worker_in_order(project: Project) -> None:
    before = len(project.noted())
    worker = project.worker("-c", "1", more="Failing", ready=False)
    assert worker.wait(60) == 1
    assert "Step stepsproj.Failing failed to start: KeyError('no such thing')" in worker.log()
    assert " ready." not in worker.log()
    noted = project.noted()[before:]
    assert noted[0] == "Inner start" and noted[-1] == "Inner stop" and "Beside start" not in noted


def test_a_circle_is_told_at_the_start(project: Project) -> None:
    worker = project.worker("-c", "1", more="Circle", ready=False)
    assert worker.wait(60) == 1
    assert "in a circle: stepsproj.Circle → stepsproj.Circle" in worker.log()


def test_solo(project: Project) -> None:
    before = len(project.noted())
    worker = project.worker("-P", "solo", "-n", "s@here")
    project.ask("Sam")
    assert project.pop("answers") == "hello Sam"
    worker.signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    assert project.noted()[before:] == [
        "Inner start", "Outer start", "consumes", "Beside start",
        "Beside stop", "Outer stop", "Inner stop", "Beside shutdown",
    ]  # fmt: skip
    pids = {line.rpartition(" ")[2] for line in project.notes.read_text().splitlines()[before:]}
    assert pids == {str(worker.pid)}


def test_a_worker_in_a_thread(redis_url: str) -> None:
    """`contrib.testing`: steps run in the test's own process."""
    seen: list[Any] = []

    class Asking(bootsteps.ConsumerStep):
        def get_consumers(self, channel: Any) -> Any:
            return [Consumer(channel, queues=[Queue("own", Exchange("own"), "own")], callbacks=[self.handle])]

        def handle(self, body: Any, message: Any) -> None:
            message.ack()
            seen.append(body)

        def shutdown(self, c: Any) -> None:
            super().shutdown(c)
            seen.append(c.hostname)

    app = Celery("threaded", broker=redis_url, backend=redis_url, set_as_current=False)
    app.steps["consumer"].add(Asking)
    with worker_in_thread(app, perform_ping_check=False, hostname="t@here"):
        with app.producer_or_acquire() as producer:
            producer.publish("hello", exchange="own", routing_key="own")
        wait_for(lambda: seen == ["hello"], 30, "the message")
    assert seen == ["hello", "t@here"]
    app.close()


def test_system_exit_in_a_timer_shuts_the_worker_down(redis_url: str) -> None:
    """As in the guide's example, which finds tasks that run for too long; its `__init__` takes no other keywords."""
    started: list[float | None] = []

    class DeadlockDetection(bootsteps.StartStopStep):
        requires = {"celery.worker.components:Timer"}

        def __init__(self, worker: Any, deadlock_timeout: float = 0) -> None:
            self.timeout = deadlock_timeout
            self.tref: Any = None

        def start(self, worker: Any) -> None:
            self.tref = worker.timer.call_repeatedly(0.05, self.detect, (worker,), priority=10)

        def stop(self, worker: Any) -> None:
            self.tref.cancel()

        def detect(self, worker: Any) -> None:
            for request in worker.active_requests:
                if request.time_start and time.time() - request.time_start > self.timeout:
                    started.append(request.time_start)
                    done.set()
                    raise SystemExit

    done = threading.Event()
    app = Celery("deadlocked", broker=redis_url, backend=redis_url, set_as_current=False)
    app.steps["worker"].add(DeadlockDetection)

    @app.task(name="stuck", shared=False)
    def stuck() -> str:
        return "detected" if done.wait(60) else "not detected"

    worker = app.WorkController(pool="solo", hostname="d@here")
    thread = threading.Thread(target=worker.start)
    thread.start()
    before = time.time()
    assert stuck.delay().get(timeout=60) == "detected"
    thread.join(60)
    assert not thread.is_alive() and worker.exitcode == 0
    assert len(started) == 1 and abs(started[0] - before) < 60
    app.close()
