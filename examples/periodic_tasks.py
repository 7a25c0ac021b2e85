"""Periodic tasks: a schedule with an interval and a cron line, and two workers that both carry a beat.

However many beats there are, each tick is sent once.
"""

import time

import running
from celerylite import Celery

app = Celery("periodic_tasks")
app.conf.timezone = "Europe/Berlin"
app.conf.beat_schedule = {
    "often": {"task": "periodic_tasks.note", "schedule": 0.5, "args": ("often",)},
    # Six fields: the last one is the seconds.
    "each-second": {"task": "periodic_tasks.note", "schedule": "* * * * * *", "args": ("each second",)},
    "in-the-morning": {"task": "periodic_tasks.note", "schedule": "0 9 * * mon-fri", "args": ("good morning",)},
}


@app.on_after_configure.connect
def more(sender, **kwargs):
    """Entries can also be added in code."""
    sender.add_periodic_task("@every 1h30m", note.s("tidy up"), name="tidy-up")


@app.task(bind=True)
def note(self, text):
    """Write down that it ran; the task's id is that of the tick, whoever sent it."""
    app.backend.client.rpush("example.ticks", f"{text} {self.request.id}")


def main():
    with running.redis():
        with running.worker(app, "-c", "1", "-B"), running.worker(app, "-c", "1", "-B", "-n", "second@%h"):
            entries = app.schedule_entries
            while entries.get("often").total_run_count < 6:
                time.sleep(0.1)
            print("next morning:", entries.next("in-the-morning", 1)[0].strftime("%H:%M"))
            print("tidy up:", entries.get("tidy-up").schedule)
        ran = app.backend.client.lrange("example.ticks", 0, -1)
        print("ticks:", "at least 6" if len(set(ran)) >= 6 else len(ran))
        print("sent twice:", len(ran) - len(set(ran)))


if __name__ == "__main__":
    main()
