"""Tasks: made from functions and classes, called, retried, configured."""

from __future__ import annotations

import pickle
from datetime import datetime, timezone
from typing import Any

import pytest

from celerylite import Celery, Task, current_app, current_task, shared_task, signals
from celerylite.context import Context
from celerylite.exceptions import (
    DuplicateTaskNameWarning,
    MaxRetriesExceededError,
    NotRegistered,
    Reject,
    Retry,
)


def request(**fields: Any) -> dict[str, Any]:
    """The request of a task that a worker runs."""
    info = {"exchange": "", "routing_key": "celery", "priority": 0}
    return {"id": "I", "called_directly": False, "args": (1,), "kwargs": {}, "delivery_info": info, **fields}


# -- making tasks


def test_a_task_is_callable_and_registered(app: Celery) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        """Adds."""
        return x + y

    assert add(1, 2) == 3
    assert add.name == f"{__name__}.add"
    assert app.tasks[add.name] is add
    assert (add.__name__, add.__doc__, add.__module__) == ("add", "Adds.", __name__)
    assert isinstance(add, Task)
    assert repr(add).startswith(f"<@task: {add.name} of proj at 0x")


def test_options_are_attributes(app: Celery) -> None:
    @app.task(name="n", max_retries=7, queue="q", anything="x")
    def job() -> None: ...

    assert (job.max_retries, job.queue, job.anything) == (7, "q", "x")


def test_tasks_of_main_are_named_by_the_app(app: Celery) -> None:
    def job() -> None: ...

    job.__module__ = "__main__"
    assert app.task(job).name == "proj.job"


def test_bind_gives_self(app: Celery) -> None:
    @app.task(bind=True)
    def who(self: Any, x: int) -> Any:
        return self.name, x, current_task.name

    assert who(3) == (who.name, 3, who.name)


def test_the_name_is_generated_by_the_app(app: Celery) -> None:
    class Named(Celery):
        def gen_task_name(self, name: str, module: str) -> str:
            return f"mine.{name}"

    @Named(set_as_current=False).task
    def job() -> None: ...

    assert job.name == "mine.job"


def test_base_and_task_cls(app: Celery) -> None:
    class Mine(Task):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return "mine", super().__call__(*args, **kwargs)

    @app.task(base=Mine)
    def one() -> int:
        return 1

    assert one() == ("mine", 1)
    other = Celery("other", task_cls=Mine, set_as_current=False)

    @other.task
    def two() -> int:
        return 2

    assert two() == ("mine", 2)
    app.Task = Mine

    @app.task
    def three() -> int:
        return 3

    assert three() == ("mine", 3)


def test_class_based_task(app: Celery) -> None:
    class Send(Task):
        rate_limit = "1/s"

        def run(self, to: str) -> str:
            return f"to {to}"

    send = app.register_task(Send())
    assert send.name == f"{__name__}.Send"
    assert send("a") == "to a"
    assert send.rate_limit == "1/s"
    assert app.tasks[send.name] is send


def test_a_task_without_run_says_so() -> None:
    with pytest.raises(NotImplementedError):
        Task()()


def test_on_bound_sees_the_class_of_the_task(app: Celery) -> None:
    bound = []

    class Base(Task):
        abstract = True

        @classmethod
        def on_bound(cls, app: Any) -> None:
            bound.append(cls.name)

    app.task(base=Base, name="a")(lambda: 1)
    app.task(base=Base, name="b")(lambda: 2)
    assert [name for name in bound if name] == ["a", "b"]


def test_two_functions_of_one_name_warn(app: Celery) -> None:
    def job() -> None: ...
    def work() -> None: ...

    first = app.task(name="n")(job)
    with pytest.warns(DuplicateTaskNameWarning, match="'n'") as caught:
        assert app.task(name="n")(work) is first
    assert caught[0].filename == __file__


def test_the_same_function_twice_is_one_task(app: Celery) -> None:
    def job() -> None: ...

    assert app.task(name="n")(job) is app.task(name="n")(job)


def test_wrong_use_of_the_decorator(app: Celery) -> None:
    with pytest.raises(TypeError, match="callable"):
        app.task(1)
    with pytest.raises(TypeError, match="1 argument"):
        app.task(len, 2)


def test_shared_tasks_belong_to_the_current_app(app: Celery) -> None:
    @shared_task
    def job() -> int:
        return 1

    assert job.app is app
    assert job() == 1
    other = Celery("other")
    assert job.app is other
    assert job.name in other.tasks
    assert job.name in app.tasks
    with pytest.raises(TypeError, match="already"):
        shared_task(job)


def test_tasks_are_shared_with_apps_made_later(app: Celery) -> None:
    @app.task(name="everywhere")
    def job() -> None: ...

    @app.task(name="only.here", shared=False)
    def work() -> None: ...

    other = Celery("other", set_as_current=False)
    assert "everywhere" in other.tasks
    assert "only.here" not in other.tasks
    assert other.tasks["everywhere"].app is other


