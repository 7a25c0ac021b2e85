"""celerylite.contrib.testing: the app in memory, the trap, and the worker in a thread of this process."""

from __future__ import annotations

import gc
import logging
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from celerylite import _state, current_app
from celerylite.contrib.testing import mocks, tasks
from celerylite.contrib.testing import worker as worker_module
from celerylite.contrib.testing.app import TestApp, Trap, UnitLogging, set_trap, setup_default_app
from celerylite.contrib.testing.worker import TestWorkController, start_worker


@pytest.fixture
def app() -> Iterator[Any]:
    """A test app that is current; the state before it is put back."""
    app = TestApp()
    with setup_default_app(app):
        yield app


def test_test_app_keeps_all_in_memory(app: Any) -> None:
    assert app.main == "celery.tests"
    assert app.conf.broker_url == "memory://"
    assert app.conf.result_backend == "cache+memory://"
    assert isinstance(app.log, UnitLogging)
    assert TestApp("name", config={"task_default_queue": "q"}).conf.task_default_queue == "q"


def test_test_app_takes_other_servers() -> None:
    app = TestApp(broker="redis://broker", backend="redis://backend")
    assert app.conf.broker_url.startswith("redis://broker")
    assert app.conf.result_backend.startswith("redis://backend")


def test_test_app_logs_when_asked() -> None:
    assert not isinstance(TestApp(enable_logging=True).log, UnitLogging)


def test_unit_logging_leaves_the_root_logger_alone(app: Any) -> None:
    before = logging.root.handlers[:]
    app.log.setup(loglevel="debug")
    assert logging.root.handlers == before


def test_setup_default_app_puts_the_state_back() -> None:
    before, default = _state.get_current_app(), _state.default_app
    app = TestApp()
    with setup_default_app(app):
        app.set_default()
        app.set_current()
        assert _state.get_current_app() is app
    assert _state.get_current_app() is before and _state.default_app is default


def test_setup_default_app_puts_the_state_back_after_an_error() -> None:
    before = _state.get_current_app()
    app = TestApp()
    with pytest.raises(ZeroDivisionError), setup_default_app(app):
        app.set_current()
        raise ZeroDivisionError
    assert _state.get_current_app() is before


def test_the_trap_raises_in_every_thread() -> None:
    app = TestApp()
    errors: list[Exception] = []

    def use_it() -> None:
        try:
            current_app.tasks  # noqa: B018
        except RuntimeError as exc:
            errors.append(exc)

    with setup_default_app(app, use_trap=True):
        use_it()
        thread = threading.Thread(target=use_it)
        thread.start()
        thread.join()
    assert [str(exc) for exc in errors] == ["Test depends on current_app"] * 2


def test_the_trap_gives_way_to_a_chosen_app() -> None:
    app = TestApp()
    with set_trap(app):
        app.set_current()
        assert current_app.main == "celery.tests"
    assert not isinstance(_state.get_current_app(), Trap)


def test_ping_is_celerys() -> None:
    assert tasks.ping.name == "celery.ping"
    assert tasks.ping() == "pong"


def test_a_worker_runs_tasks_and_tells_by_signals(app: Any) -> None:
    told: list[str] = []

    def tell(signal: Any, **_: Any) -> None:
        told.append(signal.name)

    signals = (
        worker_module.test_worker_starting,
        worker_module.test_worker_started,
        worker_module.test_worker_stopped,
    )
    for signal in signals:
        signal.connect(tell)

    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    with start_worker(app) as worker:
        assert isinstance(worker, TestWorkController)
        assert add.delay(1, y=2).get(timeout=10) == 3
    assert told == ["test_worker_starting", "test_worker_started", "test_worker_stopped"]
    for signal in signals:
        signal.disconnect(tell)


def test_workers_one_after_another(app: Any) -> None:
    for _ in range(3):
        with start_worker(app):
            assert tasks.ping.delay().get(timeout=10) == "pong"


