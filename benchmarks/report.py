"""The report of the benchmarks: a block for each benchmark, the ratio beside its bar, PASS or MISS."""

from __future__ import annotations

from typing import Any

from support import CELERYLITE, Case, Figure

Medians = dict[str, dict[str, float]]
Rounds = dict[str, list[dict[str, float]]]
WORDS = {True: "PASS", False: "MISS", None: ""}


def celery_best(case: Case, figure: Figure, middle: Medians) -> float | None:
    """The best of Celery's variants that count: the bar is measured against Celery at its best."""
    values = [
        middle[contestant.name][figure.key]
        for contestant in case.contestants
        if contestant.library == "celery" and contestant.counts and middle.get(contestant.name)
    ]
    if not values:
        return None
    return max(values) if figure.better == "more" else min(values)


def ratio(figure: Figure, theirs: float, ours: float) -> float:
    """How many times better ours is."""
    over, under = (ours, theirs) if figure.better == "more" else (theirs, ours)
    return over / under if under else float("inf")


def ratio_range(case: Case, figure: Figure, rounds: Rounds) -> tuple[float, float] | None:
    """The lowest and the highest ratio of one round; neighbours in time, so a slow machine slows both."""
    each = []
    for index in range(min(map(len, rounds.values()))):
        middle = {name: taken[index] for name, taken in rounds.items()}
        ours = middle.get(CELERYLITE.name, {}).get(figure.key)
        theirs = celery_best(case, figure, middle)
        if figure.compared and ours is not None and theirs is not None:
            each.append(ratio(figure, theirs, ours))
    return (min(each), max(each)) if each else None


def verdict(case: Case, figure: Figure, middle: Medians) -> dict[str, Any]:
    """Ratio, bar and PASS/MISS of one figure; `passed` is None when nothing is asked or nothing is known."""
    ours = middle.get(CELERYLITE.name, {}).get(figure.key)
    theirs = celery_best(case, figure, middle)
    known = figure.compared and ours is not None and theirs is not None
    times = ratio(figure, theirs, ours) if known else None  # type: ignore[arg-type]
    checks = []
    if figure.bar is not None and times is not None:
        checks.append(times >= figure.bar)
    if figure.at_most is not None and ours is not None:
        checks.append(ours <= figure.at_most)
    if figure.at_least is not None and ours is not None:
        checks.append(ours >= figure.at_least)
    passed = all(checks) if checks else None
    return {
        "figure": figure.label, "celery": theirs, "celerylite": ours,
        "ratio": times, "bar": bar_text(figure), "passed": passed,
    }


def verdicts(case: Case, middle: Medians) -> list[dict[str, Any]]:
    return [verdict(case, figure, middle) for figure in case.figures]


def bar_text(figure: Figure) -> str:
    parts = []
    if figure.bar is not None:
        parts.append(f"≥ {figure.bar:g}×")
    if figure.at_most is not None:
        parts.append(f"≤ {figure.at_most:g}")
    if figure.at_least is not None:
        parts.append(f"≥ {figure.at_least:g}")
    return " and ".join(parts)


def print_case(case: Case, middle: Medians, rounds: Rounds, errors: list[str]) -> None:
    names = [contestant.name for contestant in case.contestants if contestant.name in middle]
    print(f"\n{case.name}: {case.title}")
    print(f"  {'':36}" + "".join(f"{name:>14}" for name in names) + f"{'ratio':>9}{'of rounds':>15}  bar")
    for figure in case.figures:
        cells = "".join(f"{number(middle[name].get(figure.key)):>14}" for name in names)
        judged = verdict(case, figure, middle)
        times = f"{judged['ratio']:.2f}×" if judged["ratio"] is not None else ""
        spread = ratio_range(case, figure, rounds)
        between = f"{spread[0]:.2f}–{spread[1]:.2f}" if spread else ""
        word = WORDS[judged["passed"]]
        print(f"  {figure.label:36}{cells}{times:>9}{between:>15}  {judged['bar']:18} {word}".rstrip())
    for error in errors:
        print("  ERROR " + error.replace("\n", "\n    "))


def number(value: float | None) -> str:
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def markdown(document: dict[str, Any]) -> str:
    """The whole run as one table for the documentation; Celery's column is the best of its variants."""
    lines = ["| benchmark | figure | Celery | celerylite | ratio | bar | |", "|---|---|--:|--:|--:|---|---|"]
    for name, case in document["cases"].items():
        for judged in case["verdicts"]:
            times = f"{judged['ratio']:.1f}×" if judged["ratio"] is not None else ""
            cells = (
                name, judged["figure"], number(judged["celery"]), number(judged["celerylite"]),
                times, judged["bar"], WORDS[judged["passed"]],
            )
            lines.append("| " + " | ".join(cells) + " |")
            name = ""
    return "\n".join(lines) + "\n"


def print_summary(document: dict[str, Any]) -> int:
    """What was missed, and the exit code: 0 when every bar was reached and nothing went wrong."""
    missed = [
        f"{name}: {judged['figure']} ({judged['bar']})"
        for name, case in document["cases"].items()
        for judged in case["verdicts"]
        if judged["passed"] is False
    ]
    failed = [name for name, case in document["cases"].items() if case["errors"]]
    about = document["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    print(f"\nPython {about['python']}, {about['cores']} × {about['cpu']}; {versions}")
    print(f"missed: {'; '.join(missed) or 'none'}")
    if failed:
        print(f"with errors: {', '.join(failed)}")
    return 1 if missed or failed else 0
