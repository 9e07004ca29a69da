"""The registry of methods: what a run of each needs, learns and teaches.

A new method is a file of its name in `lemon.methods` with `build(context) -> Operators`, a row
here, and rows in `runs.tsv`. The files need torch, so they are named here and imported where they
are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Learned = Literal["operators", "weights", "masks"]
Start = Literal["method", "run"]

SECOND_SIZE = "second-size"  # the method of a run that not every preset has


@dataclass(frozen=True)
class Method:
    """What a run of a method needs, learns and teaches.

    Attributes:
        name: as `runs.tsv` has it.
        summary: what it does, in a line.
        learns: what an optimiser changes; empty where the operators are chosen at once.
        starts: what its start may be: a method that chooses operators, or an earlier run.
        prepared: the folder of a model that is taken as it is, in that of the preset's data; None
            where a smaller model is made.
        depth_only: whether it leaves all widths as they are.
        averages: whether its operators mix layers from the beginning.
    """

    name: str
    summary: str
    learns: tuple[Learned, ...] = ()
    starts: tuple[Start, ...] = ()
    prepared: str | None = None
    depth_only: bool = False
    averages: bool = False

    @property
    def module(self) -> str | None:
        """The file in `lemon.methods` that builds its operators, before any learning.

        That is the one of its name, or `start` for all that begin with the operators of others.
        None where nothing is built: for a model that is taken as it is, and for masks.
        """
        if not self.needs_target or self.prunes:
            return None
        return "start" if self.starts else self.name

    @property
    def needs_target(self) -> bool:
        """Whether it makes a smaller model."""
        return self.prepared is None

    @property
    def learned(self) -> bool:
        """Whether its runs take optimiser steps."""
        return bool(self.learns)

    @property
    def learns_operators(self) -> bool:
        """Whether an optimiser changes the operators."""
        return "operators" in self.learns

    @property
    def trains_weights(self) -> bool:
        """Whether the operators apply to weights of the run's own, not to the source's."""
        return "weights" in self.learns

    @property
    def prunes(self) -> bool:
        """Whether it learns masks under a sparsity constraint."""
        return "masks" in self.learns

    @property
    def selects(self) -> bool:
        """Whether it keeps what the masks of an earlier run keep."""
        return self.starts == ("run",)

    @property
    def teaches(self) -> bool:
        """Whether the source's own predictions are part of what it learns from."""
        return self.learned and not self.prunes

    @property
    def mixes(self) -> bool:
        """Whether its operators mix layers or channels instead of keeping whole ones."""
        return self.averages or self.learns_operators


_ROWS = (
    Method("source", "the source model as it is", prepared="source"),
    Method(
        SECOND_SIZE,
        "another size of the source's family as it is, compared with the source and no more",
        prepared="second-size",
    ),
    Method("cut", "keep the first layers"),
    Method("random", "keep a sorted random subset of the layers", depth_only=True),
    Method("average", "average clusters of neighbouring layers", depth_only=True, averages=True),
    Method(
        "lemon",
        "learn the operators from a start, source weights frozen",
        learns=("operators",),
        starts=("method", "run"),
    ),
    Method(
        "lemon-trained",
        "learn the operators and the source weights together",
        learns=("operators", "weights"),
        starts=("method", "run"),
    ),
    Method(
        "tuned",
        "train the source weights under the operators of a start, which stay as they are",
        learns=("weights",),
        starts=("method", "run"),
    ),
    Method(
        "shear",
        "learn masks under a constraint to the target's shape, and the weights with them",
        learns=("masks", "weights"),
    ),
    Method(
        "shear-selection",
        "keep what the masks of a shear run keep, with the source's own weights",
        starts=("run",),
    ),
)
METHODS: dict[str, Method] = {method.name: method for method in _ROWS}
