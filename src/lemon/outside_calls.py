"""Wrappers for library calls that may print, warn or never return."""

from __future__ import annotations

import io
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TypeVar

Answer = TypeVar("Answer")


def within(seconds: float, call: Callable[[], Answer]) -> Answer:
    """Return or raise what `call` does; TimeoutError if it has not ended within `seconds`.

    Its daemon thread then keeps running until the process ends.
    """
    future: futures.Future[Answer] = futures.Future()

    def wait() -> None:
        try:
            future.set_result(call())
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=wait, daemon=True).start()
    if not futures.wait([future], timeout=seconds).done:
        raise TimeoutError(f"no answer within {seconds:g} s")
    return future.result()


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
