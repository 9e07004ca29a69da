"""Ask the Hugging Face Hub with a few further tries, and say in one message what went wrong."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from lemon.errors import BadInput, LemonError, WorkFailed
from lemon.files.storage import storage_error

WAITS = (1.0, 4.0, 15.0)  # seconds before each further try
OF_STORAGE = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}
PASSING = {408, 429, 500, 502, 503, 504}  # answers that may be others a moment later
T = TypeVar("T")
log = logging.getLogger(__name__)


class NotThere(BadInput):
    """The Hub has no such repository or revision."""


@dataclass(frozen=True)
class Wanted:
    """A repository at a revision, and the words of a message about it.

    Attributes:
        subject: what wants it: "asset NAME" or "task NAME".
        mend: what to do where there is no such repository or revision.
    """

    subject: str
    repo: str
    repo_type: str
    revision: str
    mend: str

    def __str__(self) -> str:
        return f"{self.repo} at revision {self.revision}"


class Different(OSError):
    """A file arrived with another hash than the Hub gives for it."""


def patiently(call: Callable[[], T], wanted: Wanted, folder: Path) -> T:
    """The call's answer, after a few further tries where the failure may pass.

    Args:
        call: that asks the Hub.
        wanted: what is asked for, for messages.
        folder: where its files go, for messages.

    Raises:
        NotThere: no such repository or revision.
        BadInput: no right to read it, no permission to write here, or offline variables are set.
        WorkFailed: every try failed, or the disk is full.
    """
    for wait in (*WAITS, None):
        try:
            return call()
        except Exception as error:  # the Hub's client raises those of its transport as they are
            cause = _cause(error)
            if wait is None or not _may_pass(cause):
                raise _explained(cause, wanted, folder) from error
            log.warning(
                "%s: %s: %s; trying again in %g s", wanted.subject, wanted, _told(cause), wait
            )
            time.sleep(wait)
    raise AssertionError("the last try either answers or raises")


def _cause(error: Exception) -> Exception:
    """What the Hub's client hides behind "not in the cache"."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        return error.__cause__
    return error


def _status(error: Exception) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _may_pass(error: Exception) -> bool:
    from huggingface_hub.errors import OfflineModeIsEnabled

    status = _status(error)
    if status is not None:
        return status in PASSING
    if isinstance(error, OfflineModeIsEnabled | LemonError):
        return False
    if isinstance(error, OSError):
        return error.errno not in OF_STORAGE
    return type(error).__module__.startswith("httpx")


def _told(error: Exception) -> str:
    status = _status(error)
    if isinstance(error, Different):
        return f"{error} arrived damaged"
    return f"the answer was {status}" if status else type(error).__name__


def _explained(error: Exception, wanted: Wanted, folder: Path) -> Exception:
    """The one message: what, where, the mend. A mistake of the program is given back as it is."""
    from huggingface_hub import errors as hub

    place = f"{wanted.subject}: {wanted}"
    if isinstance(error, hub.GatedRepoError):
        return BadInput(
            f"{wanted.subject}: {wanted.repo} is gated; accept its licence on the Hub, log in with "
            "`hf auth login` and run the same command again"
        )
    if isinstance(error, hub.RepositoryNotFoundError | hub.RevisionNotFoundError):
        return NotThere(
            f"{wanted.subject}: the Hub at {_shown_endpoint()} has no {wanted} (or it is private); "
            f"{wanted.mend}"
        )
    if _status(error) in (401, 403):
        return BadInput(
            f"{place} is refused ({_status(error)}) by {_shown_endpoint()}; log in with `hf auth "
            "login` as a user who may read it and run the same command again"
        )
    if isinstance(error, hub.OfflineModeIsEnabled):
        return BadInput(f"{place}: HF_HUB_OFFLINE is set; unset it, or give `--source` a mirror")
    if isinstance(error, OSError) and error.errno in OF_STORAGE:
        return storage_error(error, folder)
    if isinstance(error, OSError) or _status(error) or type(error).__module__.startswith("httpx"):
        return WorkFailed(
            f"{place} can't be had from {_shown_endpoint()} ({_told(error)}), after "
            f"{len(WAITS) + 1} tries; check the network and HF_ENDPOINT, and run the same command "
            "again, it goes on where it stopped"
            if _may_pass(error)
            else f"{place} can't be had from {_shown_endpoint()} ({_told(error)})"
        )
    return error


def endpoint() -> str | None:
    """The hub that `HF_ENDPOINT` names; None for the Hub itself."""
    return os.environ.get("HF_ENDPOINT") or None


def _shown_endpoint() -> str:
    return endpoint() or "huggingface.co"
