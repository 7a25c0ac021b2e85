"""The base classes of result stores, under the names that others import, and `DisabledBackend`.

A store stores, fetches and waits; what follows a task (callbacks, errbacks, chains) is none of its business.
"""

from __future__ import annotations

from typing import Any

from celerylite import _state
from celerylite.backends.core import Backend, unpickle_backend
from celerylite.backends.failures import EXCEPTION_ABLE_CODECS
from celerylite.backends.keyvalue import BaseKeyValueStoreBackend
from celerylite.backends.records import compress_payload, decompress_payload
from celerylite.backends.waiting import SyncBackendMixin

__all__ = (
    "Backend",
    "BaseBackend",
    "BaseDictBackend",
    "BaseKeyValueStoreBackend",
    "DisabledBackend",
    "KeyValueStoreBackend",
    "EXCEPTION_ABLE_CODECS",
    "SyncBackendMixin",
    "compress_payload",
    "decompress_payload",
    "get_current_task",
    "unpickle_backend",
)

#: django-celery-results imports it from here.
get_current_task = _state.get_current_task

E_NO_BACKEND = """
No result backend is configured.
Please see the documentation for more information.
"""

E_CHORD_NO_BACKEND = """
Starting chords requires a result backend to be configured.

Note that a group chained with a task is also upgraded to be a chord,
as this pattern requires synchronization.

Result backends that supports chords: Redis, Database, Memcached, and more.
"""


class BaseBackend(Backend, SyncBackendMixin):
    """The base of stores that are polled."""


#: An older name of `BaseBackend`.
BaseDictBackend = BaseBackend


class KeyValueStoreBackend(BaseKeyValueStoreBackend, SyncBackendMixin):
    """The base of stores with keys and values that are polled."""


class DisabledBackend(BaseBackend):
    """There are no results."""

    _cache: Any = {}

    def store_result(self, *args: Any, **kwargs: Any) -> None:
        """Nothing is stored."""

    def ensure_chords_allowed(self) -> None:
        """Chords wait for results."""
        raise NotImplementedError(E_CHORD_NO_BACKEND.strip())

    def _is_disabled(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(E_NO_BACKEND.strip())

    def as_uri(self, *args: Any, **kwargs: Any) -> str:
        """What the banner shows."""
        return "disabled://"

    get_task_meta = get_task_meta_for = get_state = get_status = get_result = get_traceback = get_children = (
        _is_disabled
    )
    wait_for = _wait = wait_for_pending = iter_native = get_many = get_group_meta = save_group = _is_disabled
    forget = delete_group = _is_disabled
