"""The comments that users write into a preset, so that `lemon config write` keeps them.

The other comments are descriptions of the types: those of today, and those that the JSON schema
has from the last time.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from lemon.configuration.preset import Preset
from lemon.configuration.preset_yaml import HEADER
from lemon.files.plain_yaml import Place, comments

LONGEST_RUN = 8  # lines of one description


def described(schema_file: Path) -> set[str]:
    """Every description of a key of a preset, and the head of the file.

    Args:
        schema_file: the JSON schema as it was last written; it may be missing.
    """
    head = " ".join(line.strip("# ") for line in HEADER.splitlines())
    return {
        head,
        *_descriptions(TypeAdapter(Preset).json_schema()),
        *_descriptions(_old(schema_file)),
    }


def notes(text: str, lines: dict[Place, int], known: set[str]) -> dict[Place, list[str]]:
    """The user's comments by the key that they stand beside or above; `()` for those at the end.

    Args:
        text: of the preset file.
        lines: the line of every key, as `lemon.files.plain_yaml.parse` gives them.
        known: descriptions, which are left out.
    """
    at: dict[int, Place] = {}
    for place, line in lines.items():
        if all(isinstance(part, str) for part in place):
            at.setdefault(line, place)
    keyed = sorted(at)
    found: dict[Place, list[str]] = {}
    for line, words, own_line in comments(text):
        key = bisect_right(keyed, line) - (not own_line)  # the key below, or that of the line
        place = at[keyed[key]] if 0 <= key < len(keyed) else ()
        found.setdefault(place, []).append(words)
    kept = {place: list(_unknown(words, known)) for place, words in found.items()}
    return {place: words for place, words in kept.items() if words}


def _unknown(words: list[str], known: set[str]) -> Iterator[str]:
    """The lines that are no part of a description, which may be broken over several."""
    start = 0
    while start < len(words):
        for end in range(min(len(words), start + LONGEST_RUN), start, -1):
            if " ".join(word.strip() for word in words[start:end]) in known:
                start = end
                break
        else:
            if words[start].strip("# "):
                yield words[start]
            start += 1


def _old(schema_file: Path) -> Any:
    try:
        return json.loads(schema_file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}


def _descriptions(schema: Any) -> Iterator[str]:
    """Every description inside a JSON schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("description"), str):
            yield schema["description"]
        schema = list(schema.values())
    if isinstance(schema, list):
        for entry in schema:
            yield from _descriptions(entry)
