"""CoMe: make one layer of two neighbours by placing parts of both side by side.

Two neighbouring layers become one of the same width. Each gives its most sensitive query-head
groups and FFN neurons, as many as its share of the influence of both. Each round merges one pair,
and the next round measures the model that is left.
Norm gains are averaged. Formulas, with our choices on what the paper leaves open:

    influence    BI_l = mean_t (1 - clip(cos(h_l, h_{l+1}), 0, 1))     h before and after layer l
    distance     A_l = mean_t arccos(clip(cos(h_l, h_{l+2}), 0, 1)) / pi     the least is merged
    share        r_a = BI_a / (BI_a + BI_b); one half if both are 0
    sensitivity  s_c = mean_t |a_c| sum_o |W[o, c]|     a the input of o or down, W that matrix

The state is, for each place of each layer, the source layer and unit that fill it, so that rounds
compose into one operators value. A source layer's units go to their places and its other places are
zero: the sum over source layers is a concatenation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor

from lemon.architecture import LAYER_TYPES, NORM_TYPES
from lemon.configuration.planned_run import PlannedRun
from lemon.decoder import LayerWeights
from lemon.methods.calibration import Calibration, cosines
from lemon.methods.context import BuildContext
from lemon.methods.passes import Passes, rounds
from lemon.operators.algebra import Operators
from lemon.operators.factor import NOTHING, Dense, Factor, OneHot
from lemon.progress import say
from lemon.radii import Radii


@dataclass(frozen=True)
class Units:
    """What fills the places of one axis of a layer: source layers and units, both int64 [n]."""

    layers: Tensor
    units: Tensor

    def joined(self, other: Units, places: tuple[list[int], list[int]]) -> Units:
        """The kept places of this layer, then those of the other one."""
        own, others = (torch.tensor(kept, dtype=torch.int64) for kept in places)
        return Units(
            torch.cat([self.layers[own], other.layers[others]]),
            torch.cat([self.units[own], other.units[others]]),
        )

    def of(self, layer: int, count: int) -> OneHot:
        """The factor that brings the units of one source layer, `count` in number, to places."""
        return OneHot(self.units.where(self.layers == layer, NOTHING), count)


@dataclass(frozen=True)
class Merged:
    """A layer of the model that is left.

    Attributes:
        heads: its query-head groups.
        ffn: its FFN neurons.
        norms: weights of the source layers in its norm gains, float [L1].
    """

    heads: Units
    ffn: Units
    norms: Tensor

    @property
    def leaves(self) -> list[int]:
        """The source layers that it stands for."""
        return self.norms.nonzero().flatten().tolist()


@dataclass(frozen=True)
class Measured:
    """What a round measures, by layer; the formulas are above.

    Attributes:
        influence: BI.
        distance: A, of the pair of this layer and the next; one entry less.
        heads, ffn: sensitivities of its groups and of its neurons.
    """

    influence: list[float]
    distance: list[float]
    heads: list[Tensor]
    ffn: list[Tensor]


@dataclass(frozen=True)
class Merge:
    """What a round decides.

    Attributes:
        first: the place of the pair's first layer.
        distance: A of the pair.
        share: that of the first layer.
        heads, ffn: the places that are kept of the first layer, and of the second.
    """

    first: int
    distance: float
    share: float
    heads: tuple[list[int], list[int]]
    ffn: tuple[list[int], list[int]]

    @classmethod
    def of(cls, measured: Measured, first: int, share: float) -> Merge:
        """The merge of `first` and the next, with the places of highest sensitivity."""
        places = (
            kept_places(scores[first], scores[first + 1], share)
            for scores in (measured.heads, measured.ffn)
        )
        return cls(first, measured.distance[first], share, *places)


Share = Callable[[list[Merged], Measured, int], float]
"""The share of layer a in the merge of a and a + 1, from the layers, their measures and a."""


def build(context: BuildContext) -> Operators:
    """Operators that concatenate parts of neighbouring layers, with shares by influence."""
    return merged_in_rounds(
        context, "come", lambda _, measured, first: by_influence(measured, first)
    )


def passes(run: PlannedRun) -> list[Passes]:
    """Each round measures the model that is left."""
    return [Passes(run.calibration.sequences, sum(rounds(run)))]


def by_influence(measured: Measured, first: int) -> float:
    """r_a of the formulas above."""
    a, b = measured.influence[first : first + 2]
    return 0.5 if a + b == 0 else a / (a + b)


def merged_in_rounds(context: BuildContext, method: str, share_of: Share) -> Operators:
    """Merge the pair of least distance until the target's depth is reached.

    The rounds are recorded: the source layers of both layers of the pair, their distance, and the
    share of the first.
    """
    calibration, depth = context.calibrated(), context.source.shape.num_hidden_layers
    state = [unmerged(context, layer) for layer in range(depth)]

    def chosen() -> Merge:
        measured = measure(calibration, operators_of(context, state))
        first = min(range(len(state) - 1), key=measured.distance.__getitem__)
        return Merge.of(measured, first, share_of(state, measured, first))

    rounds = context.record["rounds"] = []
    for step in context.kept_rounds.rounds(Merge, depth - context.target.num_hidden_layers, chosen):
        pair = [layer.leaves for layer in state[step.first : step.first + 2]]
        rounds.append({"layers": pair, "distance": step.distance, "share": step.share})
        state = merge(state, step)
        leaves = state[step.first].leaves
        say(f"{method}: {len(state)} layers, one of {leaves}, share {step.share:.2f}")
    return operators_of(context, state)


def unmerged(context: BuildContext, layer: int) -> Merged:
    """A layer of the source."""

    def all_of(count: int) -> Units:
        return Units(torch.full((count,), layer), torch.arange(count))

    shape = context.source.shape
    norms = torch.eye(shape.num_hidden_layers)[layer]
    return Merged(all_of(shape.num_key_value_heads), all_of(shape.intermediate_size), norms)


def merge(state: list[Merged], step: Merge) -> list[Merged]:
    """The layers that are left once a pair is one."""
    a, b = state[step.first : step.first + 2]
    merged = Merged(
        a.heads.joined(b.heads, step.heads),
        a.ffn.joined(b.ffn, step.ffn),
        (a.norms + b.norms) / 2,
    )
    return [*state[: step.first], merged, *state[step.first + 2 :]]


def kept_places(a: Tensor, b: Tensor, share: float) -> tuple[list[int], list[int]]:
    """The places of both layers with the highest scores, in order; together as many as each has.

    The smaller share gives int(n * share) places, the larger the rest; of equal scores the first
    place is kept.
    """
    count = len(a)
    few = int(count * min(share, 1 - share))
    counts = (few, count - few) if share < 0.5 else (count - few, few)
    ranked = (scores.argsort(descending=True, stable=True) for scores in (a, b))
    own, others = (places[:n].sort().values for places, n in zip(ranked, counts, strict=True))
    return own.tolist(), others.tolist()


def operators_of(context: BuildContext, state: list[Merged]) -> Operators:
    """The operators from the source to the layers that are left."""
    shape = context.source.shape
    gamma: dict[str, Factor] = {}
    norms = Dense(torch.stack([layer.norms for layer in state]))
    mixed = Dense((norms.matrix > 0).float())
    for type in LAYER_TYPES:
        gamma[type] = norms if type in NORM_TYPES else mixed
    leaves = {leaf: layer for layer in state for leaf in layer.leaves if len(layer.leaves) > 1}
    return Operators(
        shape,
        shape.with_depth(len(state)),
        Radii(attention=shape.head_dim),
        gamma=gamma,
        attn={leaf: m.heads.of(leaf, shape.num_key_value_heads) for leaf, m in leaves.items()},
        ffn={leaf: m.ffn.of(leaf, shape.intermediate_size) for leaf, m in leaves.items()},
    )


def measure(calibration: Calibration, operators: Operators) -> Measured:
    """One pass of the calibration text through the model that the operators make."""
    depth, groups = operators.target.num_hidden_layers, operators.target.num_key_value_heads
    influence, distance, heads, ffn = [], [], [], []
    hidden = [calibration.embedded()]
    for index in range(depth):
        weights = calibration.layer(operators, index)
        inputs = {"o": MeanSize(), "down": MeanSize()}
        hidden.append(calibration.after(hidden[-1], weights, {t: m.add for t, m in inputs.items()}))
        influence.append(1 - float(cosines(hidden[-2], hidden[-1]).clamp(0, 1).mean()))
        if len(hidden) == 3:
            angles = cosines(hidden.pop(0), hidden[-1]).clamp(0, 1).arccos()
            distance.append(float(angles.mean()) / pi)
        heads.append(sensitivity(weights, "o", inputs["o"]).view(groups, -1).mean(1).cpu())
        ffn.append(sensitivity(weights, "down", inputs["down"]).cpu())
    return Measured(influence, distance, heads, ffn)


class MeanSize:
    """The mean absolute value of each channel over all tokens."""

    def __init__(self) -> None:
        self.total: Tensor | float = 0.0
        self.tokens = 0

    def add(self, inputs: Tensor) -> None:
        """Count the tokens of [rows, T, channels]."""
        self.total = self.total + inputs.abs().sum((0, 1), dtype=torch.float64)
        self.tokens += inputs.shape[0] * inputs.shape[1]


def sensitivity(weights: LayerWeights, type: str, inputs: MeanSize) -> Tensor:
    """s_c of the formulas above, [channels] float64."""
    return (inputs.total / inputs.tokens) * weights[type].double().abs().sum(0)
