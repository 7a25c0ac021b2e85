"""Loggers, coloured lines, and printing into a log."""

from __future__ import annotations

import logging
import sys

import pytest

from celerylite.utils import log
from celerylite.utils.log import ColorFormatter, LoggingProxy, get_logger, get_task_logger


def record(level: int, message: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("name", level, "path", 1, message, args, None)


def test_our_modules_log_under_celerys_names() -> None:
    assert get_logger("celerylite.app.trace") is logging.getLogger("celery.app.trace")
    assert get_logger("proj.tasks") is logging.getLogger("proj.tasks")


def test_task_loggers_are_under_celery_task() -> None:
    assert get_task_logger("test_log.tasks").parent is log.task_logger
    for reserved in ("celery", "celery.task"):
        with pytest.raises(RuntimeError, match="reserved"):
            get_task_logger(reserved)


def test_levels() -> None:
    assert [log.mlevel(level) for level in ("info", "INFO", 20, None, 0)] == [20, 20, 20, None, 0]
    with pytest.raises(KeyError):
        log.mlevel("loud")


def test_lines_are_coloured_by_level() -> None:
    formatter = ColorFormatter("%(levelname)s %(message)s")
    assert formatter.format(record(logging.ERROR, "no %s", "way")) == "\033[1;31mERROR no way\033[0m"
    assert formatter.format(record(logging.INFO, "yes")) == "INFO yes"
    assert ColorFormatter("%(message)s", use_color=False).format(record(logging.ERROR, "x")) == "x"


@pytest.fixture
def proxy(caplog: pytest.LogCaptureFixture) -> LoggingProxy:
    caplog.set_level(logging.DEBUG)
    return LoggingProxy(logging.getLogger("test_log.printed"), "WARNING")


def test_print_makes_one_line(proxy: LoggingProxy, caplog: pytest.LogCaptureFixture) -> None:
    print("a", 1, "100%", file=proxy)  # type: ignore[call-overload]
    print(file=proxy)  # type: ignore[call-overload]
    print("two\nlines", file=proxy)  # type: ignore[call-overload]
    assert caplog.messages == ["a 1 100%", "two", "lines"]
    assert caplog.records[0].levelname == "WARNING"


def test_unended_lines_wait_for_flush(proxy: LoggingProxy, caplog: pytest.LogCaptureFixture) -> None:
    assert proxy.write("begun") == 5
    assert caplog.messages == []
    proxy.flush()
    assert caplog.messages == ["begun"]
    proxy.close()
    assert proxy.write("closed\n") == 0 and not proxy.isatty()


def test_a_handler_that_prints_does_not_call_itself(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("test_log.loop")
    proxy = LoggingProxy(logger)

    class Complaining(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            proxy.write("cannot write\n")

    handler = Complaining()
    logger.addHandler(handler)
    try:
        proxy.write("line\n")
    finally:
        logger.removeHandler(handler)
    assert caplog.messages == ["line"]


def test_signal_handlers_print_to_the_real_stderr(
    proxy: LoggingProxy, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    with open(tmp_path / "stderr", "w+") as real:
        monkeypatch.setattr(sys, "__stderr__", real)
        with log.in_sighandler():
            proxy.write("stopping\n")
        real.seek(0)
        assert real.read() == "stopping\n"
    assert caplog.messages == []


def test_open_log_files_are_found(tmp_path) -> None:
    handler = logging.FileHandler(tmp_path / "log")
    logger = logging.getLogger("test_log.files")
    logger.addHandler(handler)
    try:
        assert handler.stream in list(log.iter_open_logger_fds())
    finally:
        logger.removeHandler(handler)
        handler.close()
