"""What an operator types: who is online, what runs, a change for one worker, and the same as JSON for a script."""

import json
import subprocess
import sys

import running
from celerylite import Celery
from celerylite.worker.control import inspect_command

app = Celery("command_line")


@app.task
def add(x, y):
    """A task."""
    return x + y


@inspect_command(args=[("name", str)], signature="<name>")
def greet(state, name):
    """Say hello: a command of this project."""
    return f"hello {name}, from {state.hostname.partition('@')[0]}"


def celerylite(*words):
    """Run a command line, and show what it prints."""
    print("$ celerylite", *words)
    argv = [sys.executable, "-m", "celerylite", "-A", "command_line", *words]
    done = subprocess.run(argv, capture_output=True, text=True)
    print(done.stdout or done.stderr)
    return done


def main():
    with running.redis(), running.worker(app, "-n", "w1@example"):
        celerylite("status", "-t", "10")
        celerylite("inspect", "registered", "-t", "10")
        celerylite("control", "rate_limit", "command_line.add", "10/m", "-t", "10")
        celerylite("inspect", "greet", "operator", "-t", "10")
        celerylite("control", "rate_limt", "command_line.add", "10/m")
        workers = json.loads(celerylite("inspect", "stats", "--json", "-t", "10").stdout)
        print("pools:", {name: stats["pool"]["max-concurrency"] for name, stats in workers.items()})
        nobody = celerylite("status", "--destination", "w2@example", "--timeout", "0.5")
        print("exit code:", nobody.returncode)


if __name__ == "__main__":
    main()
