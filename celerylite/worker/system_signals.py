"""The signals by which the system and its users tell a worker to end, to start anew, or to show where it stands."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any

from celerylite import signals
from celerylite.exceptions import WorkerTerminate
from celerylite.platforms import EX_FAILURE, EX_OK, isatty
from celerylite.utils.json_lines import json_line

if TYPE_CHECKING:
    from celerylite.worker.controller import WorkController


class SystemSignals:
    """SIGTERM and SIGINT: warm shutdown, twice: cold. SIGQUIT: cold. SIGHUP: start anew. SIGUSR1: print all stacks."""

    def __init__(self, worker: WorkController) -> None:
        self.worker = worker

    def install(self) -> None:
        """From now on they are ours; in another thread than the main one they stay the program's."""
        if not in_main_thread():
            return
        remapped = os.environ.get("REMAP_SIGTERM") == "SIGQUIT"
        signal.signal(signal.SIGTERM, self._on_cold_signal if remapped else self._on_warm_signal)
        signal.signal(signal.SIGINT, self._on_warm_signal)
        signal.signal(signal.SIGQUIT, self._on_cold_signal)
        if hasattr(signal, "SIGHUP") and not isatty(sys.stdin):
            signal.signal(signal.SIGHUP, self._on_restart_signal)
        signal.signal(signal.SIGUSR1, lambda *_: print(cry(), file=sys.__stderr__, flush=True))

    def _on_warm_signal(self, number: int, frame: Any) -> None:
        worker = self.worker
        if worker._stop_wanted:
            self._on_cold_signal(number, frame)
            return
        # Before anything is said: a second signal may come while the first is still being announced.
        worker._stop_wanted = True
        self._announce_shutdown(number, "Warm", EX_OK)
        worker.stop(in_sighandler=True)

    def _on_cold_signal(self, number: int, frame: Any) -> None:
        worker = self.worker
        again = worker._parent is not None and worker._parent.cold_at is not None
        self._announce_shutdown(number, "Cold", EX_FAILURE)
        if again:  # whoever asks a third time does not want to wait for the soft shutdown
            worker._parent.cold(0.0)
        else:
            worker.terminate(in_sighandler=True)
        if worker._task_process is not None:
            raise WorkerTerminate(EX_FAILURE)

    def _on_restart_signal(self, number: int, frame: Any) -> None:
        worker = self.worker
        worker._restart = True
        worker.health.restarting()
        self._write(f"Restarting celery worker ({' '.join(sys.argv)})", action="restart")
        worker.stop(in_sighandler=True)

    def _announce_shutdown(self, number: int, how: str, exitcode: int) -> None:
        worker = self.worker
        name = signal.Signals(number).name
        if os.isatty(2) or not worker.quiet:
            self._write(f"worker: {how} shutdown (MainProcess)", action="shutdown", signal=name)
        signals.worker_shutting_down.send(sender=worker.hostname, sig=name, how=how, exitcode=exitcode)

    def _write(self, text: str, **extra: Any) -> None:
        """Say something within a signal handler, where the locks of logging may be taken."""
        json = self.worker.app.conf.worker_log_json
        line = json_line("WARNING", "celery.worker", text, "MainProcess", **extra) if json else f"\n{text}"
        os.write(2, f"{line}\n".encode())


def cry() -> str:
    """The stacks of all threads, as text."""
    threads = {thread.ident: thread for thread in threading.enumerate()}
    text = []
    for ident, frame in sys._current_frames().items():
        name = threads[ident].name if ident in threads else f"thread {ident}"
        text += [name, "=" * 49, "".join(traceback.format_stack(frame)), ""]
    return "\n".join(text)


def in_main_thread() -> bool:
    """Whether signals can be handled here."""
    return threading.current_thread() is threading.main_thread()
