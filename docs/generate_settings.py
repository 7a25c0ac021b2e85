"""Writes docs/settings.md from the table in celerylite/app/defaults.py: python docs/generate_settings.py"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from celerylite.app.defaults import NAMESPACES, Option

PAGE = Path(__file__).resolve().with_name("settings.md")

#: Settings that Celery does not have.
OWN = (
    "task_rate_limit_scope",
    "worker_health_port",
    "worker_heartbeat_file",
    "worker_log_json",
    "worker_lease",
    "worker_delivery_limit",
    "worker_dead_letter_limit",
    "worker_fetch_max",
    "worker_long_task",
)

HEAD = """\
# Settings

Made from the table in `celerylite/app/defaults.py` by `python docs/generate_settings.py`; do not edit.

All of Celery's settings are known under their new lower-case names and under their old ones. Where the old
name is empty it is the new one in upper case. A name that is not known gives a warning with the nearest one
that is. Settings of features that this release does not have (see
[Migrating from Celery](migrating-from-celery.md)) are accepted and have no effect. Those marked
**celerylite** are not in Celery.
"""


def options(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Option]]:
    """Full names and options of a (part of the) table."""
    for name, value in table.items():
        if isinstance(value, Option):
            yield prefix + name, value
        else:
            yield from options(value, f"{prefix}{name}_")


def cell(value: Any) -> str:
    """A value as code in a cell of a table."""
    text = repr(value).replace("|", "\\|")
    return f"`{text}`"


def row(name: str, option: Option) -> str:
    """One line of a table."""
    old = f"`{option.old_name.upper()}`" if option.old_name and option.old_name != name else ""
    kind = option.type if isinstance(option.type, str) else option.type.__name__
    mark = " **celerylite**" if name in OWN else ""
    return f"| `{name}`{mark} | {cell(option.default)} | {kind} | {old} | {option.help} |"


def page() -> str:
    """The whole page."""
    groups: dict[str, dict[str, Any]] = {"general": {}}
    for name, value in NAMESPACES.items():
        if isinstance(value, Option):
            groups["general"][name] = value
        else:
            groups[name] = {name: value}
    parts = [HEAD]
    for title, table in groups.items():
        rows = "\n".join(row(name, option) for name, option in options(table))
        head = f"## {title}\n\n| setting | default | type | old name | purpose |\n|---|---|---|---|---|"
        parts.append(f"{head}\n{rows}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
