"""The registry of methods.

A new method needs a module of its name in `lemon.methods` (`-` as `_`) with
`build(context) -> Operators`, a row here, and rows in `runs.tsv`. The modules need torch, so they
are only named here and imported when used.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

Learned = Literal["operators", "weights", "masks"]
Start = Literal["method", "run"]
CalibrationRows = Literal["sequences", "search_sequences"]

SECOND_SIZE = "second-size"  # the only method whose runs some presets lack
SCRATCH = "scratch"  # the only method whose model has nothing of an earlier one

RATES_OF: dict[Learned, tuple[str, ...]] = {
    "operators": ("layer_rate", "norm_rate", "dimension_rate", "warmup_ratio"),
    "weights": ("weight_rate", "warmup_ratio"),
    "masks": ("mask_rate", "multiplier_rate", "sparsity_warmup_ratio", "warmup_ratio"),
}


@dataclass(frozen=True)
class Method:
    """Properties of a method.

    Attributes:
        name, summary: in `runs.tsv`, and one line for the guide.
        learns: parameters that an optimiser changes; empty if operators are built without learning.
        starts: kinds of start it accepts: a method that builds operators, or an earlier run.
        prepared: for a model used unchanged, its folder in the preset's data folder; None if a
            smaller model is made.
        depth_only, widths_only: whether it keeps all widths, or all layers.
        mixes: whether its gamma adds layers up instead of selecting them.
        places: whether its operators move units within layers as well as mapping layers.
        ties: whether it keeps all layers and ties neighbouring FFNs, so many that its model has
            about the parameters of its target.
        chooses: whether it chooses between whole models by their loss on the tune text.
        builder: the module of its builder, if it is not of its name.
        calibrates: whether its operators depend on activations on text.
        calibration_rows: of a method that calibrates, the setting of `calibration` with the number
            of training sequences that it reads at most; None if it reads the tune text alone.
        pretrains: whether it trains a small model on text alone, without operators.
        matches_states: whether it trains the model of its start towards hidden states of the larger
            model.
    """

    name: str
    summary: str
    learns: tuple[Learned, ...] = ()
    starts: tuple[Start, ...] = ()
    prepared: str | None = None
    depth_only: bool = False
    mixes: bool = False
    places: bool = False
    widths_only: bool = False
    calibrates: bool = False
    calibration_rows: CalibrationRows | None = "sequences"
    ties: bool = False
    chooses: bool = False
    builder: str | None = None
    pretrains: bool = False
    matches_states: bool = False

    @property
    def module(self) -> str | None:
        """The module in `lemon.methods` that builds its operators before any learning.

        It is `start` if the operators of a start are taken as they are. None if nothing is built:
        for a model used unchanged, for masks, and for pre-training.
        """
        if not self.fuses or self.prunes:
            return None
        taken = self.starts and not self.calibrates
        return "start" if taken else (self.builder or self.name).replace("-", "_")

    @property
    def needs_target(self) -> bool:
        """Whether it makes a smaller model."""
        return self.prepared is None

    @property
    def fuses(self) -> bool:
        """Whether its model is made by operators from a larger one."""
        return self.needs_target and not self.pretrains

    @property
    def stage(self) -> str:
        """The stage of the workflow that makes it: `build`, `learn` or `pretrain`."""
        return "pretrain" if self.pretrains else "learn" if self.learned else "build"

    @property
    def learned(self) -> bool:
        """Whether it takes optimiser steps."""
        return bool(self.learns)

    @property
    def learns_operators(self) -> bool:
        """Whether it learns the operators."""
        return "operators" in self.learns

    @property
    def trains_weights(self) -> bool:
        """Whether it trains weights: those of the source, or in pre-training those of its model."""
        return "weights" in self.learns

    @property
    def prunes(self) -> bool:
        """Whether it learns masks under a sparsity constraint."""
        return "masks" in self.learns

    @property
    def scatters(self) -> bool:
        """Whether its operators keep single channels or neurons, which blocks can't follow."""
        return self.prunes or self.widths_only

    @property
    def selects(self) -> bool:
        """Whether it keeps the units that an earlier run's masks keep."""
        return self.starts == ("run",)

    @property
    def teaches(self) -> bool:
        """Whether its objective uses the predictions of a teacher model."""
        return self.learned and not self.prunes and not self.pretrains


_layers = partial(Method, depth_only=True, calibrates=True)
_merged = partial(_layers, mixes=True)
_placed = partial(_merged, places=True)
_from_a_start = partial(Method, starts=("method", "run"))

_METHODS = (
    Method("source", "the source model, unchanged", prepared="source"),
    Method(
        SECOND_SIZE,
        "another size of the source's family, unchanged, only compared with the source",
        prepared="second-size",
    ),
    Method("cut", "keep the first layers"),
    Method("random", "keep a sorted random subset of the layers", depth_only=True),
    Method("average", "average clusters of neighbouring layers", depth_only=True, mixes=True),
    _layers("shortgpt", "drop the layers that change the hidden states least"),
    _layers(
        "sleb",
        "drop one layer after the other, the one whose absence costs the least loss",
        calibration_rows="search_sequences",
    ),
    _merged(
        "laco",
        "collapse neighbouring layers into one while the output stays alike",
        calibration_rows="search_sequences",
    ),
    _merged(
        "mka",
        "merge the last layers into one, with weights by how alike the maps of their outputs are",
    ),
    _placed(
        "come",
        "merge neighbouring layers by placing their most sensitive heads and neurons side by side",
    ),
    _placed(
        "come-posterior", "as come, with the shares of the two layers that have the least loss"
    ),
    _merged("come-sum", "the pairs and shares of come with weighted sums"),
    Method(
        "minitron",
        "keep the hidden coordinates, heads and neurons with the largest activations",
        widths_only=True,
        calibrates=True,
    ),
    _layers(
        "window-drop",
        "drop the neighbouring layers whose absence costs the least loss",
        calibration_rows=None,
        chooses=True,
    ),
    *(
        Method(
            name,
            f"tie a window of neighbouring FFNs to their mean, neurons {how}",
            mixes=True,
            places=True,
            calibrates=True,
            ties=True,
            chooses=True,
            builder="ff-merge",
        )
        for name, how in (
            ("ff-merge", "aligned to the first layer's"),
            ("ff-merge-middle", "aligned to the middle layer's"),
            ("ff-merge-last", "aligned to the last layer's"),
            ("ff-merge-vanilla", "not aligned"),
        )
    ),
    _from_a_start(
        "aligned",
        "permute the neurons and heads of each layer onto those of the layer before, under a start",
        depth_only=True,
        places=True,
        calibrates=True,
    ),
    _from_a_start(
        "lemon",
        "learn the operators from a start, source weights frozen",
        learns=("operators",),
    ),
    _from_a_start(
        "lemon-trained",
        "learn the operators and the source weights together",
        learns=("operators", "weights"),
    ),
    _from_a_start(
        "tuned",
        "train the source weights under the operators of a start, which stay as they are",
        learns=("weights",),
    ),
    _from_a_start(
        "hierarchical",
        "train the weights of a start's model, each layer towards the output of the source layers "
        "that it stands for, then towards the teacher's predictions too",
        learns=("weights",),
        depth_only=True,
        matches_states=True,
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
    Method(
        SCRATCH,
        "train a model of the target's sizes from random weights, on text alone",
        learns=("weights",),
        pretrains=True,
    ),
    Method(
        "pretrained",
        "train the model of an earlier run further, all weights, on text alone",
        learns=("weights",),
        pretrains=True,
    ),
)
METHODS: dict[str, Method] = {method.name: method for method in _METHODS}
