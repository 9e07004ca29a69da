"""What the rounds of a search decided, kept in a file, so that a round is not searched again.

A search that removes one layer a round decides from what the rounds before left, so the search for
15 layers begins with all rounds of the one for 22. A build that was interrupted goes on with the
round it was in. A round that is read is the round that would be chosen: the file is named by all
that a decision depends on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import TypeAdapter

from lemon.errors import BadInput, WorkFailed
from lemon.files.json_file import Absent, checked
from lemon.files.manifest import read_sealed, sealed
from lemon.files.storage import write_text
from lemon.progress import say
from lemon.provenance import computation_key

Round = TypeVar("Round")
FORMAT = 1
AGAIN = "it is searched and written again"


@dataclass(frozen=True)
class KeptRounds:
    """The rounds of one search, in order, as sealed JSON; without a file nothing is kept."""

    file: Path | None = None

    @classmethod
    def of(cls, folder: Path, device: torch.device, **depends_on: Any) -> KeptRounds:
        """Those of a search that depends on these values, on the program and on the machine."""
        return cls(folder / f"{computation_key(device.type, **depends_on)}.json")

    def rounds(self, kind: type[Round], count: int, choose: Callable[[], Round]) -> Iterator[Round]:
        """The first `count` rounds: those that are kept, and the others that `choose` decides.

        `choose` is called after the caller has applied all rounds before. The file is read before
        each round, so two jobs with one search share it. A damaged file is searched and written
        again; if it cannot be written, the search goes on without keeping its rounds.
        """
        listed = list[kind]  # type: ignore[valid-type]
        done: list[Round] = []
        while len(done) < count:
            kept = self._read(listed)
            if len(kept) <= len(done) or kept[: len(done)] != done:
                kept = [*done, choose()]
                self._write(TypeAdapter(listed).dump_python(kept, mode="json"))
            done.append(kept[len(done)])
            yield done[-1]

    def _read(self, listed: type[list[Round]]) -> list[Round]:
        if self.file is None:
            return []
        try:
            content = read_sealed(self.file, FORMAT, AGAIN)
            return checked(content.get("rounds"), listed, str(self.file), AGAIN)
        except Absent:
            return []
        except BadInput as error:
            say(f"the kept rounds are not used: {error}")
            return []

    def _write(self, rounds: list[Any]) -> None:
        if self.file is not None:
            try:
                write_text(self.file, json.dumps(sealed({"format": FORMAT, "rounds": rounds})))
            except (BadInput, WorkFailed) as error:
                say(f"the rounds are not kept: {error}")