def test_unknown_tasks(app: Celery) -> None:
    with pytest.raises(NotRegistered):
        app.tasks["nope"]
    with pytest.raises(NotRegistered):
        app.tasks.unregister("nope")


def test_a_task_is_pickled_by_name(app: Celery) -> None:
    @app.task(name="pickled")
    def job() -> None: ...

    app.finalize()
    assert pickle.loads(pickle.dumps(job)) is job


# -- settings of tasks


def test_settings_are_read_when_they_are_used(app: Celery) -> None:
    @app.task
    def job() -> None: ...

    app.conf.task_acks_late = True
    app.conf.task_default_rate_limit = "5/s"
    assert job.acks_late is True
    assert job.rate_limit == "5/s"
    job.rate_limit = "9/s"
    assert job.rate_limit == "9/s"


def test_none_means_the_setting(app: Celery) -> None:
    app.conf.task_time_limit = 30

    @app.task(time_limit=None)
    def job() -> None: ...

    assert job.time_limit == 30


def test_annotations(app: Celery) -> None:
    def loud(original: Any) -> Any:
        def on_success(self: Any, *args: Any) -> str:
            return f"{original(self, *args)}!"

        return on_success

    app.conf.task_annotations = [
        {"*": {"rate_limit": "1/m", "x": 1}, "special": {"x": 2, "@on_success": loud}}
    ]

    @app.task(name="plain")
    def plain() -> str:
        return "a"

    @app.task(name="special")
    def special() -> str:
        return "b"

    assert (plain.rate_limit, special.rate_limit) == ("1/m", "1/m")
    assert (plain.x, special.x) == (1, 2)
    assert plain.on_success("a", "I", (), {}) is None
    assert special.on_success("b", "I", (), {}) == "None!"


# -- calling


def test_wrong_arguments_are_refused_at_the_call(app: Celery, sent: list) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(typing=False)
    def careless(x: int) -> int:
        return x

    for call in (lambda: add.delay(1), lambda: add.delay(1, 2, 3), lambda: add.delay(1, z=2)):
        with pytest.raises(TypeError, match=r"add\(\)"):
            call()
    assert not sent
    careless.delay()
    assert len(sent) == 1
    loose = Celery("loose", strict_typing=False, set_as_current=False)
    loose._broker = app.broker
    loose.task(name="x")(lambda a: a).delay()
    assert len(sent) == 2


def test_soft_limit_above_the_hard_one(app: Celery) -> None:
    job = app.task(name="x", time_limit=1, soft_time_limit=2)(lambda: 1)
    with pytest.raises(ValueError, match="soft_time_limit"):
        job.delay()


def test_due_time_of_the_message(app: Celery, sent: list) -> None:
    job = app.task(name="x")(lambda: 1)
    job.apply_async(eta=datetime(2031, 1, 1))
    job.apply_async(eta=datetime(2031, 1, 1, tzinfo=timezone.utc))
    job.apply_async(countdown=60)
    job.delay()
    assert sent[0].due == sent[1].due == datetime(2031, 1, 1, tzinfo=timezone.utc).timestamp()
    assert sent[2].due - datetime.now(timezone.utc).timestamp() == pytest.approx(60, abs=2)
    assert sent[3].due is None


def test_shadow_name(app: Celery, sent: list) -> None:
    class Base(Task):
        def shadow_name(self, args: Any, kwargs: Any, options: Any) -> str:
            return f"shadow of {args}"

    job = app.task(name="x", base=Base)(lambda a: 1)
    job.delay(1)
    job.apply_async((1,), shadow="given")
    assert [message.headers["shadow"] for message in sent] == ["shadow of (1,)", "given"]


def test_results_are_noted_on_the_trail(app: Celery) -> None:
    job, quiet = app.task(name="x")(lambda: 1), app.task(name="y", trail=False)(lambda: 1)
    for parent, expected in ((job, 1), (quiet, 0)):
        parent.push_request(**request())
        result = job.delay()
        job.apply_async(add_to_parent=False)
        assert parent.request.children == [result][:expected]
        parent.pop_request()


def test_publish_signals_see_and_change_what_is_sent(app: Celery, sent: list) -> None:
    job = app.task(name="x")(lambda: 1)
    seen = []

    def before(
        sender: Any = None, headers: Any = None, body: Any = None, properties: Any = None, **kw: Any
    ) -> None:
        headers["trace"] = "t"
        properties["app_id"] = "a"
        body[1]["k"] = 1
        seen.append((sender, kw["exchange"], kw["routing_key"], kw["declare"][0].name))

    def after(sender: Any = None, headers: Any = None, **kw: Any) -> None:
        seen.append((sender, headers["trace"], len(sent)))

    signals.before_task_publish.connect(before)
    signals.after_task_publish.connect(after)
    try:
        job.apply_async(queue="q")
        app.send_tasks([job.s()])
    finally:
        signals.before_task_publish.disconnect(before)
        signals.after_task_publish.disconnect(after)
    assert seen[:2] == [("x", "", "q", "q"), ("x", "t", 1)]
    assert [m.headers["trace"] for m in sent] == ["t", "t"]
    assert sent[0].properties["app_id"] == "a"
    assert b'"k": 1' in sent[0].body


