"""SIGTERM while a model trains: the running step is ended and saved before the process ends.

Schedulers send it before they kill; torchrun passes it on to all its processes.
"""

from __future__ import annotations

import signal


class Sigterm:
    """While it is entered, a SIGTERM is noted instead of ending this process.

    Attributes:
        noted: whether one has arrived.
    """

    noted = False

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGTERM, self._note)

    def _note(self, *_: object) -> None:
        self.noted = True

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)
