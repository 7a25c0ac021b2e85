"""Descriptors with any number can be waited for."""

from __future__ import annotations

import os
import resource

import pytest

from celerylite.utils.polling import readable


def test_numbers_above_1024() -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft <= 1100:
        pytest.skip("this process may not have so many files")
    reading, writing = os.pipe()
    high = 1099
    os.dup2(reading, high)
    try:
        assert readable([high], 0) == []
        os.write(writing, b"x")
        assert readable([high], 5) == [high]
    finally:
        for number in (reading, writing, high):
            os.close(number)


def test_an_end_counts() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    assert readable([reading], 5) == [reading]
    os.close(reading)
