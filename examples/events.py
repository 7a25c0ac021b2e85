"""Events: a monitor that listens to workers and clients, and remembers what it heard."""

import threading

import running
from celerylite import Celery

app = Celery("events")
app.conf.task_send_sent_event = True  # clients tell of their calls too
app.conf.worker_send_task_events = True  # the same as `worker -E`


@app.task
def add(x, y):
    return x + y


@app.task
def broken():
    raise KeyError("gone")


class Monitor:
    """A thread with a receiver, and a state that is its memory."""

    def __init__(self):
        self.state = app.events.State(max_tasks_in_memory=1000)
        self.seen = threading.Condition()
        self.failed = []
        handlers = {"task-failed": self.on_failed, "*": self.on_event}
        self.connection = app.connection_for_read()
        self.receiver = app.events.Receiver(self.connection, handlers=handlers)
        self.thread = threading.Thread(target=self.receiver.capture, daemon=True)
        self.thread.start()

    def on_event(self, event):
        with self.seen:
            self.state.event(event)
            self.seen.notify_all()

    def on_failed(self, event):
        with self.seen:
            self.on_event(event)
            # Most events only have the task's id; the state remembers what the first ones said.
            task = self.state.tasks[event["uuid"]]
            self.failed.append(f"{task.name} {task.exception}")

    def wait_for(self, what):
        with self.seen:
            assert self.seen.wait_for(what, timeout=30)

    def stop(self):
        self.receiver.should_stop = True
        self.thread.join()
        self.connection.close()


def main():
    """Call two tasks, and look at what the monitor knows of them."""
    monitor = Monitor()
    # A monitor that starts asks the workers for a heartbeat, so it knows them at once.
    monitor.wait_for(monitor.state.alive_workers)
    print("workers:", [worker.hostname for worker in monitor.state.alive_workers()])

    good, bad = add.delay(2, 3), broken.delay()
    known = monitor.state.tasks
    monitor.wait_for(lambda: all(i in known and known[i].sent and known[i].ready for i in (good.id, bad.id)))
    print("failed:", *monitor.failed)
    task = known[good.id]
    print(f"{task.name}{task.args}: {task.state} {task.result}, sent by {task.client[:3]}…")
    print("times in order:", task.received <= task.started <= task.succeeded)
    print("newest first:", sorted(task.name for _, task in monitor.state.tasks_by_time(limit=2)))
    monitor.stop()


if __name__ == "__main__":
    with running.redis(), running.worker(app, "-c", "1", "-n", "worker@here"):
        main()
