"""The source layers that each layer of a merged model is made of, read from its operators.

CoMe merges two neighbouring layers a round and takes the plain mean of their norm gains. So a
source layer that went through d merges has a weight of 2^-d in gamma of the norms, and these
numbers, in the order of the source layers, determine the binary tree of the merges. Which of its
FFN neurons and query-head groups are left is in `ffn.<j>` and `attn.<j>`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import log2
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from lemon.configuration.figure_specs import MergesSpec
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.operators.algebra import Operators
from lemon.operators.factor import NOTHING, Factor, one_hot
from lemon.operators.file import load_operators
from lemon.reporting.facts.figure import FigureFacts, shared_facts

NORMS = "ln1"  # the norm type that is read; both have one gamma


def merge_facts(project: Project, figure: str, runs: Path, *_: object) -> FigureFacts[MergesSpec]:
    """Gather a figure of merged layers from the folder of the runs' folders.

    `frame` has one line for each source layer and panel. Columns: `target`, the layer that it is
    part of; `merges`, how many it went through; `neurons` and `groups`, its shares of that layer's
    FFN neurons and query-head groups.

    Raises:
        BadInput: operators are missing, damaged, or not of merges in rounds.
    """
    spec = project.entry(figure)
    assert isinstance(spec, MergesSpec)
    parts = []
    for number, panel in enumerate(spec.panels):
        path = runs / panel.run / "operators.safetensors"
        operators = load_operators(path)[0]
        try:
            lines = pd.DataFrame(leaves(operators))
        except ValueError as error:
            raise BadInput(f"{path}: {error}; name a run of a method that merges") from None
        place = {"panel": number, "label": panel.label, "run": panel.run}
        parts.append(pd.DataFrame({**place, **lines}))
    files = [f"{run}/operators.safetensors" for run in spec.runs]
    shared = shared_facts(project, figure, {file: runs / file for file in files})
    return FigureFacts(**shared, frame=pd.concat(parts, ignore_index=True))


def leaves(operators: Operators) -> Iterator[dict[str, Any]]:
    """The columns of `merge_facts` for each source layer, in order.

    Raises:
        ValueError: the operators are not those of merges in rounds.
    """
    if NORMS not in operators.gamma:
        raise ValueError("has no gamma of the norms")
    for target, row in enumerate(operators.gamma[NORMS].dense()):
        sources = row.nonzero().flatten().tolist()
        merges = [-log2(row[layer]) for layer in sources]
        tree_of(merges)
        for layer, count in zip(sources, merges, strict=True):
            yield {
                "target": target,
                "source": layer,
                "merges": int(count),
                "neurons": _kept(operators.ffn, layer),
                "groups": _kept(operators.attn, layer),
            }


def _kept(factors: Mapping[int, Factor], layer: int) -> float:
    """The share of a layer's places that one of its own units fills; all of an absent factor."""
    if layer not in factors:
        return 1.0
    chosen = one_hot(factors[layer])
    if chosen is None:
        raise ValueError(f"sums units of layer {layer}")
    return round(float((chosen.chosen != NOTHING).float().mean()), 6)


Tree: TypeAlias = "int | tuple[Tree, Tree]"
"""A merged layer: the place of a leaf, or the two layers that were merged."""


def tree_of(merges: Iterable[float]) -> Tree:
    """The tree whose leaves went through these numbers of merges, from the first to the last.

    Raises:
        ValueError: no tree has such leaves.
    """
    parts: list[tuple[float, Tree]] = []
    for place, depth in enumerate(merges):
        parts.append((depth, place))
        while len(parts) > 1 and parts[-1][0] == parts[-2][0]:
            (_, right), (depth, left) = parts.pop(), parts.pop()
            parts.append((depth - 1, (left, right)))
    if [depth for depth, _ in parts] != [0]:
        raise ValueError("has norm gains that are no mean of two layers at a time")
    return parts[0][1]
