"""Write a preset as YAML in which every key carries the description of its type.

One way to write each value, so that a file can be compared with what it should be.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from ruamel.yaml import YAML

from lemon.config import Preset

WIDTH = 100
PLAIN = re.compile(r"[A-Za-z]([\w ,.;'()/%-]*[\w.)%])?")
HEADER = """\
# The values are yours to edit. The comments come from src/lemon/config.py: after an edit,
# `lemon config write` puts this file into its one form. An unknown key is an error.
"""


def preset_yaml(preset: Preset) -> str:
    """The text of a preset file: HEADER, then every key with its comment."""
    blocks: list[str] = []
    for name, about in Preset.model_fields.items():
        value = getattr(preset, name)
        text = "\n".join(_entry(name, value, about.description, 0))
        blocks.append(text)
    return HEADER + "\n" + "\n\n".join(blocks) + "\n"


def _entry(key: str, value: Any, about: str | None, depth: int) -> Iterator[str]:
    """The lines of one key: its comment beside it, or above where the line would be too long."""
    indent = "  " * depth
    if isinstance(value, BaseModel) or (isinstance(value, dict) and value):
        yield from _above(about, indent)
        yield f"{indent}{_scalar(key)}:"
        yield from _children(value, depth + 1)
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


def _children(value: BaseModel | dict[str, Any], depth: int) -> Iterator[str]:
    """The lines inside a block; among like entries a key is commented once."""
    if isinstance(value, BaseModel):
        for name, about in type(value).model_fields.items():
            yield from _entry(name, getattr(value, name), about.description, depth)
        return
    described: set[str] = set()
    for key, entry in value.items():
        if not isinstance(entry, BaseModel):
            yield from _entry(key, entry, None, depth)
            continue
        yield f"{'  ' * depth}{_scalar(key)}:"
        for name, about in type(entry).model_fields.items():
            inner = getattr(entry, name)
            if inner is not None:
                words = None if name in described else about.description
                described.add(name)
                yield from _entry(name, inner, words, depth + 1)


def _above(about: str | None, indent: str) -> list[str]:
    return textwrap.wrap(
        about or "", WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "
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
    return YAML(typ="safe", pure=True).load(io.StringIO(word)) == word
