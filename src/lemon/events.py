"""Write and read `metrics.jsonl`: the measured values of a training run, one event per line."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import ConfigDict, FiniteFloat, with_config
from typing_extensions import TypedDict

from lemon.errors import BadInput
from lemon.files.json_file import parse_json
from lemon.files.manifest import checked_file
from lemon.files.storage import refusals_told, write_text

LEARN_AGAIN = "remove the run's folder and run it again"


@with_config(ConfigDict(strict=True))
class Event(TypedDict):
    """A value measured after `step` steps, `tokens` training tokens and `wall_s` seconds."""

    step: int
    tokens: int
    wall_s: FiniteFloat
    name: str
    value: float


class Metrics:
    """Writes `metrics.jsonl`.

    Each checkpoint stores `text`. A resumed run rewrites the file from it, so that every earlier
    event is in the file exactly once, even if the file was damaged or lost.
    """

    def __init__(self, path: Path, text: str = "") -> None:
        """Replace the file by the events of earlier steps; raises as `write_text`."""
        self._lines = [text]
        self._path = path
        write_text(path, text)
        self._file = path.open("a", encoding="utf-8", buffering=1)

    @property
    def text(self) -> str:
        """The content of the file so far."""
        return "".join(self._lines)

    def write(self, step: int, tokens: int, wall_s: float, values: dict[str, float]) -> None:
        """Append an event for each name in `values`; WorkFailed if the disk is full."""
        at = {"step": step, "tokens": tokens, "wall_s": round(wall_s, 3)}
        events = ({**at, "name": name, "value": value} for name, value in values.items())
        lines = "".join(json.dumps(event) + "\n" for event in events)
        self._lines.append(lines)
        with refusals_told(self._path):
            self._file.write(lines)

    def close(self) -> None:
        """Flush the file to the disk and close it; WorkFailed if the disk is full."""
        with refusals_told(self._path), self._file:
            os.fsync(self._file.fileno())


def read_events(path: Path) -> list[Event]:
    """The events in the order of the file; none if there is no file.

    An incomplete last line, left by a killed process, is ignored. BadInput if another line is not
    an event, or the digest differs from the one in the manifest.
    """
    if not path.is_file():
        return []
    checked_file(path)
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: can't be read ({error}); {LEARN_AGAIN}") from None
    return [
        parse_json(line, Event, f"{path}:{number}", LEARN_AGAIN)
        for number, line in enumerate(lines[:-1], start=1)
    ]
