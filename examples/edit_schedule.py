"""The schedule at run time: entries are added, looked at, disabled and removed while beat runs.

The same from the command line: `celerylite schedule --help`.
"""

import time

import running
from celerylite import Celery

app = Celery("edit_schedule")


@app.task
def add(x, y):
    """A task to be sent."""
    return x + y


def main():
    with running.redis():
        with running.worker(app, "-c", "1", "-B"):
            entries = app.schedule_entries
            entries.add("sums", "edit_schedule.add", "@every 1s", args=[1, 2])
            while not entries.get("sums").total_run_count:
                time.sleep(0.1)
            print("beat sent it:", app.AsyncResult(entries.get("sums").last_task_id).get(timeout=20))

            entries.change("sums", schedule="0 9 * * *", args=[3, 4])
            print("now at:", entries.next("sums", 1)[0].strftime("%H:%M"))
            print("at once:", entries.run_now("sums").get(timeout=20))

            entries.disable("sums")
            print("enabled:", entries.get("sums").enabled)
            entries.remove("sums")
            print("entries:", [entry.name for entry in entries.list()])


if __name__ == "__main__":
    main()
