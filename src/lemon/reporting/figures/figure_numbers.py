"""What a figure shows, as data: a tidy CSV, and beside it a JSON of facts in words.

Both are written before the picture is drawn and are committed with it, so that the notebook of a
figure draws from them alone, wherever it is opened.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from typing_extensions import TypedDict

from lemon.errors import BadInput
from lemon.files.json_file import checked, read_json
from lemon.files.manifest import require_digest, require_sealed, sealed
from lemon.files.storage import write_json, write_text
from lemon.provenance import file_digest


@dataclass(frozen=True)
class Finding:
    """One measured statement behind a figure.

    Attributes:
        claim: id of the claim of the paper; None where the statement is ours.
        statement: the claim in words.
        measured: what was measured, with its numbers.
        verdict: `holds`, `does not hold` or `not resolved`; None where nothing is claimed.
    """

    claim: str | None
    statement: str
    measured: str
    verdict: str | None

    def in_words(self) -> str:
        """The claim, its verdict and what was measured, as Markdown."""
        named = ", ".join(filter(None, (self.claim, self.statement)))
        return f"{named}: " + (f"**{self.verdict}**; " if self.verdict else "") + self.measured


class FigureFacts(TypedDict):
    """What `facts.json` holds: the attributes of `FigureNumbers` but for the numbers."""

    title: str
    caption: str
    findings: list[Finding]
    departures: list[dict[str, Any]]
    inputs: dict[str, str]


@dataclass(frozen=True)
class FigureNumbers:
    """Everything that a picture is drawn from.

    Attributes:
        frame: the numbers, tidy.
        title: above the picture.
        caption: below it.
        findings: what the numbers say of the paper's claims.
        departures: settings that are not the paper's, as in the manifest.
        inputs: digest by name of what the numbers were computed from.
    """

    frame: pd.DataFrame
    title: str
    caption: str
    findings: list[Finding] = field(default_factory=list)
    departures: list[dict[str, Any]] = field(default_factory=list)
    inputs: dict[str, str] = field(default_factory=dict)

    def in_words(self) -> str:
        """Title, what the numbers say of each claim, and the caption, as Markdown."""
        found = "\n".join(f"- {finding.in_words()}" for finding in self.findings)
        return "\n\n".join(filter(None, (f"**{self.title}**", found, self.caption)))


def write_numbers(numbers: FigureNumbers, out: Path, figure: str) -> None:
    """Write `figure`.csv and `figure`.facts.json into `out`.

    Raises:
        BadInput, WorkFailed: a file can't be written.
    """
    facts = {name: value for name, value in asdict(numbers).items() if name != "frame"}
    path = out / f"{figure}.csv"
    write_text(path, numbers.frame.to_csv(index=False))
    write_json(out / f"{figure}.facts.json", sealed({**facts, "numbers_sha256": file_digest(path)}))


def read_numbers(folder: Path, figure: str) -> FigureNumbers:
    """Read what `write_numbers` wrote.

    Raises:
        BadInput: a file is missing or damaged.
    """
    numbers, words = folder / f"{figure}.csv", folder / f"{figure}.facts.json"
    mend = f"run `lemon figure --figure {figure} --numbers`, or `make {figure}`"
    facts = read_json(words, dict[str, Any], mend)
    require_sealed(facts, words, mend, since="numbers_sha256" in facts)
    facts.pop("digest", None)
    if (digest := facts.pop("numbers_sha256", None)) is not None:
        require_digest(numbers, str(digest), str(words))
    try:
        frame = pd.read_csv(numbers)
    except (OSError, ValueError) as error:
        raise BadInput(f"{numbers}: can't be read ({error}); {mend}") from None
    return FigureNumbers(frame=frame, **checked(facts, FigureFacts, str(words), mend))
