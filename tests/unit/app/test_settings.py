"""Where settings come from, which of them wins, and what is said about mistakes."""

from __future__ import annotations

import copy
import pickle
import sys
import threading
import types
import warnings
from datetime import timedelta

import pytest

from celerylite.app.settings import Settings, read_envvar, read_source
from celerylite.exceptions import CPendingDeprecationWarning, ImproperlyConfigured, UnknownSettingWarning


def configured(source: object, namespace: str | None = None, **changes: object) -> Settings:
    return Settings(changes, namespace=namespace, read=lambda: source)


def test_defaults() -> None:
    conf = Settings()
    assert conf.task_serializer == conf["task_serializer"] == conf.get("task_serializer") == "json"
    assert conf.result_expires == timedelta(days=1)
    assert conf.worker_lease == 15.0 and conf.worker_delivery_limit == 5
    assert conf.broker_url is None and conf.result_backend is None


def test_one_app_does_not_change_anothers_defaults() -> None:
    one, other = Settings(), Settings()
    one.beat_schedule["tick"] = {}
    one["task_publish_retry_policy"]["max_retries"] = 9
    assert one.beat_schedule == {"tick": {}} and other.beat_schedule == {}
    assert other.task_publish_retry_policy["max_retries"] == 3


def test_changes_win_over_configuration_over_added_defaults() -> None:
    conf = configured({"worker_pool": "configured", "worker_concurrency": 2})
    conf.add_defaults({"worker_pool": "default", "worker_concurrency": 9, "task_acks_late": True})
    conf.add_defaults(lambda: {"task_track_started": True})
    conf.worker_pool = "changed"
    assert (conf.worker_pool, conf.worker_concurrency) == ("changed", 2)
    assert conf.task_acks_late is True and conf.task_track_started is True
    del conf.worker_pool
    assert conf.worker_pool == "configured"


def test_configuration_is_read_late_and_once() -> None:
    reads = []
    ready = []
    conf = Settings(read=lambda: reads.append(1) or {"worker_pool": "solo"}, on_read=ready.append)
    conf.worker_concurrency = 3
    assert reads == [] and not conf.is_read
    assert conf.worker_pool == "solo" and conf.worker_concurrency == 3 and conf.task_routes is None
    assert reads == [1] and ready == [conf] and conf.is_read


def test_a_configuration_that_fails_fails_again() -> None:
    def read() -> dict:
        raise ImportError("no config")

    conf = Settings(read=read)
    for _ in range(2):
        with pytest.raises(ImportError, match="no config"):
            conf.worker_pool  # noqa: B018


def test_another_configuration_takes_the_place_of_the_first() -> None:
    conf = configured({"worker_pool": "one", "worker_concurrency": 1}, task_acks_late=True)
    assert conf.worker_pool == "one"
    conf.use(lambda: {"worker_pool": "two"})
    assert (conf.worker_pool, conf.worker_concurrency, conf.task_acks_late) == ("two", None, True)


def test_a_configuration_may_look_at_settings() -> None:
    conf = Settings(read=lambda: {"worker_concurrency": 2, "worker_pool": conf.worker_pool + "!"})
    assert (conf.worker_pool, conf.worker_concurrency) == ("prefork!", 2)


