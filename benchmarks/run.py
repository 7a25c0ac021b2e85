"""Compare celerylite with Celery: `python benchmarks/run.py [--rounds N] [--only NAME] [--json FILE]`.

Starts a private Redis, runs every benchmark for the libraries in turn (A B A B …), each in processes of its
own, and prints the medians with the ratio beside the bar. Both libraries have to be importable here.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from cases import CASES
from report import Rounds, markdown, print_case, print_summary, verdicts
from support import Bench, BenchmarkError, Case, medians


def measure(bench: Bench, case: Case, rounds: int, libraries: list[str]) -> tuple[Rounds, list[str]]:
    """Every contestant's figures, round by round, and what went wrong."""
    contestants = [contestant for contestant in case.contestants if contestant.library in libraries]
    taken: Rounds = {contestant.name: [] for contestant in contestants}
    errors = []
    for number in range(1, min(rounds, case.most_rounds) + 1):
        for contestant in contestants:
            bench.reset()
            try:
                figures = case.measure(bench, contestant)
            except (BenchmarkError, subprocess.SubprocessError) as error:
                errors.append(str(error))
                continue
            taken[contestant.name].append(figures)
            first = case.figures[0]
            note = f"{case.name} {number}: {contestant.name} {figures[first.key]:,.2f} {first.label}"
            print(note, file=sys.stderr, flush=True)
    return taken, errors


def machine() -> dict[str, Any]:
    versions = {}
    for name in ("celery", "kombu", "redis", "hiredis", "celerylite"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "from this repository" if name == "celerylite" else "not installed"
    cpu_lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":", 1)[1].strip() for line in cpu_lines if line.startswith("model name")]
    return {
        "python": platform.python_version(),
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.release(),
        "load_before": os.getloadavg()[0],
        "versions": versions,
    }


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[2])
    parser.add_argument("--rounds", type=int, default=5, help="how often each benchmark is run (default 5)")
    parser.add_argument("--only", action="append", metavar="NAME", choices=[case.name for case in CASES],
                        help="run only this benchmark; may be given several times")
    parser.add_argument("--library", action="append", choices=["celery", "celerylite"],
                        help="run only this library (default: both)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rounds into this file")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the medians into this file")
    return parser.parse_args()


def main() -> int:
    chosen = options()
    libraries = chosen.library or ["celery", "celerylite"]
    cases = [case for case in CASES if not chosen.only or case.name in chosen.only]
    document: dict[str, Any] = {"at": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "machine": machine(), "cases": {}}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that workers and Redis are stopped then, too
    bench = Bench()
    try:
        for case in cases:
            rounds, errors = measure(bench, case, chosen.rounds, libraries)
            middle = {name: medians(taken) for name, taken in rounds.items()}
            document["cases"][case.name] = {
                "title": case.title, "rounds": rounds, "medians": middle, "errors": errors,
                "verdicts": verdicts(case, middle),
            }
            print_case(case, middle, rounds, errors)
            if chosen.json:
                chosen.json.write_text(json.dumps(document, indent=1) + "\n")
    finally:
        bench.close()
    if chosen.markdown:
        chosen.markdown.write_text(markdown(document))
    return print_summary(document)


if __name__ == "__main__":
    sys.exit(main())
