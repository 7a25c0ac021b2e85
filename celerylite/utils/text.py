"""Small work on text: shorten, indent, fill, and replace `%x` forms."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from io import StringIO
from re import Match, Pattern
from typing import Any

__all__ = (
    "abbr",
    "abbrtask",
    "dedent",
    "dedent_initial",
    "ensure_newlines",
    "ensure_sep",
    "fill_paragraphs",
    "indent",
    "join",
    "pluralize",
    "pretty",
    "str_to_list",
    "simple_format",
    "truncate",
)

RE_FORMAT = re.compile(r"%(\w|%)")


def str_to_list(s: Any) -> Any:
    """`"a, b"` as `["a", "b"]`; anything that is not text stays as it is."""
    if isinstance(s, str):
        return [part.strip() for part in s.split(",")]
    return s


def dedent_initial(s: str, n: int = 4) -> str:
    """Without the `n` spaces that the text may begin with."""
    return s[n:] if s[:n] == " " * n else s


def dedent(s: str, sep: str = "\n") -> str:
    """Each line without the four spaces that it may begin with."""
    return sep.join(dedent_initial(line) for line in s.splitlines())


def fill_paragraphs(s: str, width: int, sep: str = "\n") -> str:
    """Each line folded to `width`."""
    from textwrap import fill  # used by a few commands only

    return sep.join(fill(paragraph, width) for paragraph in s.split(sep))


def join(lines: list[str], sep: str = "\n") -> str:
    """The lines that are not empty, joined."""
    return sep.join(line for line in lines if line)


def ensure_sep(sep: str, s: str, n: int = 2) -> str:
    """The text with at least `n` times `sep` in it, the missing ones added at the end."""
    return s + sep * (n - s.count(sep))


def ensure_newlines(s: str, n: int = 2) -> str:
    """The text with at least `n` line ends in it."""
    return ensure_sep("\n", s, n)


def abbr(S: str, max: int, ellipsis: str | bool = "...") -> str:  # noqa: N803 (Celery's name)
    """At most `max` characters, ending in `ellipsis` where something was cut off."""
    if S is None:
        return "???"
    if len(S) <= max:
        return S
    mark = ellipsis if isinstance(ellipsis, str) else ""
    return S[: max - len(mark)] + mark


def abbrtask(S: str, max: int) -> str:  # noqa: N803 (Celery's name)
    """A task name in at most `max` characters: the module is cut, the function stays."""
    if S is None:
        return "???"
    if len(S) <= max:
        return S
    module, _, function = S.rpartition(".")
    return f"{abbr(module, max - len(function) - 3, False)}[.]{function}"


def indent(t: str, indent: int = 0, sep: str = "\n") -> str:
    """Each line moved to the right."""
    return sep.join(" " * indent + line for line in t.split(sep))


def truncate(s: str, maxlen: int = 128, suffix: str = "...") -> str:
    """At most about `maxlen` characters, cut between words."""
    if maxlen and len(s) >= maxlen:
        return s[:maxlen].rsplit(" ", 1)[0] + suffix
    return s


def pluralize(n: float, text: str, suffix: str = "s") -> str:
    """The word, with `suffix` unless there is one (or less)."""
    return text + suffix if n != 1 else text


def pretty(value: Any, width: int = 80, nl_width: int = 80, sep: str = "\n", **kw: Any) -> str:
    """The value laid out for reading; a mapping begins on a line of its own."""
    from pprint import pformat  # used by a few commands only

    if isinstance(value, dict):
        return "{" + sep + " " + pformat(value, 4, nl_width)[1:]
    if isinstance(value, tuple):
        return f"{sep}{' ' * 4}{pformat(value, width=nl_width, **kw)}"
    return pformat(value, width=width, **kw)


def match_case(s: str, other: str) -> str:
    """The text in upper or lower case, as `other` is."""
    return s.upper() if other.isupper() else s.lower()


def simple_format(
    s: str,
    keys: Mapping[str, str | Callable[[], str]],
    pattern: Pattern[str] = RE_FORMAT,
    expand: str = r"\1",
) -> str:
    """The text with each `%x` replaced by `keys["x"]`, which may be a function."""
    if not s:
        return s

    def resolve(match: Match[str]) -> str:
        key = match.expand(expand)
        try:
            value = keys[key]
        except KeyError as exc:
            raise ValueError(
                f"Unknown format %{key} in string {s!r}; a percent sign that stands for itself is written %%."
            ) from exc
        return value() if callable(value) else value

    return pattern.sub(resolve, s)


def remove_repeating(substr: str, s: str) -> str:
    """Only the first of several occurrences of `substr`."""
    first = s.find(substr)
    if first < 0:
        return s
    end = first + len(substr)
    return s[:end] + s[end:].replace(substr, "")


def remove_repeating_from_task(task_name: str, s: str) -> str:
    """The module of a task named once only, not before each of its functions."""
    module = task_name.rpartition(".")[0] + "."
    return remove_repeating(module, s)


class WhateverIO(StringIO):
    """A text buffer that takes bytes, too."""

    def __init__(self, v: bytes | str | None = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(_text(v) if v else "", *args, **kwargs)

    def write(self, data: bytes | str) -> int:
        return super().write(_text(data))


def _text(data: bytes | str) -> str:
    return data.decode() if isinstance(data, bytes) else data
