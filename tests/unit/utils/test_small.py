"""The small helpers: texts, names, imports, objects, containers, this machine."""

from __future__ import annotations

import copy
import pickle
import threading
import uuid as standard_uuid
import warnings

import pytest

from celerylite import utils
from celerylite.exceptions import CDeprecationWarning, CPendingDeprecationWarning
from celerylite.utils import deprecated, imports, nodenames, objects, sysinfo, text
from celerylite.utils.abstract import CallableSignature, CallableTask
from celerylite.utils.collections import AttributeDict, DictAttribute, LimitedSet, force_mapping, lpmerge
from celerylite.utils.term import colored
from celerylite.utils.threads import Local, LocalManager, LocalStack, bgThread
from celerylite.utils.uuids import uuids


def test_identifiers_are_random_uuids() -> None:
    made = {utils.uuid() for _ in range(100)} | set(uuids(50)) | set(uuids(50))
    assert len(made) == 200
    for one in made:
        parsed = standard_uuid.UUID(one)
        assert str(parsed) == one and parsed.version == 4 and parsed.variant == standard_uuid.RFC_4122


def test_names_of_the_package() -> None:
    for name in utils.__all__:
        assert getattr(utils, name) is not None
    with pytest.raises(AttributeError):
        utils.no_such_helper  # noqa: B018


# -- text


def test_shortening() -> None:
    assert text.abbr("abcdefgh", 5) == "ab..." and text.abbr("abc", 5) == "abc"
    assert text.abbrtask("proj.tasks.add", 10) == "proj[.]add"
    assert text.truncate("some long text", 10) == "some long..."


def test_forms() -> None:
    assert text.simple_format("%a-%b-%%", {"a": "1", "b": lambda: "2", "%": "%"}) == "1-2-%"
    with pytest.raises(ValueError, match="%z"):
        text.simple_format("%z", {})


def test_words_and_lines() -> None:
    assert [text.pluralize(n, "day") for n in (0, 1, 2)] == ["days", "day", "days"]
    assert text.indent("a\nb", 2) == "  a\n  b"
    assert text.str_to_list("a, b") == ["a", "b"] and text.str_to_list(["a"]) == ["a"]
    assert text.join(["a", "", "b"]) == "a\nb"
    assert text.fill_paragraphs("aa bb\ncc", 4) == "aa\nbb\ncc"
    assert text.pretty({"a": 1}).replace("\n", "") == "{ 'a': 1}"
    buffer = text.WhateverIO(b"bytes ")
    buffer.seek(0, 2)
    buffer.write("and text")
    assert buffer.getvalue() == "bytes and text"


def test_colours_nest_and_can_be_off() -> None:
    on = colored(enabled=True)
    assert str(on.red("a", on.bold("b"))) == "\033[1;31ma\033[1mb\033[0m\033[0m"
    assert str(colored(enabled=False).red("a")) == "a" == on.red("a").no_color()
    assert on.blue("x") + "y" == "\033[1;34mx\033[0my"


# -- names of workers


def test_worker_names() -> None:
    assert nodenames.nodename("w", "h") == "w@h"
    assert nodenames.nodesplit("w@h@x") == ("w", "h@x") and nodenames.nodesplit("h") == (None, "h")
    assert nodenames.default_nodename("w@") == f"w@{nodenames.gethostname()}"
    assert nodenames.default_nodename("@h") == "celery@h" == nodenames.default_nodename("h")
    assert nodenames.anon_nodename("h").startswith("gen")


def test_forms_of_worker_names() -> None:
    assert (
        nodenames.node_format("%n-%d-%h-%i%I-%%", "w@foo.example.com") == "w-example.com-foo.example.com-0-%"
    )
    assert nodenames.host_format("%n", "foo.example.com") == "foo"


def test_the_queue_of_one_worker() -> None:
    queue = nodenames.worker_direct("w@h")
    assert (queue.name, queue.exchange.name, queue.routing_key) == ("w@h.dq2", "C.dq2", "w@h")
    assert nodenames.worker_direct(queue) is queue


# -- imports


def test_finding_by_name() -> None:
    assert imports.symbol_by_name("os.path:join") is imports.symbol_by_name("os.path.join")
    assert imports.symbol_by_name("short", aliases={"short": "json:loads"})("1") == 1
    assert imports.symbol_by_name(".uuids:uuid", package="celerylite.utils") is utils.uuid
    assert imports.symbol_by_name(print) is print
    assert imports.symbol_by_name("no.such:thing", default=5) == 5
    with pytest.raises(ModuleNotFoundError):
        imports.symbol_by_name("no.such:thing")
    assert imports.instantiate("celerylite.utils.objects:Bunch", a=1).a == 1
    assert (
        imports.qualname(objects.Bunch)
        == imports.qualname(objects.Bunch())
        == "celerylite.utils.objects.Bunch"
    )


def test_importing_from_the_current_directory(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "only_here_module.py").write_text("value = 1\n")
    monkeypatch.chdir(tmp_path)
    assert imports.import_from_cwd("only_here_module").value == 1
    assert imports.find_module("only_here_module").value == 1
    with pytest.raises(imports.NotAPackage):
        imports.find_module("only_here_module.sub")


class App:
    main = "proj.app"


def test_task_names() -> None:
    assert imports.gen_task_name(App, "add", "proj.tasks") == "proj.tasks.add"
    assert (
        imports.gen_task_name(App, "add", "__main__")
        == "proj.app.add"
        == imports.gen_task_name(App, "add", None)
    )


# -- objects


class Cached:
    def __init__(self) -> None:
        self.calls = 0

    @objects.cached_property
    def value(self) -> int:
        self.calls += 1
        return self.calls


