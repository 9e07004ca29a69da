"""Work that is killed in the middle: by a signal that none can catch, or by an error like one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lemon.events import Metrics


def die(*_: object, **__: object) -> None:
    """Kill this process at once."""
    os.kill(os.getpid(), signal.SIGKILL)


def killed(work: Callable[[], None]) -> None:
    """Let a child process do work that kills it.

    The child is a copy of this process without its threads, so the work is of files alone.
    """
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status


class Cut(Exception):
    """Stands for a kill, in this process."""


@contextmanager
def cut_after(step: int | None) -> Iterator[None]:
    """Let training be cut short once the events of a step are written; without one, not at all."""
    write = Metrics.write

    def write_or_cut(self: Metrics, at: int, *rest: Any) -> None:
        write(self, at, *rest)
        if at == step:
            raise Cut

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Metrics, "write", write_or_cut)
        yield