def test_a_worker_with_threads(app: Any) -> None:
    meeting = threading.Barrier(2)

    @app.task
    def meet() -> None:
        meeting.wait(10)

    with start_worker(app, concurrency=2, pool="threads", perform_ping_check=False) as worker:
        assert worker.concurrency == 2
        for result in [meet.delay(), meet.delay()]:
            result.get(timeout=10)


def test_running_tasks_finish_at_the_end(app: Any) -> None:
    running, go_on = threading.Event(), threading.Event()

    @app.task
    def slow() -> str:
        running.set()
        go_on.wait(10)
        return "done"

    with start_worker(app, perform_ping_check=False):
        result = slow.delay()
        assert running.wait(10)
        threading.Timer(0.2, go_on.set).start()
    assert result.get(timeout=1) == "done"


def test_a_task_that_hangs_fails_the_test(app: Any) -> None:
    running, go_on = threading.Event(), threading.Event()

    @app.task
    def hang() -> None:
        running.set()
        go_on.wait(30)

    with pytest.raises(RuntimeError, match="failed to exit within the allocated timeout.*shutdown_timeout"):
        with start_worker(app, perform_ping_check=False, shutdown_timeout=0.2):
            hang.delay()
            assert running.wait(10)
    go_on.set()


def test_an_error_in_the_test_stops_the_worker(app: Any) -> None:
    with pytest.raises(ZeroDivisionError), start_worker(app, perform_ping_check=False):
        raise ZeroDivisionError
    assert "celerylite-test-worker" not in {thread.name for thread in threading.enumerate()}


def test_a_worker_that_cannot_start_says_why(app: Any) -> None:
    class Unlucky(TestWorkController):
        def start(self) -> None:
            self.blueprint_that_is_not_there()  # type: ignore[attr-defined]

    with pytest.raises(RuntimeError, match="failed to start.*blueprint_that_is_not_there"):
        with worker_module._start_worker_thread(app, WorkController=Unlucky):
            pass


def test_ping_missing_is_said() -> None:
    app = TestApp()
    with setup_default_app(app):
        app.finalize()
        app.tasks.unregister("celery.ping")
        with pytest.raises(RuntimeError, match="perform_ping_check=False"), start_worker(app):
            pass


def test_task_message_in_both_protocols(app: Any) -> None:
    message = mocks.TaskMessage("proj.add", id="1", args=(1,), kwargs={"y": 2}, root_id="0")
    assert message.headers == {"id": "1", "task": "proj.add", "shadow": None, "root_id": "0"}
    assert message.payload == ((1,), {"y": 2}, {"callbacks": None, "errbacks": None, "chain": None})
    assert message.body == b'[[1], {"y": 2}, {"callbacks": null, "errbacks": null, "chain": null}]'
    old = mocks.TaskMessage1("proj.add", id="1", args=(1,))
    assert old.headers == {} and old.payload["task"] == "proj.add"


def test_task_message_from_a_signature(app: Any) -> None:
    @app.task(name="proj.add")
    def add(x: int, y: int) -> int:
        return x + y

    message = mocks.task_message_from_sig(app, add.s(1, 2).set(countdown=10, queue="q"))
    assert message.headers["task"] == "proj.add" and message.headers["eta"] > app.now().isoformat()
    assert message.payload[:2] == ((1, 2), {})


def test_context_mock_lets_errors_through() -> None:
    mock = mocks.ContextMock()
    with mock as entered:
        assert entered is mock
    with pytest.raises(KeyError), mock:
        raise KeyError


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no list of open files on this system")
def test_workers_of_many_tests_leave_no_files_open(app: Any) -> None:
    def open_files() -> int:
        with start_worker(app, perform_ping_check=False):
            pass
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    first = open_files()
    assert [open_files() for _ in range(6)][-1] < first + 4  # it was two a worker
