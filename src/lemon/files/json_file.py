"""Read JSON that may be damaged, hand-written or hostile, with checked types.

Every JSON file that the program reads is read here.
"""

from __future__ import annotations

import json
from collections.abc import Hashable
from functools import cache
from pathlib import Path
from stat import S_ISREG
from typing import Any, TypeVar, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from lemon.errors import BadInput

T = TypeVar("T")
LARGEST_BYTES = 64 * 2**20  # the tokenizer of a vocabulary of 256,000 is 34 MB


class Absent(BadInput):
    """A file does not exist."""


def read_json(path: Path, kind: type[T], fix: str, largest: int = LARGEST_BYTES) -> T:
    """Read a JSON file and check its types.

    Args:
        path: the file.
        kind: the expected type: a type, or a pydantic or typed-dict class.
        fix: what the user can do about a missing or damaged file; ends the message.
        largest: most bytes of such a file.

    Raises:
        Absent: there is no such file.
        BadInput: it can't be read, is too large, is not JSON, or a value has another type; the
            message names the file and the place in it.
    """
    try:
        state = path.stat()
        if not S_ISREG(state.st_mode):  # a pipe or device may be endless
            raise BadInput(f"{path}: is no file; {fix}")
        if (size := state.st_size) > largest:
            raise BadInput(f"{path}: {size} bytes are too many for a file of this kind; {fix}")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Absent(f"{path}: no such file; {fix}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path}: is not UTF-8 text; {fix}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", error)
        raise BadInput(f"{path}: can't be read ({reason}); {fix}") from None
    return parse_json(text, kind, str(path), fix)


def parse_json(text: str | bytes, kind: type[T], where: str, fix: str) -> T:
    """Parse a JSON text and check its types; raises as `read_json`, naming `where`."""
    try:
        return _adapter(cast(Hashable, kind)).validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise BadInput(f"{where}: is not JSON ({first['ctx']['error']}); {fix}") from None
        place = ".".join(map(str, first["loc"]))[:100].replace("\n", " ")
        message = f"{place}: {first['msg'].lower()}" if place else first["msg"].lower()
        raise BadInput(f"{where}: {message}; {fix}") from None


def checked(value: Any, kind: type[T], where: str, fix: str) -> T:
    """Check the types of JSON values and return them as `kind`; raises as `read_json`."""
    return parse_json(json.dumps(value), kind, where, fix)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(kind, config=ConfigDict(strict=True))
    except PydanticUserError:  # the class has its own configuration
        return TypeAdapter(kind)
