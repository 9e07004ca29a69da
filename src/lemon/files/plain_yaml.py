"""Read the subset of YAML used in config files: blocks, lists, text, numbers, true and false.

Other features are refused. Aliases and merge keys can turn a small file into a huge value, tags
change the type of a value, and a diff shows neither. Numbers are decimal, keys are text, and a text
is one line of printable characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)

from lemon.files.names import shown
from lemon.files.plain_text import NotPlain

Place = tuple[str | int, ...]
"""The path to a value from the top: keys of blocks and indices of lists."""

DEEPEST = 20  # nesting of blocks and lists; our files have 4
MOST_DIGITS = 30  # of a whole number; the limits of each setting are checked elsewhere

CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
INTEGER = re.compile(r"[-+]?[0-9]+")
NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
UNUSUAL_SPACES = "\u00a0\u2009\u202f"  # in text, though Python calls them unprintable
NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def parse(text: str) -> tuple[Any, dict[Place, int]]:
    """The plain value of a YAML text, and the line of every key and list entry.

    NotPlain if the text is not YAML, or uses a refused feature.
    """
    reader = _Reader(text)
    return reader.document(), reader.lines


class _Reader:
    """Builds the value from the parser's events and stops at the first error."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Place, int] = {}
        self._events: Iterator[Any] = iter(YAML(typ="safe", pure=True).parse(text))
        self._line = 1

    def document(self) -> Any:
        """The value of the only document; None for an empty text."""
        self._next()  # the start of the stream
        event = self._next()
        if isinstance(event, StreamEndEvent):
            return None
        if event.version or event.tags:
            raise NotPlain(self._line, "a line that begins with % is a parser directive; remove it")
        value = self._value(self._next(), ())
        self._next()  # the end of the document
        if isinstance(self._next(), DocumentStartEvent):
            raise NotPlain(self._line, "a second document begins here; give it a file of its own")
        return value

    def _next(self) -> Any:
        try:
            event = next(self._events)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = (error.problem or "can't be parsed").split("\n")[0]
            raise NotPlain(mark.line + 1 if mark else self._line, f"is not YAML: {what}") from None
        except Exception as error:  # bugs of the parser, e.g. on the escape \UFFFFFFFF
            raise NotPlain(self._line, f"is not YAML: {error}") from None
        self._line = event.start_mark.line + 1
        return event

    def _value(self, event: Any, place: Place) -> Any:
        self._require_plain(event)
        if isinstance(event, ScalarEvent):
            return self._scalar(event)
        if len(place) == DEEPEST:
            raise NotPlain(self._line, f"blocks are nested more than {DEEPEST} deep")
        return (self._block if isinstance(event, MappingStartEvent) else self._list)(place)

    def _block(self, place: Place) -> dict[str, Any]:
        block: dict[str, Any] = {}
        while not isinstance(event := self._next(), MappingEndEvent):
            key = self._key(event)
            inner = (*place, key)
            if key in block:
                first = self.lines[inner]
                raise NotPlain(self._line, f"the key {shown(key)} is already on line {first}")
            self.lines[inner] = self._line
            block[key] = self._value(self._next(), inner)
        return block

    def _list(self, place: Place) -> list[Any]:
        entries: list[Any] = []
        while not isinstance(event := self._next(), SequenceEndEvent):
            inner = (*place, len(entries))
            self.lines[inner] = self._line
            entries.append(self._value(event, inner))
        return entries

    def _key(self, event: Any) -> str:
        self._require_plain(event)
        if isinstance(event, CollectionStartEvent):
            raise NotPlain(self._line, "a block or list is no key; write a word")
        if event.value == "<<" and event.implicit[0]:
            raise NotPlain(self._line, "<< merges another block into this one; write its keys out")
        key = self._scalar(event)
        if not isinstance(key, str):
            word = event.value[:60] or "of no letters"
            raise NotPlain(self._line, f"the key {word} is no text; put it in quotes")
        return key

    def _require_plain(self, event: Any) -> None:
        if isinstance(event, AliasEvent):
            word = f"*{event.anchor}"
            fix = "stands for another part of the file; write that part out"
        elif event.anchor is not None:
            word, fix = f"&{event.anchor}", "names a part of the file for aliases; leave it out"
        elif event.tag is not None:
            word = str(event.tag).replace("tag:yaml.org,2002:", "!!")
            fix = "is a tag, which makes a value of another kind; leave it out"
        else:
            return
        raise NotPlain(self._line, f"{shown(word)} {fix}")

    def _scalar(self, event: ScalarEvent) -> Any:
        text: str = event.value
        if event.implicit[0]:  # without quotes
            if text in CONSTANTS:
                return CONSTANTS[text]
            if INTEGER.fullmatch(text):
                if len(text) > MOST_DIGITS:
                    raise NotPlain(self._line, f"a number of {len(text):,} digits is too large")
                return int(text)
            if NUMBER.fullmatch(text):
                return float(text)
            if NOT_FINITE.fullmatch(text):
                return float(text.replace(".", ""))
        bad = next((c for c in text if not c.isprintable() and c not in UNUSUAL_SPACES), None)
        if bad is not None:
            message = f"the text {shown(text)} holds {shown(bad)}; write one line of plain text"
            raise NotPlain(self._line, message)
        return text
