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
        ("kafka://localhost", "confluent_kafka", 'pip install "kombu[confluentkafka]"'),
        ("gcpubsub://projects/p", "google.cloud.pubsub_v1", 'pip install "kombu[gcpubsub]"'),
        ("azureservicebus://p:k@host", "azure.servicebus", 'pip install "kombu[azureservicebus]"'),
        ("azurestoragequeues://k@host", "azure.storage.queue", 'pip install "kombu[azurestoragequeues]"'),
        ("sqlalchemy+postgresql://localhost/x", "sqlalchemy", 'pip install "kombu[sqlalchemy]"'),
        ("sqla+sqlite:///x.db", "sqlalchemy", 'pip install "kombu[sqlalchemy]"'),
        ("etcd://localhost", "etcd", "pip install python-etcd"),
        ("pgmq://u:p@localhost/x", "pgmq", 'pip install "kombu[pgmq]"'),
    ],
)
def test_a_missing_driver_is_named(url: str, module: str, advice: str) -> None:
    if _is_there(module):
        pytest.skip(f"{module} is installed")
    with pytest.raises(ImproperlyConfigured) as caught:
        connect(url)
    assert advice in str(caught.value)


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # the package that it would be in is missing
        return False


def test_an_unknown_transport() -> None:
    with pytest.raises(ImproperlyConfigured, match="No such transport"):
        connect("rabit://localhost")


@pytest.mark.parametrize(
    "backend, same",
    [
        ("redis+socket:///run/r.sock?virtual_host=3", True),  # another database will do
        ("redis+socket:///run/other.sock?virtual_host=2", False),
        ("redis://localhost:6379/2", False),
    ],
)
def test_results_on_the_brokers_unix_socket_are_stored_in_its_transactions(backend: str, same: bool) -> None:
    app = Celery("same", broker="redis+socket:///run/r.sock?virtual_host=2", backend=backend, set_as_current=False)
    assert app.broker.same_server(app.backend) is same
