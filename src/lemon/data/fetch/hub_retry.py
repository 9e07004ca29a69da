"""Retry Hugging Face Hub calls after temporary failures, and explain other failures."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from lemon.errors import BadInput, WorkFailed
from lemon.files.storage import REFUSALS, storage_error

WAITS = (1.0, 4.0, 15.0)  # seconds before each further try
OF_STORAGE = {number for numbers, _, _ in REFUSALS for number in numbers}
PASSING = {408, 429, 500, 502, 503, 504}  # HTTP status codes of temporary failures
T = TypeVar("T")
log = logging.getLogger(__name__)


class NotThere(BadInput):
    """The Hub has no such repository or revision."""


class Damaged(OSError):
    """The hash of a downloaded file differs from the Hub's."""


@dataclass(frozen=True)
class Wanted:
    """A requested repository at a revision."""

    subject: str  # what needs it, for messages: "asset NAME" or "task NAME"
    repo: str
    repo_type: str
    revision: str
    fix: str  # for messages: what to do if there is no such repository or revision

    def __str__(self) -> str:
        return f"{self.repo} at revision {self.revision}"


def with_retries(call: Callable[[], T], wanted: Wanted, folder: Path) -> T:
    """The result of a call to the Hub, repeated after temporary failures.

    Messages name `wanted` and the `folder` of the downloaded files.

    Raises:
        NotThere: no such repository or revision.
        BadInput: no permission to read it, or offline variables are set.
        WorkFailed: every try failed.
    """
    for wait in (*WAITS, None):
        try:
            return call()
        except Exception as raised:  # the client also raises errors of its HTTP library
            error = _cause(raised)
            if refused := _refused(error, wanted, folder):
                raise refused from raised
            if wait is None:
                advice = (
                    f", after {len(WAITS) + 1} tries; check the network and HF_ENDPOINT, and run "
                    "the same command again, it continues where it stopped"
                )
                raise _failed(error, wanted, advice) from raised
            log.warning(
                "%s: %s: %s; trying again in %g s", wanted.subject, wanted, _shown(error), wait
            )
            time.sleep(wait)
    raise AssertionError("the last try either answers or raises")


def _cause(error: Exception) -> Exception:
    """The error behind the Hub client's "not in the cache"; other errors unchanged."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        return error.__cause__
    return error


def _status(error: Exception) -> int | None:
    """The HTTP status code of an error."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _refused(error: Exception, wanted: Wanted, folder: Path) -> Exception | None:
    """What to raise of an error that does not pass; None if another try may succeed."""
    from huggingface_hub import errors as hub

    subject, server, status = wanted.subject, endpoint() or "huggingface.co", _status(error)
    if isinstance(error, hub.GatedRepoError):
        return BadInput(
            f"{subject}: {wanted.repo} is gated; accept its licence on the Hub, log in with "
            "`hf auth login` and run the same command again"
        )
    if isinstance(error, hub.RepositoryNotFoundError | hub.RevisionNotFoundError):
        return NotThere(
            f"{subject}: the Hub at {server} has no {wanted} (or it is private); {wanted.fix}"
        )
    if status in (401, 403):
        return BadInput(
            f"{subject}: {wanted} is refused ({status}) by {server}; log in with `hf auth login` "
            "as a user who may read it and run the same command again"
        )
    if isinstance(error, hub.OfflineModeIsEnabled):
        return BadInput(
            f"{subject}: {wanted}: HF_HUB_OFFLINE is set; unset it, or give `--source` a mirror"
        )
    if isinstance(error, OSError) and error.errno in OF_STORAGE:
        return storage_error(error, folder)
    if status:
        return None if status in PASSING else _failed(error, wanted)
    of_the_network = isinstance(error, OSError) or type(error).__module__.startswith("httpx")
    return None if of_the_network else error  # one of the program


def _failed(error: Exception, wanted: Wanted, advice: str = "") -> WorkFailed:
    server = endpoint() or "huggingface.co"
    return WorkFailed(
        f"{wanted.subject}: {wanted} can't be downloaded from {server} ({_shown(error)}){advice}"
    )


def _shown(error: Exception) -> str:
    if isinstance(error, Damaged):
        return f"{error} arrived damaged"
    status = _status(error)
    return f"the answer was {status}" if status else type(error).__name__


def endpoint() -> str | None:
    """The server in `HF_ENDPOINT`; None for the Hub itself."""
    return os.environ.get("HF_ENDPOINT") or None
