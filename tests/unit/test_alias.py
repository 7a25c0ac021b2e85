"""The alias: `import celery.anything` is celerylite's own module, whatever else is installed."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from celerylite import alias
from tests.support.fresh import run_fresh

INSTALL = "from celerylite.alias import install_as_celery; install_as_celery()\n"


def run_aliased(code: str, cwd: Path | None = None) -> str:
    return run_fresh(INSTALL + textwrap.dedent(code), cwd=cwd)


def test_modules_and_classes_are_the_same_objects() -> None:
    run_aliased(
        """
import sys
import celery, celery.exceptions, celery.app.task
import celerylite, celerylite.exceptions, celerylite.app.task
assert celery is celerylite
assert sys.modules["celery.app.task"] is celerylite.app.task is sys.modules["celerylite.app.task"]
from celery.exceptions import Retry
assert Retry is celerylite.exceptions.Retry
assert celery.app.task.Task is celerylite.Task
"""
    )


def test_a_module_keeps_its_own_identity() -> None:
    run_aliased(
        """
import celery.exceptions as module
assert module.__name__ == module.__spec__.name == "celerylite.exceptions"
assert module.__package__ == "celerylite" == module.__spec__.parent
import importlib
importlib.reload(module)
"""
    )


def test_import_order_does_not_matter() -> None:
    run_aliased(
        """
import celery.utils.dispatch.signal as first
import celerylite.utils.dispatch.signal as second
import celerylite.states as third
from celery import states as fourth
assert first is second and third is fourth
"""
    )


def test_a_missing_module_names_both() -> None:
    out = run_aliased(
        """
for name in ("celery.no_such", "celery.app.no_such", "celery.states.no_such", "celery.no_such.deeper"):
    try:
        __import__(name)
    except ModuleNotFoundError as exc:
        print(exc.name, "|", exc)
"""
    )
    first, second, third, fourth = out.splitlines()
    assert first.startswith("celery.no_such |") and "'celerylite.no_such'" in first
    assert second.startswith("celery.app.no_such |") and "'celerylite.app.no_such'" in second
    assert "celery.states.no_such" in third
    assert "celery.no_such" in fourth


def test_a_module_that_fails_to_import_shows_its_own_error() -> None:
    out = run_aliased(
        """
import sys
sys.modules["kombu.exceptions"] = None  # as if kombu were broken
try:
    from celery.exceptions import OperationalError
except ImportError as exc:
    print(exc)
"""
    )
    assert "kombu.exceptions" in out


def test_an_imported_celery_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "celery.py").write_text("real = True\n")
    out = run_fresh(
        """
import celery
from celerylite.alias import install_as_celery, installed
try:
    install_as_celery()
except ImportError as exc:
    print(exc)
assert celery.real and not installed()
""",
        cwd=tmp_path,
    )
    assert "already imported from" in out and "install_as_celery()" in out


def test_an_installed_celery_is_not_seen(tmp_path: Path) -> None:
    package = tmp_path / "celery"
    package.mkdir()
    (package / "__init__.py").write_text("real = True\n")
    (package / "only_there.py").write_text("")
    out = run_aliased(
        """
import celery
print(hasattr(celery, "real"))
try:
    import celery.only_there
except ModuleNotFoundError as exc:
    print(exc.name)
""",
        cwd=tmp_path,
    )
    assert out.splitlines() == ["False", "celery.only_there"]


def test_without_the_call_nothing_changes() -> None:
    assert run_fresh("import celerylite, sys; print('celery' in sys.modules)") == "False"
    assert not alias.installed()


def test_calling_twice_installs_once() -> None:
    out = run_aliased(
        """
import sys
install_as_celery()
print([type(finder).__name__ for finder in sys.meta_path].count("AliasFinder"))
"""
    )
    assert out == "1"


def test_installing_is_light() -> None:
    heavy = ("importlib.metadata", "multiprocessing", "kombu", "asyncio", "inspect")
    out = run_aliased(f"import sys; print([name for name in {heavy!r} if name in sys.modules])")
    assert out == "[]"


def test_versions_satisfy_requirements() -> None:
    out = run_aliased(
        """
from importlib.metadata import PackageNotFoundError, distribution, entry_points, metadata, version
import celery
print(version("celery"), version("Celery"), metadata("celery")["Name"], celery.__version__)
print(distribution("celery").requires, list(distribution("celery").entry_points), version("billiard"))
entry_points()
version("kombu")
try:
    version("no-such-package")
except PackageNotFoundError:
    print("not found")
"""
    )
    first, second, third = out.splitlines()
    number, again, name, own = first.split()
    assert number == again and name == "celery"
    assert int(number.split(".")[0]) >= 5 and int(own.split(".")[0]) >= 5
    assert second == "None [] 4.3.2"
    assert third == "not found"


def test_pickles_of_celery_classes_load() -> None:
    run_aliased(
        r"""
