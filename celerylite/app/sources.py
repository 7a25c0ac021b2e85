"""Where settings come from: modules, objects, dicts and environment variables, read into a dict of new names.

Old names are translated here, at the door; names that look misspelt are reported.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

from ..exceptions import ImproperlyConfigured, UnknownSettingWarning
from ..utils.imports import import_from_cwd, symbol_by_name
from .defaults import _TO_NEW_KEY, _TO_OLD_KEY, DEFAULTS, NAMESPACES

__all__ = ("read_source", "read_envvar", "normalize", "suggestion", "warn_unknown", "filter_hidden_settings")

#: Names that hold a secret.
HIDDEN_SETTINGS = re.compile(r"API|TOKEN|KEY|SECRET|PASS|PROFANITIES_LIST|SIGNATURE|DATABASE", re.IGNORECASE)
MASK = "********"
#: The password in a URL.
_PASSWORD = re.compile(r"(?<=://)([^:@/\s]*):([^@/\s]+)@")

_MIXED = """\
Old and new names of settings are mixed in the configuration. Please rename these to the {which} names:

{renames}
"""
_NOT_SET = """\
The environment variable {name!r} is not set, so there is no configuration to load.
Set it to the name of a module, for example: {name}=proj.celeryconfig"""


# -- reading


def read_source(source: Any) -> dict[str, Any]:
    """The settings in a mapping, an object's attributes, or the module or object that a dotted name finds."""
    if isinstance(source, str):
        source = symbol_by_name(source, imp=import_from_cwd)
    if isinstance(source, Mapping):
        return dict(source)
    return {name: getattr(source, name) for name in dir(source) if _may_be_setting(source, name)}


def _may_be_setting(source: Any, name: str) -> bool:
    # Config modules import things, and classes have methods; Django's lazy settings must not be asked for all
    # there is (some of it is deprecated and warns), only for what looks like a setting.
    if name.startswith("_"):
        return False
    return isinstance(source, ModuleType | type) or name.isupper() or name in DEFAULTS or name.islower()


def read_envvar(variable: str, silent: bool = False) -> dict[str, Any]:
    """The settings in the module that an environment variable names."""
    name = os.environ.get(variable)
    if not name:
        if silent:
            return {}
        raise ImproperlyConfigured(_NOT_SET.format(name=variable))
    return read_source(name)


# -- names


def normalize(given: Any, namespace: str | None = None, strict: bool = True) -> dict[str, Any]:
    """The settings under their new names; `strict`: refuse a mixture of old and new ones."""
    raw = read_source(given)
    new: dict[str, Any] = {}
    old: dict[str, Any] = {}
    other: dict[str, Any] = {}
    for key, value in raw.items():
        unprefixed = _without_prefix(key, namespace)
        if key in DEFAULTS or unprefixed in DEFAULTS:
            new[key if key in DEFAULTS else unprefixed] = value
        elif key in _TO_NEW_KEY:
            old[key] = value
        else:
            other[key if unprefixed is None else unprefixed] = value
    if namespace is None and strict:
        _refuse_mixture(new, old)
    warn_unknown(name for name in other if _means_us(name, other[name]))
    return {**other, **{_TO_NEW_KEY[key]: value for key, value in old.items()}, **new}


def _without_prefix(key: str, namespace: str | None) -> Any:
    if namespace and key.startswith(namespace + "_"):
        return key[len(namespace) + 1 :].lower()
    return None


def _means_us(name: str, value: Any) -> bool:
    """Whether an unknown name may be a misspelt setting of ours rather than something of the project's."""
    if isinstance(value, ModuleType | type) or callable(value):
        return False
    return name.islower() or name.startswith(("CELERY", "BROKER_"))


def _refuse_mixture(new: dict[str, Any], old: dict[str, Any]) -> None:
    """Half a migration is an accident: someone believes in settings that others overrule."""
    if not new or not old:
        return
    # Both names of a setting side by side are no accident: such a project serves two versions at a time.
    if len(new) >= len(old):
        which, renames = "new", [(key, _TO_NEW_KEY[key]) for key in old if _TO_NEW_KEY[key] not in new]
    else:
        which, renames = "old", [(key, _TO_OLD_KEY[key]) for key in new if _TO_OLD_KEY[key] not in old]
    if not renames:
        return
    lines = "\n".join(f"{wrong:<36} -> {right}" for wrong, right in renames)
    raise ImproperlyConfigured(_MIXED.format(which=which, renames=lines))


def suggestion(name: str) -> str | None:
    """The setting that an unknown name is most like, if there is one."""
    from difflib import get_close_matches  # 5 ms, for mistakes only

    lowered = name.lower()
    # The new name in capitals or with a prefix, or a name without its group.
    exact = [lowered, lowered.partition("_")[2], *(f"{group}_{lowered}" for group in NAMESPACES)]
    for candidate in exact:
        if candidate in DEFAULTS:
            return candidate
    close = get_close_matches(name, list(_TO_NEW_KEY if name.isupper() else DEFAULTS), n=1, cutoff=0.85)
    return close[0] if close else None


def warn_unknown(names: Iterable[str]) -> None:
    """Warn of each name that is no setting but very much like one."""
    for name in names:
        meant = suggestion(name)
        if meant is None:
            continue
        hint = ' (for names with this prefix, give namespace="CELERY")' if name.startswith("CELERY_") else ""
        warnings.warn(
            f"There is no setting {name!r}; did you mean {meant!r}?{hint}",
            UnknownSettingWarning,
            stacklevel=4,
        )


# -- secrets


def filter_hidden_settings(conf: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with secrets masked, also within dicts and URLs."""
    return {key: _masked(key, value) for key, value in conf.items()}


def _masked(key: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        return filter_hidden_settings(value)
    if isinstance(key, str) and HIDDEN_SETTINGS.search(key):
        return MASK
    if isinstance(value, str):
        return _PASSWORD.sub(rf"\1:{MASK}@", value)
    if isinstance(value, list | tuple):
        return type(value)([_masked(None, one) for one in value]) if type(value) in (list, tuple) else value
    return value
