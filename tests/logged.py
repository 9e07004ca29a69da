"""What a run has logged."""

from __future__ import annotations

from pathlib import Path

from lemon.events import read_events


def logged(out: Path) -> list[tuple[int, str, float]]:
    """Step, name and value of every event but those that are times."""
    return [
        (event["step"], event["name"], event["value"])
        for event in read_events(out / "metrics.jsonl")
        if event["name"] != "train/tokens_per_s"
    ]


def values_of(out: Path, name: str) -> list[float]:
    """The values of one name, step by step."""
    return [event["value"] for event in read_events(out / "metrics.jsonl") if event["name"] == name]