def test_threads_wait_for_the_configuration() -> None:
    started, go_on = threading.Event(), threading.Event()

    def read() -> dict:
        started.set()
        assert go_on.wait(10)
        return {"worker_pool": "solo"}

    conf = Settings(read=read)
    seen: list[str] = []
    threads = [threading.Thread(target=lambda: seen.append(conf.worker_pool)) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert started.wait(10)
    go_on.set()
    for thread in threads:
        thread.join()
    assert seen == ["solo"] * 3


# -- names


def test_old_names_are_the_same_settings() -> None:
    conf = configured(
        {"CELERYD_POOL": "solo", "CELERY_RESULT_BACKEND": "redis://", "BROKER_URL": "redis://b"}
    )
    assert (conf.worker_pool, conf.result_backend, conf.broker_url) == ("solo", "redis://", "redis://b")
    assert conf["CELERYD_POOL"] == conf.CELERYD_POOL == "solo"
    assert "CELERYD_POOL" in conf and "worker_pool" in conf and "nonsense" not in conf
    conf.CELERYD_CONCURRENCY = 4
    assert conf.worker_concurrency == 4 and conf.changes == {"worker_concurrency": 4}


class Prefixed:
    CELERY_TASK_ACKS_LATE = True
    CELERY_BROKER_URL = "redis://z"
    CELERY_MY_OWN = 1
    CELERY_ALWAYS_EAGER = True
    SECRET_KEY = "s"


def test_prefixed_names() -> None:
    conf = configured(Prefixed, namespace="CELERY")
    assert conf.task_acks_late is True and conf.broker_url == "redis://z" and conf.my_own == 1
    assert conf.task_always_eager is True, "old names that begin with the prefix are read, too"
    assert conf.CELERY_TASK_ACKS_LATE is True
    conf["CELERY_WORKER_POOL"] = "solo"
    conf.update(CELERY_WORKER_CONCURRENCY=2)
    assert (conf.worker_pool, conf.worker_concurrency) == ("solo", 2)


@pytest.mark.parametrize(
    ("source", "advice"),
    [
        ({"task_acks_late": True, "CELERYD_POOL": "solo"}, r"new names.*CELERYD_POOL +-> worker_pool"),
        (
            {"task_acks_late": True, "CELERYD_POOL": "solo", "CELERYD_CONCURRENCY": 2},
            r"old names.*task_acks_late +-> CELERY_ACKS_LATE",
        ),
    ],
)
def test_old_and_new_names_are_not_mixed(source: dict, advice: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"(?s){advice}"):
        configured(source).worker_pool  # noqa: B018


def test_both_names_of_one_setting_may_stand_side_by_side() -> None:
    assert configured({"CELERYD_POOL": "old", "worker_pool": "new"}).worker_pool == "new"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("worker_concurency", "worker_concurrency"),
        ("CELERY_TASK_SERIALISER", "CELERY_TASK_SERIALIZER"),
        ("CELERY_TASK_DEFAULT_QUEUE", "task_default_queue"),
        ("acks_late", "task_acks_late"),
    ],
)
def test_misspelt_names_are_reported(name: str, meant: str) -> None:
    with pytest.warns(UnknownSettingWarning, match=f"'{name}'; did you mean '{meant}'"):
        assert configured({name: 3}).worker_pool == "prefork"
    with pytest.warns(UnknownSettingWarning):
        Settings()[name] = 3


def test_names_of_the_project_are_its_own() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        conf = configured({"my_setting": 1, "Queue": int, "DEBUG": True})
        conf.another_setting = 2
    assert (conf.my_setting, conf["another_setting"], conf.DEBUG) == (1, 2, True)


def test_missing_names_are_errors() -> None:
    with pytest.raises(AttributeError, match="did you mean 'worker_concurrency'"):
        Settings().worker_concurency  # noqa: B018
    with pytest.raises(KeyError):
        Settings()["nonsense"]
    assert Settings().get("nonsense", 5) == 5


def test_settings_that_will_go_away() -> None:
    conf = Settings({"task_acks_on_failure_or_timeout": False})
    with pytest.warns(CPendingDeprecationWarning, match="task_acks_on_failure"):
        assert conf.maybe_warn_deprecated_settings()
    assert not Settings().maybe_warn_deprecated_settings()


# -- sources


def test_sources(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    module = types.ModuleType("made_config")
    module.worker_pool = "module"  # type: ignore[attr-defined]
    module._private = 1  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "made_config", module)
    assert read_source("made_config")["worker_pool"] == "module"
    assert "_private" not in read_source(module)
    assert read_source("tests.unit.app.test_settings:Prefixed")["CELERY_MY_OWN"] == 1
    (tmp_path / "config_here.py").write_text("worker_pool = 'here'\n")
    monkeypatch.chdir(tmp_path)
    assert read_source("config_here")["worker_pool"] == "here"


