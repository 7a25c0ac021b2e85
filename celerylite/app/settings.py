"""The configuration of an app, `app.conf`: changes made in the program over the project's own over defaults.

The project's configuration is read when a setting is first asked for. Names may be new (`task_routes`), old
(`CELERY_ROUTES`) or prefixed (`CELERY_TASK_ROUTES` with `namespace="CELERY"`); inside, all are new.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from copy import copy
from typing import Any

from ..exceptions import CPendingDeprecationWarning
from .defaults import _OPTIONS, _TO_NEW_KEY, DEFAULTS, find
from .sources import filter_hidden_settings, normalize, read_envvar, read_source, suggestion, warn_unknown

__all__ = ("Settings", "filter_hidden_settings", "read_envvar", "read_source")

#: Environment variables that go before the setting of that name.
_ENVIRONMENT = {
    "broker_url": "CELERY_BROKER_URL",
    "broker_read_url": "CELERY_BROKER_READ_URL",
    "broker_write_url": "CELERY_BROKER_WRITE_URL",
    "result_backend": "CELERY_RESULT_BACKEND",
}
#: Settings that are more than a look into the layers.
_SPECIAL = frozenset({*_ENVIRONMENT, "task_default_exchange", "task_default_routing_key"})

Source = Mapping[str, Any]


class Settings(MutableMapping[str, Any]):
    """A mapping of settings, whose items are attributes, too.

    `read` is called once, when a setting is first asked for, and returns the project's configuration;
    `on_read` is called after that. `namespace` is the prefix of the names in the configuration.
    """

    namespace: str | None
    _changes: dict[str, Any]
    _source: dict[str, Any]
    _defaults: list[dict[str, Any]]
    _pending_defaults: list[Any]
    _initial: dict[str, Any]
    _read: Callable[[], Any] | None
    _on_read: Callable[[Settings], Any] | None
    _reading: bool
    _cached: set[str]
    _version: int

    def __init__(
        self,
        changes: Source | None = None,
        *,
        namespace: str | None = None,
        read: Callable[[], Any] | None = None,
        on_read: Callable[[Settings], Any] | None = None,
    ) -> None:
        # Into __dict__, because setting an attribute changes a setting.
        self.__dict__.update(
            namespace=namespace.rstrip("_") if namespace else None,
            _changes={},
            _source={},
            _defaults=[],
            _pending_defaults=[],
            _initial={},
            _read=read,
            _on_read=on_read,
            _lock=threading.RLock(),
            _reading=False,
            _cached=set(),
            _version=0,
        )
        if changes:
            self.update(changes)

    # -- reading the configuration

    def use(self, read: Callable[[], Any] | None, namespace: str | None = None) -> None:
        """From now on, `read()` gives the project's configuration; what was changed in the program stays."""
        self.__dict__["_read"] = read
        if namespace is not None:
            self.__dict__["namespace"] = namespace.rstrip("_") or None
        self.__dict__["_source"] = {}
        self._forget_cached()

    @property
    def is_read(self) -> bool:
        """Whether the project's configuration was read already."""
        return self._read is None

    def finalize(self) -> None:
        """Read the project's configuration now, if it was not read yet."""
        if self._read is None and not self._pending_defaults:
            return
        with self._lock:
            if self._reading:
                return  # the configuration itself asks for a setting: it sees what there is so far
            self.__dict__["_reading"] = True
            try:
                read = self._load()
            finally:
                self.__dict__["_reading"] = False
        if read is not None and self._on_read is not None:
            self._on_read(self)

    def _load(self) -> Callable[[], Any] | None:
        read = self._read
        if read is not None:
            self.__dict__["_source"] = normalize(read(), self.namespace)
            # Only now: where reading failed, the next who asks gets the same error, not silent defaults.
            self.__dict__["_read"] = None
        while self._pending_defaults:
            one = self._pending_defaults[0]
            layer = normalize(one() if callable(one) else one, self.namespace, strict=False)
            self._defaults.insert(0, layer)
            del self._pending_defaults[0]
        self._forget_cached()
        return read

    def add_defaults(self, source: Any) -> None:
        """Settings that rank below the project's configuration; a function is called when they are needed."""
        self._pending_defaults.append(source)
        self._forget_cached()

    # -- looking up

    def __getattr__(self, name: str) -> Any:
        # Only reached when the value is not in __dict__ yet: from then on a setting is a plain attribute.
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            if self._read is not None or self._pending_defaults:
                self.finalize()
            version = self._version
            value = self._special(name) if name in _SPECIAL else self[name]
        except KeyError:
            raise AttributeError(self._no_such(name)) from None
        if name in DEFAULTS and name not in _ENVIRONMENT and not self._reading:
            self._cached.add(name)
            self.__dict__[name] = value
            if version != self._version:  # changed by another thread meanwhile
                self._forget_cached()
        return value

    def __getitem__(self, key: str) -> Any:
        if self._read is not None or self._pending_defaults:
            self.finalize()
        name = self.canonical(key)
        for layer in (self._changes, self._source, *self._defaults, self._initial):
            if name in layer:
                return layer[name]
        value = DEFAULTS[name]
        if isinstance(value, dict | list):
            # The program may add to it (`conf.beat_schedule["x"] = …`); the table is everyone's.
            value = self._initial[name] = copy(value)
        return value

    def canonical(self, key: str) -> str:
        """The new name of a setting, given by any of its names; unknown names stay as they are."""
        if key in DEFAULTS:
            return key
        prefix = self.namespace
        if prefix and key.startswith(prefix + "_"):
            unprefixed = key[len(prefix) + 1 :].lower()
            if unprefixed in DEFAULTS or key not in _TO_NEW_KEY:
                return unprefixed
        return _TO_NEW_KEY.get(key, key)

    def _special(self, name: str) -> Any:
        variable = _ENVIRONMENT.get(name)
        found = os.environ.get(variable) if variable else None
        found = found or self[name]
        if found is None and name == "broker_url":
            return self["broker_host"]
        if found is None and name in ("broker_read_url", "broker_write_url"):
            return self.broker_url
        if found is None and name in ("task_default_exchange", "task_default_routing_key"):
            return self["task_default_queue"]
        return found

    def first(self, *keys: str) -> Any:
        """The value of the first of these that is set to something else than None."""
        for key in keys:
            value = self.get(key)
            if value is not None:
                return value
        return None

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, str):
            return False
        if self._read is not None or self._pending_defaults:
            self.finalize()
        name = self.canonical(key)
        layers = (DEFAULTS, self._changes, self._source, *self._defaults)
        return any(name in layer for layer in layers)

    def __iter__(self) -> Iterator[str]:
        self.finalize()
        seen: dict[str, None] = {}
        for layer in (self._changes, self._source, *self._defaults, DEFAULTS):
            seen.update(dict.fromkeys(layer))
        return iter(seen)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    # -- changing

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError as exc:
            raise AttributeError(name) from exc

    def __setitem__(self, key: str, value: Any) -> None:
        name = self.canonical(key)
        if name not in DEFAULTS and name not in self._changes:
            warn_unknown([name])
        self._changes[name] = value
        self._forget_cached()

    def __delitem__(self, key: str) -> None:
        del self._changes[self.canonical(key)]
        self._forget_cached()

    def clear(self) -> None:
        """Take back all changes made in the program."""
        self._changes.clear()
        self._forget_cached()

    def _forget_cached(self) -> None:
        # One change may show in several settings (the default queue names the exchange): forget all.
        self.__dict__["_version"] += 1
        for name in tuple(self._cached):
            self.__dict__.pop(name, None)
            self._cached.discard(name)

    # -- as a whole

    @property
    def changes(self) -> dict[str, Any]:
        """What was changed in the program."""
        return self._changes

    @property
    def maps(self) -> list[Mapping[str, Any]]:
        """All layers, the strongest first."""
        self.finalize()
        return [self._changes, self._source, *self._defaults, {**DEFAULTS, **self._initial}]

    def copy(self) -> Settings:
        """The same settings, to be changed apart from these."""
        self.finalize()
        twin = Settings(namespace=self.namespace)
        twin.__dict__.update(
            _changes=dict(self._changes),
            _source=dict(self._source),
            _defaults=[dict(layer) for layer in self._defaults],
        )
        return twin

    __copy__ = copy

    def without_defaults(self) -> dict[str, Any]:
        """Only what was set by someone."""
        return self._set_by_someone()

    def value_set_for(self, key: str) -> bool:
        """Whether someone set this setting."""
        return self.canonical(key) in self._set_by_someone()

    def _set_by_someone(self) -> dict[str, Any]:
        self.finalize()
        merged: dict[str, Any] = {}
        for layer in reversed((self._changes, self._source, *self._defaults)):
            merged.update(layer)
        return merged

    def find_option(self, name: str, namespace: str = "") -> Any:
        """Where the setting called `name` is in the table."""
        return find(name, namespace)

    def find_value_for_key(self, name: str, namespace: str = "celery") -> Any:
        """The value of a setting whose group may be left out."""
        found = find(name, namespace=namespace)
        return self.get_by_parts(*(part for part in (found.namespace, found.key) if part))

    def get_by_parts(self, *parts: str) -> Any:
        """The value of the setting whose name has these parts."""
        return self["_".join(part for part in parts if part)]

    def table(self, with_defaults: bool = False, censored: bool = True) -> dict[str, Any]:
        """The settings as a dict; `censored` hides what looks secret."""
        shown = dict(self) if with_defaults else self._set_by_someone()
        return filter_hidden_settings(shown) if censored else shown

    def humanize(self, with_defaults: bool = False, censored: bool = True) -> str:
        """The settings as text, one a line."""
        rows = self.table(with_defaults, censored).items()
        return "\n".join(f"{key}: {value!r}" for key, value in rows)

    def maybe_warn_deprecated_settings(self) -> bool:
        """Warn of settings that will go away; whether there were any."""
        found = [name for name in self._set_by_someone() if name in DEFAULTS and _OPTIONS[name].deprecate_by]
        for name in found:
            option = _OPTIONS[name]
            warnings.warn(
                f"Setting {name!r} will be removed in version {option.remove_by}: use {option.alt} instead",
                CPendingDeprecationWarning,
                stacklevel=2,
            )
        return bool(found)

    def _no_such(self, name: str) -> str:
        meant = suggestion(name)
        hint = f"; did you mean {meant!r}?" if meant else ""
        return f"{type(self).__name__!r} object has no attribute {name!r}{hint}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(repr(layer) for layer in self.maps[:-1])})"

    def __reduce__(self) -> Any:
        return _restore, (dict(self._set_by_someone()), self.namespace)


def _restore(chosen: dict[str, Any], namespace: str | None) -> Settings:
    return Settings(chosen, namespace=namespace)
