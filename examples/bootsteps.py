"""Parts of your own in the worker: a consumer of foreign messages, a timer, an option of the command line."""

import time

import click
from kombu import Consumer, Exchange, Queue

import running
from celerylite import Celery, bootsteps, uuid

app = Celery("bootsteps")
app.user_options["worker"].add(click.Option(("--shop",), default="nowhere", help="Whose orders are packed."))

orders = Queue("orders", Exchange("orders"), "orders")


class OrderConsumer(bootsteps.ConsumerStep):
    """Takes messages that other programs send, which are no tasks."""

    def __init__(self, c, shop=None, **options):  # options of the command line are keywords
        super().__init__(c, **options)
        self.shop = shop

    def get_consumers(self, channel):
        return [Consumer(channel, queues=[orders], callbacks=[self.handle], accept=["json"])]

    def handle(self, body, message):
        pack.apply_async((body["item"], self.shop), task_id=body["id"])
        message.ack()


class Pulse(bootsteps.StartStopStep):
    """Does something again and again."""

    requires = {"celery.worker.components:Timer"}

    def start(self, worker):
        print("pulse starts")
        self.again = worker.timer.call_repeatedly(0.2, self.beat, (worker,))

    def beat(self, worker):
        print("pulse:", worker.hostname, "runs", len(worker.active_requests))

    def stop(self, worker):
        self.again.cancel()
        print("pulse stops")


app.steps["consumer"].add(OrderConsumer)
app.steps["worker"].add(Pulse)


@app.task
def pack(item, shop):
    time.sleep(1)
    return f"{item} for {shop}"


def main():
    options = ("-c", "1", "-n", "w@here", "--shop", "Ann's shop")
    with running.redis(), running.worker(app, *options, show_log=True), app.producer_or_acquire() as producer:
        order = {"item": "a hat", "id": uuid()}
        producer.publish(order, exchange=orders.exchange, routing_key="orders", serializer="json")
        print("packed:", app.AsyncResult(order["id"]).get(timeout=20))


if __name__ == "__main__":
    main()
