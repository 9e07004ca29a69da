"""JSON as nobody writes it, in every place where it may stand, and how a reader must take it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from damage import forget_digests

from lemon.errors import BadInput
from lemon.files.manifest import sealed

ODD: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 10**30, -(10**400), float("nan"), float("inf")),
    *("", "x", "7", "\0", "\x1b[2J", "../../outside", "x" * 10_000, "\ud800"),
    *([], [None], [[]], {}, {"": None}, {"a": [{"b": {}}]}),
]

# Texts that are no JSON object, each with what is wrong.
TEXTS: dict[str, bytes] = {
    "empty": b"",
    "cut": b'{"a": [1, 2',
    "two values": b"{} {}",
    "a list": b"[]",
    "null": b"null",
    "a number": b"7",
    "a word": b"hello",
    "single quotes": b"{'a': 1}",
    "a trailing comma": b'{"a": 1,}',
    "a comment": b'{"a": 1} // one',
    "a byte-order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "not UTF-8": b'{"a": "\xff"}',
    "an encoded surrogate": b'{"a": "\xed\xa0\x80"}',
    "half a surrogate pair": b'{"a": "\\ud800"}',
    "half a surrogate pair as a key": b'{"\\udc00": 1}',
    "a NUL": b'{"a": "\0"}',
    "a control character": b'{"a": "\n"}',
    "lists nested deeply": b"[" * 100_000,
    "objects nested deeply": b'{"a":' * 100_000,
    "nested deeply and closed": b"[" * 5000 + b"]" * 5000,
    "a number of very many digits": b'{"a": ' + b"9" * 10_000 + b"}",
}


def changed(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """The value with one place changed: another type or value there, or nothing.

    Yields:
        where and how, and the changed value.
    """
    if isinstance(value, dict):
        for key, one in value.items():
            rest = {name: other for name, other in value.items() if name != key}
            yield f"{at}.{key} is missing", rest
            for what, new in changed(one, f"{at}.{key}"):
                yield what, {**value, key: new}
    elif isinstance(value, list) and value:
        for what, new in changed(value[0], f"{at}[0]"):
            yield what, [new, *value[1:]]
    for odd in ODD:
        if type(odd) is not type(value) or odd != value:
            yield f"{at} is {str(odd)[:20]!r}", odd


def text_of(value: Any) -> bytes:
    """JSON text, half a surrogate pair escaped."""
    return json.dumps(value).encode()


SECONDS = 3.0


def require_told(path: Path, content: bytes, read: Callable[[], Any], what: str) -> bool:
    """Put content into a file and read it; gives whether that was refused, as it should be."""
    path.write_bytes(content)
    forget_digests()
    started = time.process_time()
    try:
        read()
    except BadInput as error:
        told = str(error)
        assert str(path.parent) in told, f"{what}: {told}"
        assert told.isprintable() and len(told) < 1000, f"{what}: {told!r}"
        assert time.process_time() - started < SECONDS, what
        return True
    return False


def require_refusals(path: Path, read: Callable[[], Any], *, seal: bool = False) -> None:
    """Try all that may be wrong with a file, which then is as it was.

    What has a digest of its own is refused by it, whatever was changed: there one change a place is
    enough, unless the digest is made right.

    Args:
        path: a sound JSON file that holds an object.
        read: what reads it.
        seal: put the right digest into the changed content, as an attacker would.
    """
    sound = path.read_bytes()
    read()
    for what, text in TEXTS.items():
        assert require_told(path, text, read, what), f"{what} is taken"
    content = json.loads(sound)
    for what, value in changed(content):
        if "digest" in content and not seal and not what.endswith(" is missing"):
            continue
        if seal and isinstance(value, dict) and not what.startswith(".digest"):
            value = sealed(json.loads(text_of(value)))
        require_told(path, text_of(value), read, what)
    path.write_bytes(sound)
    forget_digests()
    read()
