"""What a worker's log looks like, and who may have a say in it."""

from __future__ import annotations

import io
import logging
import logging.config
import os
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from celerylite import context, signals
from celerylite.app.log import Logging, TaskFormatter
from celerylite.app.settings import Settings
from celerylite.utils.log import LoggingProxy, get_logger, get_task_logger

LOGGERS = (None, "celery", "celery.task", "celery.redirected", "multiprocessing")


@pytest.fixture(autouse=True)
def untouched_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything that setting logging up changes is put back."""
    monkeypatch.setattr(Logging, "_setup", False)
    monkeypatch.setattr(Logging, "_configured", None)
    monkeypatch.setattr(Logging, "_handlers", [])
    for name in ("LOG_LEVEL", "LOG_FILE", "LOG_REDIRECT", "LOG_REDIRECT_LEVEL"):
        monkeypatch.setenv(f"CELERY_{name}", "")
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(one, one.handlers[:], one.level, one.propagate) for one in loggers]
    yield
    logging.captureWarnings(False)
    for one, handlers, level, propagate in before:
        for handler in one.handlers:
            if handler not in handlers:
                handler.close()
        one.handlers, one.propagate = handlers, propagate
        one.setLevel(level)


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "__stderr__", stream)
    return stream


def app_log(**settings: object) -> Logging:
    return Logging(SimpleNamespace(conf=Settings(settings)))


def test_lines_of_the_worker_and_of_tasks(stderr: io.StringIO) -> None:
    app_log(worker_log_format="%(levelname)s %(message)s").setup("INFO")
    get_logger("celery.worker").info("ready")
    get_logger("celery.worker").debug("not shown")
    assert stderr.getvalue() == "INFO ready\n"


def test_task_lines_name_the_task(stderr: io.StringIO) -> None:
    app_log(worker_task_log_format="%(task_name)s[%(task_id)s]: %(message)s").setup("INFO")
    logger = get_task_logger("test_log_tasks")
    logger.info("outside")
    token = context.push(SimpleNamespace(name="proj.add"), context.Context(id="the-id"))
    logger.info("inside")
    context.pop(token)
    assert stderr.getvalue() == "???[???]: outside\nproj.add[the-id]: inside\n"


def test_the_default_formats(stderr: io.StringIO) -> None:
    log = app_log()
    assert log.format == "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"
    assert log.task_format.endswith("%(task_name)s[%(task_id)s]: %(message)s")
    log.setup()
    logging.getLogger("anything").warning("said")
    assert stderr.getvalue().endswith(": WARNING/MainProcess] said\n")


def test_logging_is_set_up_once(stderr: io.StringIO) -> None:
    assert app_log().setup("INFO") == []
    assert app_log().setup("DEBUG") is None
    assert logging.getLogger().level == logging.INFO


def test_the_root_logger_is_taken_over(stderr: io.StringIO) -> None:
    theirs = logging.NullHandler()
    logging.getLogger().addHandler(theirs)
    app_log().setup("INFO")
    assert theirs not in logging.getLogger().handlers


def test_the_root_logger_is_left_alone_on_request(stderr: io.StringIO) -> None:
    root = logging.getLogger()
    theirs = logging.StreamHandler(io.StringIO())
    root.handlers = [theirs]
    app_log(worker_hijack_root_logger=False).setup("INFO")
    assert root.handlers == [theirs] and root.level == logging.INFO


def a_project_configures(config: dict[str, object] | None = None) -> logging.Logger:
    root = logging.getLogger()
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"mine": {"format": "MINE %(name)s %(message)s"}},
            "handlers": {"mine": {"class": "logging.StreamHandler", "formatter": "mine"}},
            "root": {"handlers": ["mine"], "level": "INFO"},
            **(config or {}),
        }
    )
    return root


def test_a_configuration_of_the_project_is_never_touched(stderr: io.StringIO) -> None:
    root = a_project_configures()
    mine = root.handlers[:]
    log = app_log()
    assert log.setup("DEBUG", redirect_stdouts=True) is True
    log.setup_process("w@h")  # nor in a task process
    assert root.handlers == mine and root.level == logging.INFO
    assert logging.getLogger("celery.task").propagate and not isinstance(sys.stdout, LoggingProxy)
    assert "root logger: StreamHandler" in (log.left_alone() or "") and stderr.getvalue() == ""


def test_a_project_may_ask_to_be_taken_over(stderr: io.StringIO) -> None:
    root = a_project_configures()
    mine = root.handlers[:]
    log = app_log(worker_hijack_root_logger=True)
    assert log.setup("DEBUG") == [] and log.left_alone() is None
    assert root.handlers != mine and root.level == logging.DEBUG


def test_a_line_logged_at_import_is_no_configuration(stderr: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    logging.warning("this calls basicConfig")  # noqa: LOG015
    log = app_log(worker_log_format="ours %(message)s")
    log.setup("INFO")
    root.info("now")
    assert "ours now" in stderr.getvalue() and log.left_alone() is None


def test_what_a_signal_adds_is_no_configuration_either(stderr: io.StringIO) -> None:
    theirs = logging.StreamHandler(io.StringIO())

    def receiver(logger=None, **kwargs):
        logger.addHandler(theirs)

    signals.after_setup_logger.connect(receiver)
    try:
        log = app_log(worker_log_format="%(message)s")
        log.setup("INFO")
        log.setup_process("w@h")
    finally:
        signals.after_setup_logger.disconnect(receiver)
    logging.getLogger().info("once")
    assert stderr.getvalue() == "once\n"


def test_setup_logging_replaces_everything(stderr: io.StringIO) -> None:
    asked = []

    def receiver(**kwargs):
        asked.append((kwargs["loglevel"], kwargs["logfile"], kwargs["colorize"]))

    signals.setup_logging.connect(receiver)
    root = logging.getLogger()
    before = root.handlers[:]
    try:
        assert app_log().setup("INFO", redirect_stdouts=True) == [(receiver, None)]
    finally:
        signals.setup_logging.disconnect(receiver)
    assert asked == [(20, None, False)] and root.handlers == before
    assert not isinstance(sys.stdout, LoggingProxy)


def test_after_setup_signals_get_the_loggers(stderr: io.StringIO) -> None:
    got = {}

    def receiver(signal=None, logger=None, format=None, **kwargs):
        got[signal.name] = (logger.name, format)

    signals.after_setup_logger.connect(receiver)
    signals.after_setup_task_logger.connect(receiver)
    app_log(worker_log_format="%(message)s", worker_task_log_format="t %(message)s").setup()
    assert got == {
        "after_setup_logger": ("root", "%(message)s"),
        "after_setup_task_logger": ("celery.task", "t %(message)s"),
    }


def test_log_file(tmp_path) -> None:
    app_log(worker_log_format="%(message)s").setup("INFO", str(tmp_path / "%n-%i.log"), hostname="w@h")
    logging.getLogger().info("über")
    assert (tmp_path / "w-0.log").read_text(encoding="utf-8") == "über\n"
    assert os.environ["CELERY_LOG_FILE"].endswith("%n-%i.log")


def test_printing_goes_to_the_log(stderr: io.StringIO) -> None:
    app_log(worker_log_format="%(name)s %(levelname)s %(message)s").setup(
        "INFO", redirect_stdouts=True, redirect_level="ERROR"
    )
    print("printed", 1)
    print("shouted", file=sys.stderr)
    assert stderr.getvalue() == "celery.redirected ERROR printed 1\ncelery.redirected ERROR shouted\n"


def test_task_processes_set_up_logging_again(stderr: io.StringIO, tmp_path) -> None:
    log = app_log(worker_log_format="%(message)s")
    log.setup("DEBUG", str(tmp_path / "log"), redirect_stdouts=True, hostname="w@h")
    first = logging.getLogger().handlers[0]
    log.setup_process("w@h")
    (second,) = logging.getLogger().handlers
    assert second is not first and logging.getLogger().level == logging.DEBUG
    print("from the task process")
    assert "from the task process\n" in (tmp_path / "log").read_text()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    log = app_log()
    assert not log.supports_color() and not log.supports_color(True)
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert log.supports_color() and log.supports_color(True) and log.colored().enabled
    assert not log.supports_color(False) and not log.supports_color(None, "file.log")
    assert not app_log(worker_log_color=False).supports_color()


def test_task_formatter_by_itself() -> None:
    record = logging.LogRecord("n", logging.INFO, "p", 1, "hi", None, None)
    assert TaskFormatter("%(task_name)s %(message)s", use_color=False).format(record) == "??? hi"
