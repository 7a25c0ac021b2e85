"""kombu's filesystem transport, mended: a message appears in its folder when it is whole.

kombu makes the file first and writes it then; a worker that looks in between takes an empty file, and the message is
lost.
"""

from __future__ import annotations

import os
import time
from functools import partial
from typing import Any

from kombu.exceptions import ChannelError
from kombu.utils.json import dumps

from celerylite.utils import uuid


def write_whole(channel: Any) -> None:
    """Let this channel write messages so, under kombu's names, if it is one of that transport."""
    if getattr(channel, "data_folder_out", None) is not None:
        channel._put = partial(_put, channel)


def _put(channel: Any, queue: str, payload: Any, **options: Any) -> None:
    name = f"{round(time.monotonic() * 1000)}_{uuid()}.{queue}.msg"
    # Nobody looks for names without a queue.
    part = os.path.join(channel.data_folder_out, f"{uuid()}-part")
    try:
        with open(part, "wb") as file:
            file.write(dumps(payload).encode())
        os.replace(part, os.path.join(channel.data_folder_out, name))
    except OSError as exc:
        raise ChannelError(f"cannot add {name} to its folder: {exc}") from exc
