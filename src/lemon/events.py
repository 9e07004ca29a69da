"""`metrics.jsonl`: what a learning run measured, one event a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypedDict

from lemon.errors import BadInput


class Event(TypedDict):
    """A value measured after `step` steps, `tokens` training tokens and `wall_s` seconds."""

    step: int
    tokens: int
    wall_s: float
    name: str
    value: float


def read_events(path: Path) -> list[Event]:
    """The events in the order of the file; none where there is no file.

    Raises:
        BadInput: a line other than the last, which a kill may have cut, is no event.
    """
    if not path.is_file():
        return []
    events: list[Event] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            event = json.loads(line)
            if not event.keys() >= Event.__required_keys__:
                raise ValueError
        except (ValueError, AttributeError):
            if number == len(lines):
                break
            raise BadInput(
                f"{path}:{number}: no event; remove the run's folder and run it again"
            ) from None
        events.append(event)
    return events
