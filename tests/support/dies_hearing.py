"""Imported by a worker (`-I`): the first process that is about to keep a revoke dies before it has done so."""

from __future__ import annotations

import os
import signal
from typing import Any

from celerylite.app import revoking

_keep = revoking.remember


def _die_once(app: Any, task_ids: Any, broker: Any = None) -> bool:
    try:
        os.close(os.open(os.environ["TEST_DIES_ONCE"], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return _keep(app, task_ids, broker)
    os.kill(os.getpid(), signal.SIGKILL)
    return False


revoking.remember = _die_once
