"""Reads a run's losses on held-out text, sequence by sequence, and the floors of that text.

A floor is the loss of a model that knows no more than how often tokens occur
(`lemon.data.text.floors`). A model that at its best temperature does not get below the unigram
floor predicts text worse than token frequencies do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

from lemon.data.text.floors import FLOORS, Floor
from lemon.data.text.packing import PackedManifest
from lemon.errors import BadInput
from lemon.files.json_file import checked, read_json
from lemon.files.manifest import MANIFEST, checked_file, read_manifest
from lemon.perplexity import perplexity_of
from lemon.reporting.facts.statistics import Design

UNIGRAM = "unigram"  # the floor that a model has to beat
AGAIN = "remove it and evaluate the run again"


class DomainFile(TypedDict):
    """The entry of one domain in `perplexity.json`."""

    perplexity: float
    tokens: int
    weight: float
    losses: list[float]
    calibrated_losses: list[float]
    documents: list[int]


class PerplexityFile(TypedDict):
    """The fields read from `perplexity.json`."""

    loss: float
    temperature: float
    calibrated_loss: float
    domains: dict[str, DomainFile]


@dataclass(frozen=True)
class HeldoutLosses:
    """The losses of one run on held-out text, in nats per token.

    Attributes:
        loss, calibrated_loss: over the mixture of domains, as it is and at the best temperature.
        temperature: that temperature.
        domains: perplexity by domain.
        tokens: predicted tokens of all domains.
        sequences, calibrated_sequences: by domain, the mean loss of each sequence; [sequences].
        design: shares of the domains, and the document of each sequence.
    """

    loss: float
    calibrated_loss: float
    temperature: float
    domains: dict[str, float]
    tokens: int
    sequences: dict[str, NDArray[np.float64]]
    calibrated_sequences: dict[str, NDArray[np.float64]]
    design: Design

    @property
    def perplexity(self) -> float:
        """exp of the loss; infinity on overflow."""
        return perplexity_of(self.loss)


def read_heldout(path: Path) -> HeldoutLosses | None:
    """Read `perplexity.json`; None if there is none.

    Raises:
        BadInput: it is damaged or of an earlier version, without the losses of the sequences.
    """
    if not path.is_file():
        return None
    file = read_json(checked_file(path), PerplexityFile, AGAIN)
    domains = file["domains"]
    for name, domain in domains.items():
        sizes = {len(domain["losses"]), len(domain["calibrated_losses"]), len(domain["documents"])}
        if len(sizes) != 1 or 0 in sizes:
            raise BadInput(f"{path}: {name} has not one document for each loss; {AGAIN}")
    return HeldoutLosses(
        loss=file["loss"],
        calibrated_loss=file["calibrated_loss"],
        temperature=file["temperature"],
        domains={name: domain["perplexity"] for name, domain in domains.items()},
        tokens=sum(domain["tokens"] for domain in domains.values()),
        sequences={name: np.array(domain["losses"]) for name, domain in domains.items()},
        calibrated_sequences={
            name: np.array(domain["calibrated_losses"]) for name, domain in domains.items()
        },
        design=Design(
            {name: domain["weight"] for name, domain in domains.items()},
            {name: domain["documents"] for name, domain in domains.items()},
        ),
    )


def read_floors(text: Path | None, heldouts: Sequence[HeldoutLosses]) -> dict[str, float]:
    """The held-out losses `uniform`, `unigram` and `bigram` of packed text, nats per token.

    Args:
        text: the folder of `lemon prepare text`.
        heldouts: the losses of runs, which must be on this text; without any there is no floor.

    Raises:
        BadInput: a file is missing or damaged, or the first run was scored on other text.
    """
    if not heldouts:
        return {}
    if text is None:
        raise BadInput(
            "the runs were scored on held-out text, whose floors are shown beside them; name its "
            "folder with --text"
        )
    again = "run `lemon prepare text` again"
    manifest = text / MANIFEST
    packed = checked(read_manifest(manifest), PackedManifest, str(manifest), again)
    documents = {
        name: domain["splits"]["heldout"]["row_documents"]
        for name, domain in packed.domains.items()
    }
    scored = heldouts[0].design.documents or {}
    if scored.keys() != documents.keys() or any(
        list(scored[name]) != documents[name][: len(scored[name])] for name in scored
    ):
        raise BadInput(
            f"{text}: is not the text that the runs were scored on; {again}, then evaluate them "
            "again"
        )
    floors = read_json(checked_file(text / FLOORS), dict[str, Floor], again)
    return {name: floor["heldout_loss"] for name, floor in floors.items()}


def tune_floor(text: Path) -> float:
    """The loss of a unigram model on the tune text of a folder of packed text, nats per token.

    Raises:
        BadInput: a file is missing or damaged.
    """
    again = "run `lemon prepare text` again"
    return read_json(checked_file(text / FLOORS), dict[str, Floor], again)[UNIGRAM]["tune_loss"]
