"""A base class for tasks: it keeps one connection per task process, because a task is one object."""

import sqlite3

import running
from celerylite import Celery, Task

app = Celery("custom_task_class")


class DatabaseTask(Task):
    """Tasks with `self.connection`, opened on first use."""

    _connection = None

    @property
    def connection(self):
        if self._connection is None:
            self._connection = sqlite3.connect(":memory:")
            self._connection.execute("create table visits (name)")
        return self._connection


@app.task(base=DatabaseTask, bind=True)
def visit(self, name):
    """How many visits this process has seen."""
    self.connection.execute("insert into visits values (?)", (name,))
    return self.connection.execute("select count(*) from visits").fetchone()[0]


class Greet(Task):
    """A task written as a class."""

    name = "custom_task_class.greet"
    greeting = "Hello"

    def run(self, name):
        return f"{self.greeting}, {name}"


greet = app.register_task(Greet())


def main():
    with running.redis(), running.worker(app, "-c", "1"):
        print("visits:", [visit.delay(name).get(timeout=20) for name in ("ann", "bob", "cleo")])
        print("class: ", greet.delay("Ann").get(timeout=20))


if __name__ == "__main__":
    main()
