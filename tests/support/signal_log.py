"""Writes every signal of the worker and of its tasks into the ledger as `signal:<name>`."""

from __future__ import annotations

import importlib
import logging
import logging.config
import os
import socket
from typing import Any

from .ledger import Ledger

WORKER_SIGNALS = (
    "celeryd_init",
    "celeryd_after_setup",
    "worker_init",
    "worker_before_create_process",
    "worker_process_init",
    "worker_ready",
    "worker_shutting_down",
    "worker_process_shutdown",
    "worker_shutdown",
    "setup_logging",
)
TASK_SIGNALS = (
    "task_received",
    "task_prerun",
    "task_postrun",
    "task_success",
    "task_failure",
    "task_retry",
    "task_revoked",
    "task_rejected",
    "task_unknown",
    "task_internal_error",
)
GROUPS = {"worker": [name for name in WORKER_SIGNALS if name != "setup_logging"], "task": list(TASK_SIGNALS)}


def _key_of(sender: Any, named: dict[str, Any]) -> str:
    request = named.get("request") or getattr(sender, "request", None)  # task_success names only its sender
    return str(named.get("task_id") or named.get("id") or getattr(request, "id", "") or "")


def _plain(value: Any) -> Any:
    if isinstance(value, (str, int, float, type(None))):
        return value
    return getattr(value, "name", None) or repr(value)


def connect_signals(lib: str, ledger: Ledger, groups: list[str]) -> None:
    """Connect a receiver to all signals of the named groups ("worker", "task")."""
    signals = importlib.import_module(f"{lib}.signals")

    def connect(name: str) -> None:
        def receiver(sender: Any = None, **named: Any) -> None:
            data = {key: _plain(value) for key, value in named.items() if key != "signal"}
            ledger.write(f"signal:{name}", _key_of(sender, named), sender=_plain(sender), ppid=os.getppid(), **data)

        getattr(signals, name).connect(receiver, weak=False)

    for group in groups:
        for name in GROUPS[group]:
            connect(name)


def connect_logging_signals(lib: str, ledger: Ledger) -> None:
    """Mark what the logging signals hand out, so that a test sees them in the log."""
    signals = importlib.import_module(f"{lib}.signals")

    def mark(name: str) -> None:
        def receiver(logger: Any = None, **named: Any) -> None:
            ledger.write(f"signal:{name}", getattr(logger, "name", ""), keys=sorted(named))

        getattr(signals, name).connect(receiver, weak=False)

    mark("after_setup_logger")
    mark("after_setup_task_logger")


def take_over_logging(lib: str) -> None:
    """A project that configures logging itself, which switches the worker's own set-up off."""
    signals = importlib.import_module(f"{lib}.signals")

    def receiver(loglevel: Any = None, **named: Any) -> None:
        logging.basicConfig(level=loglevel, format="OWN %(levelname)s %(name)s %(message)s")

    signals.setup_logging.connect(receiver, weak=False)


def change_settings_on_init(lib: str, ledger: Ledger) -> None:
    """Receivers for the worker `chosen@<this host>` and for another one."""
    signals = importlib.import_module(f"{lib}.signals")
    host = socket.gethostname()

    def chosen(conf: Any = None, **named: Any) -> None:
        conf.result_extended = True
        ledger.write("celeryd_init of the chosen")

    def other(**named: Any) -> None:
        ledger.write("celeryd_init of another")

    signals.celeryd_init.connect(chosen, sender=f"chosen@{host}", weak=False)
    signals.celeryd_init.connect(other, sender=f"other@{host}", weak=False)


def configure_logging() -> None:
    """Configure logging as many projects do when they are imported."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"mine": {"format": "MINE %(levelname)s %(name)s %(message)s"}},
            "handlers": {"mine": {"class": "logging.StreamHandler", "formatter": "mine"}},
            "root": {"handlers": ["mine"], "level": "INFO"},
        }
    )
