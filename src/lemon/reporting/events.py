"""The events that learning left in `metrics.jsonl`, read back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from lemon.errors import BadInput


@dataclass(frozen=True)
class Event:
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
    events = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            events.append(_event(json.loads(line)))
        except (ValueError, KeyError, TypeError):
            if number == len(lines):
                break
            raise BadInput(f"{path}:{number}: no event; remove the run's folder, rerun") from None
    return events


def _event(line: dict) -> Event:
    return Event(
        step=int(line["step"]),
        tokens=int(line["tokens"]),
        wall_s=float(line["wall_s"]),
        name=str(line["name"]),
        value=float(line["value"]),
    )
