"""What watches a worker: its health over HTTP, and its log as JSON lines, which name the task."""

import json
import socket
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import running
from celerylite import Celery
from celerylite.utils.log import get_task_logger
from celerylite.utils.running_worker import running_worker

app = Celery("health_and_logs")
logger = get_task_logger(__name__)


@app.task
def pack(order):
    logger.info("packing", extra={"order": order})  # what is extra becomes a key of the line
    return "packed"


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def ask(url):
    """Status and body; 503 with the reasons is what a worker says that is not ready (yet)."""
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.status, answer.read().decode().strip()
        except urllib.error.HTTPError:
            time.sleep(0.1)


def main():
    address = f"127.0.0.1:{free_port()}"
    with running.redis(), tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "worker.log"
        options = ("-c", "1", "-l", "INFO", "--log-format", "json", "--health-port", address)
        with running_worker("health_and_logs", *options, log=log, cwd=running.HERE):
            for path in ("/live", "/ready"):
                print(f"{path}:", *ask(f"http://{address}{path}"))
            pack.delay(42).get(timeout=20)
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
        for line in lines:
            if line.get("task_name") == "health_and_logs.pack":
                print("log:", line["level"], line.get("action", "-"), line["message"][:24], line.get("order", ""))
    app.close()


if __name__ == "__main__":
    main()
