"""Work that is killed in the middle: in a process of its own, by a signal that none can catch."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable


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
