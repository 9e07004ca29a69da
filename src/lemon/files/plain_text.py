"""Read a config file as text: UTF-8, of limited size, without control characters."""

from __future__ import annotations

import re
from pathlib import Path

LARGEST_BYTES = 64_000  # of a config file; our largest has 45,000
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff]")  # all but tab and newline


class NotPlain(Exception):
    """A file is not plain text or YAML; `line` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def read_text(path: Path) -> str:
    """The text of a file, with newlines as line ends and without a byte-order mark.

    NotPlain if it can't be read, is too large, not UTF-8, or holds a control character.
    """
    try:
        if not path.is_file():
            raise NotPlain(1, "no such file")
        with path.open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise NotPlain(1, f"can't be read: {error.strerror}") from None
    if len(content) > LARGEST_BYTES:
        raise NotPlain(1, f"has more than {LARGEST_BYTES:,} bytes; a config file is far smaller")
    try:
        text = re.sub("\r\n?", "\n", content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise NotPlain(line, "is not UTF-8 text; save it as UTF-8") from None
    control = CONTROL.search(text)
    if control:
        line = text.count("\n", 0, control.start()) + 1
        raise NotPlain(line, f"holds the control character U+{ord(control[0]):04X}; remove it")
    return text
