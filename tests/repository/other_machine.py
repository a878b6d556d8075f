"""A pytest plugin that collects as another machine would, on another day.

The clock is a day ahead (except for `datetime`, whose classes C extensions keep), folders list
their entries in the opposite order, and random numbers start from another seed.
"""

import os
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

_AHEAD_SECONDS = 86_400 + 3_723


class _ReversedScan:
    """What os.scandir returns, last entry first."""

    def __init__(self, scan: Any) -> None:
        with scan:
            self._entries = iter(list(scan)[::-1])

    def __iter__(self) -> Iterator[Any]:
        return self._entries

    def __next__(self) -> Any:
        return next(self._entries)

    def __enter__(self) -> "_ReversedScan":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is left open."""


def _change(module: Any, name: str, make: Callable[[Any], Any]) -> None:
    setattr(module, name, make(getattr(module, name)))


def _install() -> None:
    _change(time, "time", lambda real: lambda: real() + _AHEAD_SECONDS)
    _change(time, "time_ns", lambda real: lambda: real() + _AHEAD_SECONDS * 10**9)
    _change(os, "listdir", lambda real: lambda *path: real(*path)[::-1])
    _change(os, "scandir", lambda real: lambda *path: _ReversedScan(real(*path)))
    random.seed(12345)


_install()
