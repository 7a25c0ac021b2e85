"""The table of settings is Celery's, name for name."""

from __future__ import annotations

import pytest

from celerylite.app import defaults as ours

theirs = pytest.importorskip("celery.app.defaults")

#: What Celery does not have.
OWN = {
    "worker_lease",
    "worker_delivery_limit",
    "worker_dead_letter_limit",
    "worker_fetch_max",
    "worker_long_task",
    "worker_log_json",
    "worker_health_port",
    "worker_heartbeat_file",
    "task_rate_limit_scope",
}


def in_our_house(value: object) -> object:
    """A default that names one of Celery's classes names ours here."""
    return value.replace("celery.", "celerylite.", 1) if isinstance(value, str) and ":" in value else value


def test_names() -> None:
    assert set(ours.DEFAULTS) - set(theirs.DEFAULTS) == OWN
    assert set(theirs.DEFAULTS) <= set(ours.DEFAULTS)


@pytest.mark.parametrize("name", sorted(theirs.DEFAULTS))
def test_default_type_and_old_name(name: str) -> None:
    assert ours.DEFAULTS[name] == in_our_house(theirs.DEFAULTS[name])
    assert ours._OPTIONS[name].type == theirs._OPTIONS[name].type
    assert ours._TO_OLD_KEY[name] == theirs._TO_OLD_KEY[name]
    for attribute in ("deprecate_by", "remove_by", "alt"):
        assert getattr(ours._OPTIONS[name], attribute) == getattr(theirs._OPTIONS[name], attribute)


def test_groups_and_log_formats() -> None:
    assert list(ours.NAMESPACES) == list(theirs.NAMESPACES)
    assert ours.DEFAULT_TASK_LOG_FMT == theirs.DEFAULT_TASK_LOG_FMT
    assert ours.DEFAULT_PROCESS_LOG_FMT == theirs.DEFAULT_PROCESS_LOG_FMT


@pytest.mark.parametrize("name", ["pool", "disable_rate_limits", "result_backend", "acks_late", "timezone"])
def test_find(name: str) -> None:
    assert ours.find(name)[:2] == theirs.find(name)[:2]


@pytest.mark.parametrize(
    "source",
    [
        {"CELERYD_POOL": "solo", "BROKER_URL": "redis://b"},
        {"CELERYD_POOL": "old", "worker_pool": "new"},
        {"CELERYD_POOL": "old", "CELERYD_CONCURRENCY": 1, "worker_pool": "new"},
        {"worker_pool": "solo", "task_routes": {"a": "b"}, "own": 1},
        {"CELERYD_POOL": "solo", "task_acks_late": True},
        {"CELERYD_POOL": "solo", "BROKER_URL": "redis://b", "task_acks_late": True},
    ],
)
def test_the_same_sources_give_the_same_settings(source: dict[str, object]) -> None:
    from celery import Celery

    from celerylite.app.settings import Settings

    names = ("worker_pool", "worker_concurrency", "broker_url", "task_acks_late", "task_routes")

    def outcome(conf: object) -> object:
        try:
            return [getattr(conf, name) for name in names]
        except Exception as exc:
            return type(exc).__name__

    app = Celery("compat", set_as_current=False, config_source=source)
    assert outcome(Settings(read=lambda: source)) == outcome(app.conf)
