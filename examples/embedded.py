"""No server: tasks and results in a file of a temporary directory, used because no broker is configured."""

import os
import tempfile

import running
from celerylite import Celery

app = Celery("embedded")


@app.task
def add(x, y):
    return x + y


def main():
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        os.environ.pop(name, None)
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)  # the file is where client and worker are started
        waiting = [add.delay(number, number) for number in range(3)]  # nobody is there yet
        with running.worker(app, "-c", "2", "--workdir", directory):
            print("from the file:", [result.get(timeout=20) for result in waiting])
        print("beside it:    ", *sorted(os.listdir()))
        app.close()


if __name__ == "__main__":
    main()
