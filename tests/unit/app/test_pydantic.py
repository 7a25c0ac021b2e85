"""Tasks that take and return pydantic models."""

from __future__ import annotations

import json
from typing import Optional

import pytest

from celerylite import Celery

pydantic = pytest.importorskip("pydantic")


class Order(pydantic.BaseModel):
    number: int


class Paid(pydantic.BaseModel):
    text: str


class Secret(pydantic.BaseModel):
    key: pydantic.SecretStr


@pytest.fixture
def pay(app: Celery):
    @app.task(pydantic=True, name="pay")
    def pay(order: Order, other: Optional[Order] = None) -> Paid:  # noqa: UP045  both ways to write it
        assert isinstance(order, Order)
        return Paid(text=f"{order.number} {other and other.number}")

    return pay


def test_models_in_dicts_out(pay) -> None:
    assert pay({"number": 1}) == {"text": "1 None"}
    assert pay(Order(number=1), other={"number": 2}) == {"text": "1 2"}
    with pytest.raises(pydantic.ValidationError):
        pay({"number": "x"})


def test_models_are_sent_as_dicts(pay, sent: list) -> None:
    pay.delay(Order(number=1), other=Order(number=2))
    assert json.loads(sent[0].body)[:2] == [[{"number": 1}], {"other": {"number": 2}}]


def test_models_that_would_change_are_refused(app: Celery) -> None:
    from kombu.exceptions import EncodeError

    @app.task(pydantic=True, name="hide")
    def hide(secret: Secret) -> None: ...

    with pytest.raises(EncodeError):
        hide.delay(Secret(key="k"))
