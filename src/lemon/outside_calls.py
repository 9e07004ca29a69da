"""Wrappers for library calls that may print, warn or never return."""

from __future__ import annotations

import io
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from queue import Empty, SimpleQueue
from typing import TypeVar

Answer = TypeVar("Answer")


def within(seconds: float, call: Callable[[], Answer]) -> Answer:
    """Return or raise what `call` does, if it ends within `seconds`.

    Raises:
        TimeoutError: it has not ended; its daemon thread keeps running until the process ends.
    """
    answers: SimpleQueue[tuple[Answer, None] | tuple[None, Exception]] = SimpleQueue()

    def wait() -> None:
        try:
            answers.put((call(), None))
        except Exception as error:
            answers.put((None, error))

    threading.Thread(target=wait, daemon=True).start()
    try:
        answer, error = answers.get(timeout=seconds)
    except Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if error:
        raise error
    return answer  # type: ignore[return-value]


@contextmanager
def silence() -> Iterator[None]:
    """Discard log messages, warnings and output of the block."""
    nowhere = io.StringIO()
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(nowhere), redirect_stderr(nowhere), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