import pickle
from celerylite.exceptions import Retry
assert pickle.loads(b"\x80\x04ccelery.exceptions\nRetry\n.") is Retry
from celerylite.exceptions import WorkerLostError
assert pickle.loads(b"\x80\x04cbilliard.exceptions\nWorkerLostError\n.") is WorkerLostError
"""
    )


def test_patching_by_dotted_path_reaches_our_module() -> None:
    run_aliased(
        """
from unittest import mock
import celerylite.states
with mock.patch("celery.states.SUCCESS", "patched"):
    assert celerylite.states.SUCCESS == "patched"
"""
    )


def test_billiard_offers_our_errors_and_multiprocessing() -> None:
    run_aliased(
        """
import multiprocessing
import billiard, celerylite.exceptions
from billiard.exceptions import SoftTimeLimitExceeded, TimeoutError
from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from celerylite.utils.einfo import ExceptionInfo as ours
assert SoftTimeLimitExceeded is celerylite.exceptions.SoftTimeLimitExceeded is billiard.SoftTimeLimitExceeded
assert TimeoutError is multiprocessing.TimeoutError
assert ExceptionInfo is ours
assert billiard.Process is multiprocessing.Process and billiard.VERSION >= (4, 0, 1)
assert billiard.current_process().name == "MainProcess"
assert not hasattr(billiard, "no_such")
"""
    )


def test_wrapped_billiard_worker_sees_the_end_of_a_task_process() -> None:
    out = run_aliased(
        """
from billiard.pool import Worker
workloop, do_exit = Worker.workloop, Worker._do_exit
def wrapped_loop(self, *args, **kwargs):
    try:
        return workloop(self, *args, **kwargs)
    finally:
        print("flushed")
def wrapped_exit(self, pid, exitcode, exc=None):
    print("left", exitcode)
    return do_exit(self, pid, exitcode, exc)
Worker.workloop, Worker._do_exit = wrapped_loop, wrapped_exit
from celerylite.shims.billiard.pool import run_exit_hooks
run_exit_hooks()
"""
    )
    assert out.splitlines() == ["flushed", "left 0"]


def test_import_hooks_of_tracing_tools_stay_in_front() -> None:
    out = run_fresh(
        """
import importlib.util, sys

class Hook:
    def find_spec(self, name, path=None, target=None):
        if name == "celery.app.trace":
            print("saw", name)
        return None

Hook.__module__ = "ddtrace.internal.module"
sys.meta_path.insert(0, Hook())
from celerylite.alias import install_as_celery
install_as_celery()
print(type(sys.meta_path[1]).__name__)
"""
    )
    assert out.splitlines() == ["saw celery.app.trace", "AliasFinder"]


def test_new_relic_is_told_under_the_name_it_waits_for() -> None:
    out = run_fresh(
        """
import sys, types
hooks = types.ModuleType("newrelic.api.import_hook")
hooks._notify_import_hooks = lambda name, module: print(name, module.__name__)
sys.modules[hooks.__name__] = hooks
from celerylite.alias import install_as_celery
install_as_celery()
"""
    )
    assert "celery.app.trace celerylite.app.trace" in out.splitlines()


def test_every_module_of_ours_is_found_under_both_names() -> None:
    """Importing under celery's name must not replace what a package keeps under a submodule's name."""
    out = run_aliased(
        """
import importlib, pkgutil, sys
import celerylite

names, before = [], {}
for found in pkgutil.walk_packages(celerylite.__path__, "celerylite.", onerror=lambda name: None):
    if found.name.endswith("__main__") or ".shims" in found.name:
        continue
    try:
        importlib.import_module(found.name)
    except ImportError:
        continue  # an optional dependency is missing
    names.append(found.name)
for name in names:
    parent, _, child = name.rpartition(".")
    before[name] = getattr(sys.modules[parent], child)
for name in names:
    aliased = importlib.import_module(name.replace("celerylite", "celery", 1))
    assert aliased is sys.modules[name], name
    parent, _, child = name.rpartition(".")
    if getattr(sys.modules[parent], child) is not before[name]:
        print("replaced:", name)
print(len(names) > 30)
"""
    )
    assert out == "True"


@pytest.mark.parametrize(
    ("value", "wanted"), [("1", True), ("true", True), ("0", False), ("", False), (None, False)]
)
def test_the_environment_asks_for_it(
    value: str | None, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(alias.ENVIRONMENT_VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(alias.ENVIRONMENT_VARIABLE, value)
    assert alias.wanted_by_environment() is wanted
