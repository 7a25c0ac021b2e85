"""Configuration of an app: `app.conf` and the ways to fill it. A part of the `Celery` class."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from celerylite.app.settings import Settings
from celerylite.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from celerylite.utils.dispatch import Signal

ERR_ENVVAR_NOT_SET = """The environment variable {0!r} is not set, so there is no configuration to load.
Set it to the name of a module, for example:
    {0}="proj.celeryconfig"
"""


class AppSettings(Settings):
    """The settings of one app, which is told when they change."""

    def _forget_cached(self) -> None:
        super()._forget_cached()
        changed = self.__dict__.get("_changed")
        if changed is not None:
            changed()


#: The name that Celery gives to settings which are not read yet; ours are read when they are asked for.
PendingConfiguration = AppSettings


class Configuring:
    """The part of `Celery` that reads its configuration, when the first setting is asked for."""

    _conf: AppSettings
    on_configure: Signal | Callable[..., Any]
    #: Whether the configuration has been read.
    configured: bool = False

    def _make_conf(self: Any, changes: Mapping[str, Any]) -> AppSettings:
        conf = AppSettings(
            changes, namespace=self.namespace, read=self._read_config, on_read=self._config_read
        )
        conf.__dict__["_changed"] = self._settings_changed
        return conf

    @property
    def conf(self: Any) -> Settings:
        """The settings."""
        return self._conf

    @conf.setter
    def conf(self: Any, value: Any) -> None:
        # Only whole replacements, as in `app.conf = {...}`.
        self._conf = value if isinstance(value, AppSettings) else self._make_conf(value)
        self._settings_changed()

    def _read_config(self: Any) -> Any:
        """The project's configuration, from the source that it was given."""
        self._announce_configure()
        if self._config_source is not None:
            self.loader.config_from_object(self._config_source, silent=self._config_source_silent)
        return self.prepare_config(self.loader.conf)

    def prepare_config(self: Any, c: Any) -> Any:
        """The project's configuration, before it goes over the defaults; for subclasses."""
        return c

    def _announce_configure(self: Any) -> None:
        hook = self.on_configure
        if hasattr(hook, "send"):
            hook.send(sender=self)
        else:  # a subclass that defines `on_configure` as a method
            hook()

    def _config_read(self: Any, conf: Settings) -> None:
        self.configured = True
        pending = list(self._pending_periodic_tasks)
        self._pending_periodic_tasks.clear()
        for key, entry in pending:
            self._add_periodic_task(key, entry)
        self.on_after_configure.send(sender=self, source=conf)

    def _settings_changed(self: Any) -> None:
        amqp = self.__dict__.get("amqp")
        if amqp is not None:
            amqp.settings_changed()
        self.__dict__.pop("timezone", None)
        self.__dict__.pop("annotations", None)

    def config_from_object(
        self: Any, obj: Any, silent: bool = False, force: bool = False, namespace: str | None = None
    ) -> Any:
        """Read settings from an object, or a module or object given by its dotted name.

        It is read when the first setting is asked for; with `force`, or when settings were read before, at
        once.
        """
        self._config_source = obj
        self._config_source_silent = silent
        self.namespace = namespace or self.namespace
        self.loader.forget_config()
        self._conf.use(self._read_config, self.namespace)
        if force or self.configured:
            self._conf.finalize()
            return self.conf
        return None

    def config_from_envvar(self: Any, variable_name: str, silent: bool = False, force: bool = False) -> Any:
        """Read settings from the module that an environment variable names."""
        module = os.environ.get(variable_name)
        if not module:
            if silent:
                return False
            raise ImproperlyConfigured(ERR_ENVVAR_NOT_SET.format(variable_name).strip())
        return self.config_from_object(module, silent=silent, force=force)

    def config_from_cmdline(self: Any, argv: Iterable[str], namespace: str = "celery") -> None:
        """Settings given on the command line, as `worker.concurrency=3`."""
        self._conf.update(self.loader.cmdline_config_parser(argv, namespace))

    def add_defaults(self: Any, fun: Any) -> Any:
        """Add defaults: a dict, or a function that returns one and is called when they are needed."""
        self._conf.add_defaults(fun)
        return fun

    def setup_security(
        self: Any,
        allowed_serializers: Any = None,
        key: str | None = None,
        key_password: Any = None,
        cert: str | None = None,
        store: str | None = None,
        digest: str = "sha256",
        serializer: str = "json",
    ) -> Any:
        """Sign messages, and accept signed messages only; see `celerylite.security.setup_security`.

        As in Celery, `security_digest` is not read here: both sides must use the same digest.
        """
        from celerylite.security import setup_security  # few need it

        return setup_security(allowed_serializers, key, key_password, cert, store, digest, serializer, app=self)

    def either(self: Any, default_key: str, *defaults: Any) -> Any:
        """The first of these values that is not None, else the setting."""
        for value in defaults:
            if value is not None:
                return value
        return self.conf.get(default_key)
