"""`metrics.jsonl`: what a learning run measured, one event a line."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ConfigDict, FiniteFloat, with_config
from typing_extensions import TypedDict

from lemon.errors import BadInput
from lemon.files.json_file import parse_json
from lemon.files.manifest import checked_file

LEARN_AGAIN = "remove the run's folder and run it again"


@with_config(ConfigDict(strict=True))
class Event(TypedDict):
    """A value measured after `step` steps, `tokens` training tokens and `wall_s` seconds."""

    step: int
    tokens: int
    wall_s: FiniteFloat
    name: str
    value: float


def read_events(path: Path) -> list[Event]:
    """The events in the order of the file; none where there is no file.

    The last line may be cut, by a kill, as long as the run has no manifest.

    Raises:
        BadInput: another line is no event, or the file is not the one that the manifest lists.
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


def events_until(path: Path, step: int) -> str:
    """The events of the first steps, a line each, every one once.

    Raises:
        BadInput: a step has none; a run that goes on would leave a gap in its curve.
    """
    kept = {(e["step"], e["name"]): e for e in read_events(path) if e["step"] <= step}
    missing = sorted(set(range(1, step + 1)) - {at for at, _ in kept})
    if missing:
        raise BadInput(
            f"{path}: lacks the events of step {missing[0]} and {len(missing) - 1} others before "
            f"the checkpoint of step {step}; put the file back, or {LEARN_AGAIN}"
        )
    return "".join(json.dumps(event) + "\n" for event in kept.values())
