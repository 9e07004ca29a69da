"""What each method needs and learns, by name. Its builder is in `lemon.methods`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Learned = Literal["operators", "weights", "masks"]
Start = Literal["method", "run"]


@dataclass(frozen=True)
class Method:
    """What a run of a method needs; the builders themselves are in `lemon.methods.build`.

    Attributes:
        summary: what it does, in a line.
        learns: what an optimiser changes; nothing where the operators are chosen at once.
        starts: what its start may be: a method that chooses operators, or an earlier run.
        needs_target: whether it makes a smaller model.
        depth_only: whether it leaves all widths as they are.
        averages: whether its operators mix layers from the beginning.
    """

    summary: str
    learns: tuple[Learned, ...] = ()
    starts: tuple[Start, ...] = ()
    needs_target: bool = True
    depth_only: bool = False
    averages: bool = False

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


SECOND_SIZE = "second-size"  # the method of a run that not every preset has

METHODS: dict[str, Method] = {
    "source": Method("the source model as it is", needs_target=False),
    SECOND_SIZE: Method(
        "another size of the source's family as it is, compared with the source and no more",
        needs_target=False,
    ),
    "cut": Method("keep the first layers"),
    "random": Method("keep a sorted random subset of the layers", depth_only=True),
    "average": Method("average clusters of neighbouring layers", depth_only=True, averages=True),
    "lemon": Method(
        "learn the operators from a start, source weights frozen",
        learns=("operators",),
        starts=("method", "run"),
    ),
    "lemon-trained": Method(
        "learn the operators and the source weights together",
        learns=("operators", "weights"),
        starts=("method", "run"),
    ),
    "tuned": Method(
        "train the source weights under the operators of a start, which stay as they are",
        learns=("weights",),
        starts=("method", "run"),
    ),
    "shear": Method(
        "learn masks under a constraint to the target's shape, and the weights with them",
        learns=("masks", "weights"),
    ),
    "shear-selection": Method(
        "keep what the masks of a shear run keep, with the source's own weights",
        starts=("run",),
    ),
}
