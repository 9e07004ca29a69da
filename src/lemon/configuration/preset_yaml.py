"""Write a preset as YAML in which every key carries the description of its type.

One way to write each value, so that a file can be compared with what it should be.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from lemon.configuration.preset import Preset
from lemon.files.plain_yaml import Place, parse

Notes = dict[Place, list[str]]
WIDTH = 100
PLAIN = re.compile(r"[A-Za-z]([\w ,.;'()/%-]*[\w.)%])?")
HEADER = """\
# The values are yours to edit. The comments come from src/lemon/configuration/preset.py: after an
# edit, `lemon config write` puts this file into its one form. An unknown key is an error.
"""


def preset_yaml(preset: Preset, notes: Mapping[Place, list[str]] | None = None) -> str:
    """The text of a preset file: HEADER, then every key with its comment.

    Args:
        preset: the values.
        notes: comments of the user's own, what follows the # of each line, by the key that they
            go above; those of no key go to the end.
    """
    left = dict(notes or {})
    blocks = [
        "\n".join(_entry((name,), getattr(preset, name), about.description, left))
        for name, about in Preset.model_fields.items()
    ]
    rest = "".join(f"#{line}\n" for lines in left.values() for line in lines)
    return HEADER + "\n" + "\n\n".join(blocks) + "\n" + (f"\n{rest}" if rest else "")


def _entry(place: Place, value: Any, about: str | None, notes: Notes) -> Iterator[str]:
    """The lines of one key: its comment beside it, or above where the line would be too long."""
    indent, key = "  " * (len(place) - 1), place[-1]
    yield from (f"{indent}#{line}" for line in notes.pop(place, []))
    if isinstance(value, BaseModel) or (isinstance(value, dict) and value):
        yield from _above(about, indent)
        yield f"{indent}{_scalar(key)}:"
        yield from _children(place, value, notes)
        return
    line = f"{indent}{_scalar(key)}: {_flow(value)}"
    if about is None:
        yield line
    elif len(line) + len(about) + 4 <= WIDTH:
        yield f"{line}  # {about}"
    else:
        yield from _above(about, indent)
        yield from _wrapped(line, indent) if isinstance(value, tuple | list) else [line]


def _wrapped(line: str, indent: str) -> list[str]:
    """A list over as many lines as it takes; YAML reads it as one."""
    return textwrap.wrap(
        line,
        WIDTH,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _children(place: Place, value: BaseModel | dict[str, Any], notes: Notes) -> Iterator[str]:
    """The lines inside a block; among like entries a key is commented once."""
    if isinstance(value, BaseModel):
        for name, about in type(value).model_fields.items():
            yield from _entry((*place, name), getattr(value, name), about.description, notes)
        return
    indent = "  " * len(place)
    described: set[str] = set()
    for key, entry in value.items():
        inside = (*place, key)
        if not isinstance(entry, BaseModel):
            yield from _entry(inside, entry, None, notes)
            continue
        yield from (f"{indent}#{line}" for line in notes.pop(inside, []))
        yield f"{indent}{_scalar(key)}:"
        for name, about in type(entry).model_fields.items():
            inner = getattr(entry, name)
            if inner is not None:
                words = None if name in described else about.description
                described.add(name)
                yield from _entry((*inside, name), inner, words, notes)


def _above(about: str | None, indent: str) -> list[str]:
    return textwrap.wrap(
        about or "",
        WIDTH,
        initial_indent=f"{indent}# ",
        subsequent_indent=f"{indent}# ",
        break_on_hyphens=False,  # joined again, the lines are the description
    )


def _flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, tuple | list):
        return "[" + ", ".join(_scalar(entry, in_list=True) for entry in value) + "]"
    if isinstance(value, dict):
        return "{}"
    return _scalar(value)


def _scalar(value: Any, in_list: bool = False) -> str:
    """A plain value; text is quoted only where YAML would read it as something else."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    splits = in_list and "," in value
    if PLAIN.fullmatch(value) and _is_text(value) and not splits:
        return value
    return "'" + value.replace("'", "''") + "'"


def _is_text(word: str) -> bool:
    """Whether YAML reads this plain word back as the same text."""
    return bool(parse(word)[0] == word)