# -- retrying


def test_retry_leaves_its_message_to_the_end_of_the_execution_and_raises(app: Celery, sent: list) -> None:
    job = app.task(name="x", default_retry_delay=7)(lambda a: 1)
    job.push_request(**request(retries=1, ignore_result=True))
    with pytest.raises(Retry) as caught:
        job.retry(exc=KeyError("x"))
    [message] = job.request._outbox
    job.pop_request()
    assert not sent
    assert caught.value.when == 7
    assert isinstance(caught.value.exc, KeyError)
    assert (message.headers["id"], message.headers["retries"]) == ("I", 2)
    assert message.headers["ignore_result"] is True


def test_retries_used_up(app: Celery, sent: list) -> None:
    job = app.task(name="x", max_retries=2)(lambda a: 1)
    job.push_request(**request(retries=2))
    with pytest.raises(MaxRetriesExceededError) as caught:
        job.retry()
    assert caught.value.task_args == (1,)
    with pytest.raises(KeyError):
        job.retry(exc=KeyError("x"))
    try:
        raise OSError("lost")
    except OSError as exc:
        with pytest.raises(OSError, match="lost"):
            job.retry(exc=exc)
    with pytest.raises(Retry):
        job.retry(max_retries=5)
    assert len(job.request._outbox) == 1
    job.pop_request()
    assert not sent


def test_retry_that_does_not_raise_is_sent_at_once(app: Celery, sent: list) -> None:
    job = app.task(name="x")(lambda a: 1)
    job.push_request(**request())
    assert isinstance(job.retry(throw=False), Retry)
    job.pop_request()
    assert len(sent) == 1


def test_what_cannot_be_sent_again_is_rejected(app: Celery) -> None:
    job = app.task(name="x")(lambda a: 1)
    job.push_request(**request())
    with pytest.raises(Reject):
        job.retry(args=(object(),))
    job.pop_request()


def test_retry_when_called_directly(app: Celery, sent: list) -> None:
    @app.task(bind=True)
    def job(self: Any, exc: Any = None) -> None:
        self.retry(exc=exc)

    with pytest.raises(Retry):
        job()
    with pytest.raises(KeyError):
        job(KeyError("x"))
    assert not sent


def test_autoretry(app: Celery, sent: list) -> None:
    @app.task(
        autoretry_for=(OSError,), dont_autoretry_for=(FileNotFoundError,), retry_kwargs={"countdown": 3}
    )
    def job(error: type[Exception]) -> None:
        raise error("x")

    job.push_request(**request(kwargs={}))
    with pytest.raises(Retry) as caught:
        job.run(ConnectionError)
    assert caught.value.when == 3
    with pytest.raises(FileNotFoundError):
        job.run(FileNotFoundError)
    with pytest.raises(KeyError):
        job.run(KeyError)
    job.pop_request()


@pytest.mark.parametrize("retries,delay", [(0, 3), (1, 6), (2, 10)])
def test_backoff(app: Celery, sent: list, retries: int, delay: int) -> None:
    class Base(Task):
        autoretry_for = (OSError,)
        retry_backoff = 3
        retry_backoff_max = 10
        retry_jitter = False

        def run(self, *args: Any) -> None:
            raise OSError

    job = app.register_task(Base())
    job.push_request(**request(retries=retries))
    with pytest.raises(Retry) as caught:
        job.run()
    job.pop_request()
    assert caught.value.when == delay


# -- requests


def test_request_outside_and_inside(app: Celery) -> None:
    job = app.task(name="x")(lambda: 1)
    assert job.request.called_directly
    assert job.request.id is None
    job.push_request(id="A")
    job.push_request(id="B")
    assert (job.request.id, len(job.request_stack)) == ("B", 2)
    job.pop_request()
    assert job.request.id == "A"
    assert job.request_stack.top.id == "A"
    job.pop_request()
    assert job.request_stack.top is None


def test_the_worker_calls_through_dunder_call_with_its_request(app: Celery) -> None:
    from celerylite import context

    @app.task(bind=True)
    def job(self: Any) -> Any:
        return self.request.id

    token = context.push(job, Context(id="W", called_directly=False))
    try:
        assert job() == "W"
        assert job() is None  # a second, direct call of the task inside itself
    finally:
        context.pop(token)


def test_current_app_is_the_last_one_made(app: Celery) -> None:
    assert current_app.main == "proj"
    Celery("second")
    assert current_app.main == "second"
    app.set_current()
    assert current_app.main == "proj"
