"""Signals tell everyone who is connected, and survive those who fail."""

from __future__ import annotations

import logging

import pytest

from celerylite import signals
from celerylite.utils.dispatch import Signal


def test_receivers_get_signal_sender_and_keywords() -> None:
    signal = Signal(name="happened")
    seen = []

    @signal.connect
    def receiver(signal=None, sender=None, **kwargs):
        seen.append((signal, sender, kwargs))
        return "answer"

    assert signal.send("me", a=1) == [(receiver, "answer")]
    assert seen == [(signal, "me", {"a": 1})]


def test_nobody_listens() -> None:
    signal = Signal()
    assert not signal.receivers
    assert signal.send(None, a=1) == []


def test_only_for_one_sender() -> None:
    signal = Signal()

    class Task:
        pass

    mine = Task()

    @signal.connect(sender=mine)
    def by_object(**kwargs):
        return "object"

    @signal.connect(sender="proj.add")
    def by_name(**kwargs):
        return "name"

    assert [answer for _, answer in signal.send(mine)] == ["object"]
    assert [answer for _, answer in signal.send("".join(["proj", ".add"]))] == ["name"]
    assert signal.send(Task()) == []
    assert signal.has_listeners(mine) and not signal.has_listeners(Task())


def test_errors_are_logged_and_returned(caplog: pytest.LogCaptureFixture) -> None:
    signal = Signal()

    @signal.connect
    def broken(**kwargs):
        raise ValueError("boo")

    @signal.connect
    def fine(**kwargs):
        return 1

    with caplog.at_level(logging.ERROR):
        (_, error), (_, answer) = signal.send(None)
    assert isinstance(error, ValueError) and answer == 1
    assert "raised: ValueError('boo')" in caplog.text


def test_receivers_must_take_keywords() -> None:
    with pytest.raises(ValueError, match="keyword arguments"):
        Signal().connect(lambda sender: None)


def test_weak_and_strong_receivers() -> None:
    signal = Signal()

    class Listener:
        def hear(self, **kwargs):
            return "heard"

    listener = Listener()
    signal.connect(listener.hear)
    signal.connect(lambda **kwargs: "weak")
    signal.connect(lambda **kwargs: "strong", weak=False)
    assert [answer for _, answer in signal.send(None)] == ["heard", "strong"]
    del listener
    assert [answer for _, answer in signal.send(None)] == ["strong"]


def test_dispatch_uid_connects_once() -> None:
    signal = Signal()

    def first(**kwargs):
        return 1

    def second(**kwargs):
        return 2

    signal.connect(first, dispatch_uid="only")
    signal.connect(second, dispatch_uid="only")
    assert [answer for _, answer in signal.send(None)] == [1]
    assert signal.disconnect(dispatch_uid="only")
    assert not signal.receivers


def test_disconnect() -> None:
    signal = Signal()

    @signal.connect
    def receiver(**kwargs):
        return 1

    assert signal.disconnect(receiver) is True
    assert signal.disconnect(receiver) is False
    assert signal.send(None) == []


def test_retry_calls_until_it_works() -> None:
    signal = Signal()
    tries = []

    @signal.connect(retry=True)
    def flaky(**kwargs):
        tries.append(1)
        if len(tries) < 2:  # the first retry comes at once
            raise ValueError
        return "at last"

    assert [answer for _, answer in signal.send(None)] == ["at last"]


def test_connecting_while_sending() -> None:
    signal = Signal()

    @signal.connect
    def receiver(**kwargs):
        signal.connect(lambda **kw: "late", weak=False)
        return "first"

    assert [answer for _, answer in signal.send(None)] == ["first"]


def test_all_signals_are_there() -> None:
    assert len(signals.__all__) == 31
    for name in signals.__all__:
        assert getattr(signals, name).name == name
