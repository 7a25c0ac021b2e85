"""`brokers.connect`: which broker a URL gives, and what is said where it gives none."""

from __future__ import annotations

import importlib.util

import pytest

from celerylite import Celery, brokers
from celerylite.exceptions import ImproperlyConfigured


def connect(url: str) -> brokers.Broker:
    return brokers.connect(Celery("connect", broker=url, set_as_current=False))


def test_rabbitmq_is_not_contacted() -> None:
    from celerylite.brokers.kombu import KombuBroker

    broker = connect("amqp://guest:guest@127.0.0.1:1//")
    assert isinstance(broker, KombuBroker) and broker.is_amqp


@pytest.mark.parametrize(
    ("url", "module", "advice"),
    [
        ("sqs://", "boto3", 'pip install "kombu[sqs]"'),
        ("mongodb://localhost/x", "pymongo", 'pip install "kombu[mongodb]"'),
        ("confluentkafka://localhost", "confluent_kafka", 'pip install "kombu[confluentkafka]"'),
    ],
)
def test_a_missing_driver_is_named(url: str, module: str, advice: str) -> None:
    if importlib.util.find_spec(module) is not None:
        pytest.skip(f"{module} is installed")
    with pytest.raises(ImproperlyConfigured) as caught:
        connect(url)
    assert advice in str(caught.value)


def test_an_unknown_transport() -> None:
    with pytest.raises(ImproperlyConfigured, match="No such transport"):
        connect("rabit://localhost")
