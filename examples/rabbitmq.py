"""RabbitMQ: a topic exchange, priorities, a delay, a copy for every worker, dead letters, results as messages.

    docker run -d -p 5672:5672 rabbitmq:4
    CELERY_BROKER_URL=amqp://guest:guest@localhost:5672// python examples/rabbitmq.py
"""

import os
import time

from kombu import Exchange, Queue
from kombu.common import Broadcast

import running
from celerylite import Celery
from celerylite.exceptions import Reject

app = Celery("rabbitmq", broker=os.environ.get("CELERY_BROKER_URL", "amqp://guest:guest@localhost:5672//"))
app.conf.result_backend = "rpc://"

animals = Exchange("animals", type="topic")
refused = Queue("refused", routing_key="refused")
app.conf.task_queues = [
    Queue("celery", queue_arguments={"x-max-priority": 10}),
    Queue("mammals", animals, routing_key="mammal.#"),
    Queue("careful", queue_arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "refused"}),
    Broadcast("everybody"),
]


@app.task(bind=True)
def see(self, name):
    return f"{name} by {self.request.delivery_info['routing_key']}"


@app.task
def order(name):
    return name, time.time()


@app.task(acks_late=True, ignore_result=True)
def check(paper):
    raise Reject(f"{paper} is not my business", requeue=False)


@app.task(ignore_result=True)
def remember(word):
    with open(os.environ["RABBITMQ_EXAMPLE_NOTES"], "a") as notes:
        notes.write(f"{word}\n")


def main():
    app.broker.declare([refused])  # no worker consumes it, so none declares it
    urgent_last = [order.apply_async((name,), priority=priority) for name, priority in (("usual", 1), ("urgent", 9))]
    with running.worker(app, "-c", "1", "-n", "one@%h"):
        ran = sorted((result.get(timeout=20) for result in urgent_last), key=lambda pair: pair[1])
        print("order:", ", ".join(name for name, _ in ran))
        print("topic:", see.apply_async(("fox",), exchange="animals", routing_key="mammal.fox").get(timeout=20))
        began = time.time()
        _, at = order.apply_async(("later",), countdown=1.5).get(timeout=20)
        print(f"delay: {at - began:.1f} s, waited in the server")
        check.apply_async(("form 7",), queue="careful")
        deadline = time.monotonic() + 20
        while not app.broker.queue_length("refused") and time.monotonic() < deadline:
            time.sleep(0.05)
        print("dead letters:", app.broker.purge(["refused"]))
    broadcast()


def broadcast():
    """Two workers, one call, two copies."""
    import tempfile

    with tempfile.NamedTemporaryFile("r") as notes:
        os.environ["RABBITMQ_EXAMPLE_NOTES"] = notes.name
        with running.worker(app, "-c", "1", "-n", "one@%h"), running.worker(app, "-c", "1", "-n", "two@%h"):
            remember.apply_async(("hello",), queue="everybody")
            deadline = time.monotonic() + 20
            while len(heard := notes.read().split()) < 2 and time.monotonic() < deadline:
                notes.seek(0)
                time.sleep(0.05)
        print("broadcast:", *heard)


if __name__ == "__main__":
    main()
