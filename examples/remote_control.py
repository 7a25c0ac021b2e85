"""Asking a worker and telling it things while it runs, also with commands of the project's own."""

import time

import running
from celerylite import Celery
from celerylite.worker.control import control_command, inspect_command

app = Celery("remote_control")

#: What the commands below are about; it lives in the worker's control process.
maintenance = {"on": False}


@control_command(args=[("on", int)], signature="<on>")
def maintain(state, on=1):
    """Switch maintenance on (1) or off (0)."""
    maintenance["on"] = bool(on)
    return {"ok": f"maintenance on {state.hostname}: {maintenance['on']}"}


@inspect_command()
def is_maintained(state):
    """Show whether maintenance is on, and how many tasks run."""
    return {"maintenance": maintenance["on"], "running": len(state.node.running())}


@app.task
def sleep(seconds):
    """Takes its time."""
    time.sleep(seconds)


def main():
    with running.redis(), running.worker(app, "-c", "1", "-n", "w@here"):
        inspect = app.control.inspect(timeout=5, limit=1)
        print("ping:", inspect.ping())
        result = sleep.delay(2)
        while not (active := inspect.active()["w@here"]):
            time.sleep(0.05)
        # The worker's only task process is busy, and it answers all the same.
        print("active:", [(task["name"], task["args"]) for task in active], active[0]["id"] == result.id)
        print("queues:", [queue["name"] for queue in inspect.active_queues()["w@here"]])

        print("limit:", app.control.rate_limit("remote_control.sleep", "10/m", reply=True, timeout=5, limit=1))
        print("queue:", app.control.add_consumer("other", reply=True, timeout=5, limit=1))
        print("unknown:", app.control.rate_limit("no.such", "1/s", reply=True, timeout=5, limit=1))

        print("own:", app.control.broadcast("maintain", {"on": 1}, reply=True, timeout=5, limit=1))
        print("own:", app.control.broadcast("is_maintained", reply=True, timeout=5, limit=1))
        result.get(timeout=20)
        print("total:", inspect.stats()["w@here"]["total"])


if __name__ == "__main__":
    main()