def test_cached_property() -> None:
    cached = Cached()
    assert (cached.value, cached.value, cached.calls) == (1, 1, 1)
    del cached.value
    assert cached.value == 2
    cached.value = 7
    assert cached.value == 7
    assert isinstance(Cached.value, objects.cached_property)


class Mapped(dict):
    retries = objects.getitem_property("options.retries", "How often.")


def test_getitem_property() -> None:
    mapped = Mapped(options={"retries": 3})
    assert mapped.retries == 3
    mapped.retries = 4
    assert mapped == {"options": {"retries": 4}}


def test_contexts_given_or_made() -> None:
    with objects.FallbackContext("given", None) as value:  # type: ignore[arg-type]
        assert value == "given"
    with objects.FallbackContext(None, threading.Lock) as held:
        assert held is True


def test_where_an_attribute_comes_from() -> None:
    class Base:
        def hook(self) -> None: ...

    class Derived(Base): ...

    assert objects.mro_lookup(Derived, "hook") is Base
    assert objects.mro_lookup(Derived, "hook", stop={Base}) is None
    assert objects.mro_lookup(Derived, "hook", stop={Base}, monkey_patched=["elsewhere"]) is Base


def test_tasks_and_signatures_are_known_by_their_methods() -> None:
    class LikeATask:
        def __call__(self): ...
        def delay(self): ...
        def apply(self): ...
        def apply_async(self): ...

    assert isinstance(LikeATask(), CallableTask) and not isinstance(LikeATask(), CallableSignature)
    assert not isinstance(print, CallableTask)


# -- containers


def test_dicts_with_attributes() -> None:
    d = AttributeDict(a=1)
    d.b = 2
    assert d == {"a": 1, "b": 2} and d.a == 1
    with pytest.raises(AttributeError):
        d.c  # noqa: B018
    bag = objects.Bunch(x=1)
    view = force_mapping(bag)
    assert isinstance(view, DictAttribute) and view["x"] == 1 and "y" not in view and view.get("y") is None
    assert lpmerge({"a": 1, "b": 2}, {"a": 3, "b": None}) == {"a": 3, "b": 2}


def test_limited_sets_forget_the_oldest() -> None:
    ids = LimitedSet(maxlen=2)
    for number, one in enumerate("abc"):
        ids.add(one, now=100.0 + number)
    assert list(ids) == ["b", "c"] and "a" not in ids
    ids.add("b", now=200.0)
    assert list(ids) == ["c", "b"]
    assert ids.pop() == "c" and len(ids) == 1


def test_limited_sets_forget_the_old() -> None:
    ids = LimitedSet(expires=10, minlen=1, maxlen=5)
    ids.add("a", now=100.0)
    ids.add("b", now=105.0)
    ids.purge(now=112.0)
    assert list(ids) == ["b"]
    ids.purge(now=1000.0)
    assert list(ids) == ["b"]


def test_limited_sets_merge_and_travel() -> None:
    mine, theirs = LimitedSet(), LimitedSet()
    mine.add("a", now=1.0)
    theirs.update({"b": 2.0, "a": {"inserted": 3.0}})
    mine.update(theirs)
    assert mine.as_dict() == {"b": 2.0, "a": 3.0}
    assert pickle.loads(pickle.dumps(mine)) == mine == copy.copy(mine)


# -- threads


def test_each_thread_has_its_own() -> None:
    local, stack = Local(), LocalStack()
    local.name = "main"
    stack.push(1)
    seen = []
    thread = threading.Thread(target=lambda: seen.append((hasattr(local, "name"), len(stack), stack.pop())))
    thread.start()
    thread.join()
    assert seen == [(False, 0, None)]
    assert stack.top == 1 and stack() == 1 and local("name") == "main"
    LocalManager([local]).cleanup()
    assert not hasattr(local, "name")


def test_background_threads_stop() -> None:
    turned = threading.Event()

    class Wheel(bgThread):
        def body(self) -> None:
            turned.set()

    wheel = Wheel()
    wheel.start()
    assert turned.wait(10)
    wheel.stop()
    assert not wheel.is_alive()


# -- this machine


def test_cpus(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = tmp_path / "fs" / "outer" / "inner"
    group.mkdir(parents=True)
    (group / "cpu.max").write_text("max 100000\n")
    (group.parent / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "cgroup").write_text("0::/outer/inner\n")
    monkeypatch.setattr(sysinfo, "CGROUP_ROOT", str(tmp_path / "fs"))
    monkeypatch.setattr(sysinfo, "PROC_SELF_CGROUP", str(tmp_path / "cgroup"))
    assert sysinfo.cgroup_cpu_quota() == 1.5
    budget = sysinfo.cpu_budget()
    assert budget.count == min(budget.available, 2) and budget.quota == 1.5
    assert sysinfo.cpu_budget(use_cgroup_quota=False).quota is None
    assert sysinfo.is_auto_concurrency(" Auto ") and not sysinfo.is_auto_concurrency(2)


def test_load_and_disk(tmp_path) -> None:
    assert all(load >= 0 for load in sysinfo.load_average())
    disk = sysinfo.df(tmp_path)
    assert 0 <= disk.capacity <= 101 and disk.total_blocks >= disk.available


def test_deprecation() -> None:
    @deprecated.Callable(removal="9.0", alternative="Use that.")
    def old() -> int:
        return 1

    with pytest.warns(CDeprecationWarning, match="removed in version 9.0. Use that"):
        assert old() == 1
    with pytest.warns(CPendingDeprecationWarning):
        deprecated.warn("This", deprecation="8.0", removal="9.0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        deprecated.Property(removal="9.0")(lambda self: 1)