def test_the_environment_names_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_CONFIG", "tests.unit.app.test_settings:Prefixed")
    assert read_envvar("THE_CONFIG")["CELERY_MY_OWN"] == 1
    with pytest.raises(ImproperlyConfigured, match="NO_CONFIG=proj.celeryconfig"):
        read_envvar("NO_CONFIG")
    assert read_envvar("NO_CONFIG", silent=True) == {}


def test_addresses_in_the_environment_win(monkeypatch: pytest.MonkeyPatch) -> None:
    conf = configured({"broker_url": "redis://config", "result_backend": "redis://config"})
    assert conf.broker_read_url == conf.broker_write_url == "redis://config"
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://env")
    monkeypatch.setenv("CELERY_BROKER_READ_URL", "redis://read")
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "redis://results")
    assert (conf.broker_url, conf.result_backend) == ("redis://env", "redis://results")
    assert (conf.broker_read_url, conf.broker_write_url) == ("redis://read", "redis://env")


def test_the_default_queue_names_exchange_and_key() -> None:
    conf = Settings()
    assert conf.task_default_exchange == conf.task_default_routing_key == "celery"
    conf.task_default_queue = "mine"
    assert conf.task_default_exchange == conf.task_default_routing_key == "mine"
    conf.task_default_exchange = "other"
    assert (conf.task_default_exchange, conf.task_default_routing_key) == ("other", "mine")


# -- as a whole


def test_mapping() -> None:
    conf = configured({"worker_pool": "solo", "own_thing": 1})
    assert {"worker_pool", "own_thing", "task_routes"} <= set(conf.keys())
    assert len(conf) == len(list(conf)) == len(dict(conf))
    assert conf.first("own_nothing", "result_backend", "worker_pool") == "solo"
    assert conf.setdefault("worker_pool", "x") == "solo" and conf.setdefault("own_other", 2) == 2
    assert conf.pop("own_other") == 2 and "own_other" not in conf
    assert conf.find_value_for_key("pool") == conf.get_by_parts("worker", "pool") == "solo"
    assert conf.value_set_for("CELERYD_POOL") and not conf.value_set_for("task_routes")
    assert conf.find_option("pool").namespace == "worker"
    conf.worker_pool = "changed"
    conf.clear()
    assert conf.worker_pool == "solo"


def test_copies_are_apart() -> None:
    conf = configured({"worker_pool": "solo"})
    for twin in (conf.copy(), copy.copy(conf), copy.deepcopy(conf), pickle.loads(pickle.dumps(conf))):
        assert twin.worker_pool == "solo"
        twin.worker_pool = "other"
    assert conf.worker_pool == "solo"


def test_secrets_are_hidden() -> None:
    conf = Settings(
        {
            "broker_url": ["redis://u:s3cret@one", "redis://:s3cret@two"],
            "result_backend": "db+postgresql://u:s3cret@h/1",
            "broker_transport_options": {"password": "s3cret", "nested": [{"api_token": "s3cret"}]},
            "security_key": "s3cret",
            "own_url": "amqp://u:s3cret@h//",
        }
    )
    assert "s3cret" not in conf.humanize() and "s3cret" not in str(conf.table(with_defaults=True))
    assert conf.table()["result_backend"] == "db+postgresql://u:********@h/1"
    assert "s3cret" in conf.humanize(censored=False)


def test_only_what_was_set_is_shown() -> None:
    conf = configured({"worker_pool": "solo"}, task_acks_late=True)
    assert conf.table() == conf.without_defaults() == {"worker_pool": "solo", "task_acks_late": True}
    assert conf.humanize() == "worker_pool: 'solo'\ntask_acks_late: True"
    assert "task_routes: None" in conf.humanize(with_defaults=True)


def test_a_setting_read_once_is_a_plain_attribute() -> None:
    conf = Settings()
    assert conf.task_serializer == "json" and vars(conf)["task_serializer"] == "json"
    conf.worker_pool = "solo"
    assert "task_serializer" not in vars(conf)
