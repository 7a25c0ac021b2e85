"""Result stores are found by name, URL, class and path; what is unknown is refused with the known names."""

from __future__ import annotations

from typing import Any

import pytest

from celerylite import backends
from celerylite.backends.base import BaseBackend, DisabledBackend
from celerylite.backends.cache import CacheBackend
from celerylite.backends.redis import RedisBackend, SentinelBackend
from celerylite.exceptions import ImproperlyConfigured


class Own(BaseBackend):
    """A store of a user."""


@pytest.mark.parametrize(
    ("given", "cls", "url"),
    [
        (None, DisabledBackend, None),
        ("disabled", DisabledBackend, None),
        ("redis", RedisBackend, None),
        ("redis://h/1", RedisBackend, "redis://h/1"),
        ("rediss://h/1", RedisBackend, "rediss://h/1"),
        ("redis+socket:///x", RedisBackend, "socket:///x"),
        ("socket:///x", RedisBackend, "socket:///x"),
        ("sentinel://h:1;sentinel://i:1", SentinelBackend, "sentinel://h:1;sentinel://i:1"),
        ("cache+memory://", CacheBackend, "memory://"),
        (f"{__name__}:Own", Own, None),
        (f"{__name__}.Own", Own, None),
        (Own, Own, None),
    ],
)
def test_names_and_urls(given: Any, cls: type, url: str | None) -> None:
    assert backends.by_url(given) == (cls, url)


@pytest.mark.parametrize("given", ["nope", "nope://x", "no.such.module:Class", "os.path"])
def test_unknown_names(given: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="Unknown result backend"):
        backends.by_url(given)


def test_the_known_names_are_told() -> None:
    with pytest.raises(ImproperlyConfigured, match="rdeis") as caught:
        backends.by_url("rdeis://")
    # Installed packages may have added theirs.
    known = str(caught.value).split("these are known: ")[1].rstrip(")").split(", ")
    assert {"cache", "disabled", "redis", "rediss", "sentinel"} <= set(known)


def test_a_loader_adds_names() -> None:
    class Loader:
        override_backends = {"own": f"{__name__}:Own"}

    assert backends.by_name("own", Loader()) is Own


def test_entry_points_add_names(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "own-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: own\nVersion: 1.0\n")
    groups = {"celery.result_backends": "first", "celerylite.result_backends": "second"}
    lines = [f"[{group}]\n{name} = {__name__}:Own\n" for group, name in groups.items()]
    (info / "entry_points.txt").write_text("".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    assert backends.by_name("first") is Own and backends.by_name("second") is Own


def test_no_backend_says_so(app: Any) -> None:
    from celerylite import Celery

    none = Celery("none", broker="memory://", set_as_current=False)
    result = none.AsyncResult("x")
    for ask in (
        lambda: result.state,
        lambda: result.get(timeout=1),
        result.forget,
        lambda: none.backend.get_many(["x"]),
    ):
        with pytest.raises(NotImplementedError, match="No result backend is configured"):
            ask()
    assert none.backend.as_uri() == "disabled://"
    none.backend.store_result("x", 1, "SUCCESS")
    none.backend.mark_as_done("x", 1)
