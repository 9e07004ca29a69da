"""The data of a figure: a tidy CSV of numbers and a JSON file of text and settings.

Both are written before the picture is drawn and are committed with it, so that the notebook of a
figure needs no other files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from lemon.errors import BadInput
from lemon.files.json_file import checked, read_json
from lemon.files.manifest import require_digest, require_sealed, sealed
from lemon.files.storage import write_json, write_text
from lemon.provenance import file_digest
from lemon.published.tables import published_claims
from lemon.reporting.claims.verdict import NOT_TESTED, Finding
from lemon.reporting.facts.departures import Departure
from lemon.reporting.facts.figure import FigureFacts
from lemon.reporting.facts.similarity_maps import Panel


@dataclass(frozen=True)
class FigureWords:
    """The content of `facts.json`: what picture and manifest need besides the numbers.

    Attributes:
        renderer: the kind of picture, as in `paper.yaml`.
        settings, inputs: as in the manifest.
        panels: those of a figure of similarity.
        bound: a level to draw across the neighbour curve, if the paper states one.
        radius_names: for `r_a` and `r_i`, the paper's radius by ours, if they differ.
    """

    title: str
    caption: str
    renderer: str
    settings: dict[str, Any]
    inputs: dict[str, str]
    findings: list[Finding] = field(default_factory=list)
    departures: list[Departure] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)
    bound: float | None = None
    radius_names: dict[str, dict[str, str]] = field(default_factory=dict)

    def as_markdown(self) -> str:
        """Title, findings and caption."""
        found = "\n".join(f"- {finding.in_words()}" for finding in self.findings)
        return "\n\n".join(filter(None, (f"**{self.title}**", found, self.caption)))


@dataclass(frozen=True)
class FigureNumbers:
    """The data of a picture: tidy numbers and text."""

    frame: pd.DataFrame
    words: FigureWords


def figure_numbers(
    facts: FigureFacts[Any],
    caption: list[str],
    measures: Mapping[str, Callable[[Any], tuple[str, str]]] = MappingProxyType({}),
    **picture: Any,
) -> FigureNumbers:
    """The numbers and text of a figure.

    `caption` has its sentences, `measures` the function that measures each claim, `picture` further
    attributes of `FigureWords`. A claim that is not tested has a finding without a verdict.
    """
    spec, known = facts.spec, published_claims()
    reasons = getattr(spec, "not_tested", {})
    words = FigureWords(
        title=spec.title,
        caption=" ".join(caption),
        renderer=spec.renderer,
        settings=facts.setup.in_manifest(figure=facts.name),
        inputs=facts.inputs,
        findings=[
            Finding(
                claim,
                known[claim]["claim"],
                *((reasons[claim], NOT_TESTED) if claim in reasons else measures[claim](facts)),
            )
            for claim in getattr(spec, "claims", ())
        ],
        departures=facts.departures,
        **picture,
    )
    return FigureNumbers(facts.frame, words)


def write_numbers(numbers: FigureNumbers, out: Path, figure: str) -> None:
    """Write `figure`.csv and `figure`.facts.json into `out`.

    Raises:
        BadInput, WorkFailed: a file can't be written.
    """
    path = out / f"{figure}.csv"
    write_text(path, numbers.frame.to_csv(index=False))
    facts = {**asdict(numbers.words), "numbers_sha256": file_digest(path)}
    write_json(out / f"{figure}.facts.json", sealed(facts))


def read_numbers(folder: Path, figure: str) -> FigureNumbers:
    """Read the files of `write_numbers`.

    Raises:
        BadInput: a file is missing or damaged, or of an earlier version.
    """
    path, said = folder / f"{figure}.csv", folder / f"{figure}.facts.json"
    fix = f"run `lemon figure --figure {figure} --numbers`, or `make {figure}`"
    facts = read_json(said, dict[str, Any], fix)
    require_sealed(facts, said, fix, since="numbers_sha256" in facts)
    facts.pop("digest", None)
    if (digest := facts.pop("numbers_sha256", None)) is not None:
        require_digest(path, str(digest), str(said))
    words = checked(facts, FigureWords, str(said), fix)
    try:
        return FigureNumbers(pd.read_csv(path), words)
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: can't be read ({error}); {fix}") from None
