"""What the rounds of a search decided, kept in a file, so that no round is searched twice.

A search that removes one layer a round decides from what the rounds before left, so the search for
15 layers begins with all rounds of the one for 22. A build that was interrupted goes on with the
round it was in. A round that is read is the round that would be chosen: the file is named by all
that a decision depends on.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import TypeAdapter

from lemon.errors import BadInput, WorkFailed
from lemon.files.json_file import Absent, read_json
from lemon.files.storage import write_text

Round = TypeVar("Round")


@dataclass(frozen=True)
class KeptRounds:
    """The rounds of one search, in order, as a JSON list; without a file nothing is kept."""

    file: Path | None = None

    @classmethod
    def of(cls, folder: Path, **depends_on: Any) -> KeptRounds:
        """Those of a search that depends on these values; its code and its sums are known here."""
        code = b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py")))
        depends_on |= {
            "code": hashlib.sha256(code).hexdigest(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        key = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()
        return cls(folder / f"{key[:16]}.json")

    def rounds(self, kind: type[Round], count: int, choose: Callable[[], Round]) -> Iterator[Round]:
        """The first `count` rounds: those that are kept, then those that `choose` decides.

        `choose` is called after the caller has applied all rounds before. A damaged file is
        searched and written again; if it cannot be written, the search goes on without.
        """
        listed = list[kind]  # type: ignore[valid-type]
        found: list[Round] = []
        if self.file is not None:
            with suppress(Absent), _told("the kept rounds are not used"):
                found = read_json(self.file, listed, "it is written again")
        yield from found[:count]
        while len(found) < count:
            found.append(choose())
            if self.file is not None:
                with _told("the rounds are not kept"):
                    write_text(self.file, TypeAdapter(listed).dump_json(found).decode())
            yield found[-1]


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Go on after an error of a file, and say so."""
    try:
        yield
    except Absent:
        raise
    except (BadInput, WorkFailed) as error:
        print(f"{what}: {error}", file=sys.stderr)
