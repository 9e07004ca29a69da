"""The tree of source layers of merged models: by hand, of random trees, of CoMe's own, drawn."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import GROUPED_TIED, write_tiny_model

from lemon.checkpoint import Checkpoint
from lemon.errors import BadInput
from lemon.methods import come, cut
from lemon.methods.build import build
from lemon.methods.calibration import Calibration
from lemon.methods.come import Measured
from lemon.methods.context import BuildContext
from lemon.operators.algebra import Operators
from lemon.operators.factor import Dense
from lemon.operators.file import load_operators, save_operators
from lemon.reporting.facts.layer_merges import Tree, leaves, tree_of
from lemon.reporting.figures.drawing import draw_figure
from lemon.reporting.figures.figure import gathered_numbers

LAYERS = 6
RUNS = ("come-75", "come-posterior-75", "come-50", "come-posterior-50")


@pytest.mark.parametrize(
    ("merges", "tree"),
    [
        ([0], 0),
        ([1, 1], (0, 1)),
        ([1, 2, 2], (0, (1, 2))),
        ([2, 2, 1], ((0, 1), 2)),
        ([2, 2, 2, 2], ((0, 1), (2, 3))),
        ([1, 3, 3, 2], (0, ((1, 2), 3))),
    ],
)
def test_trees_by_hand(merges, tree):
    assert tree_of(merges) == tree


@pytest.mark.parametrize("merges", [[], [1], [0, 0], [1, 2], [1, 2, 1], [0.5, 1]])
def test_what_is_no_tree_is_refused(merges):
    with pytest.raises(ValueError, match="no mean of two layers at a time"):
        tree_of(merges)


@settings(max_examples=100)
@given(st.lists(st.integers(0, 10**6), max_size=15))
def test_merging_neighbours_in_any_order_gives_back_the_tree(choices):
    """From 16 layers on, each choice merges one pair; the depths of the leaves give it back."""
    state: list[tuple[Tree, list[int]]] = [(leaf, [0]) for leaf in range(16)]
    for choice in choices:
        first = choice % (len(state) - 1)
        (left, own), (right, others) = state[first : first + 2]
        state[first : first + 2] = [((left, right), [depth + 1 for depth in own + others])]
    place = 0
    for tree, depths in state:
        assert _numbered(tree_of(depths), place) == tree
        place += len(depths)


def _numbered(tree: Tree, first: int) -> Tree:
    if isinstance(tree, int):
        return first + tree
    left, right = tree
    return _numbered(left, first), _numbered(right, first)


@pytest.fixture(scope="module")
def context(tmp_path_factory) -> BuildContext:
    """Six layers with three query-head groups and 64 neurons, and text."""
    folder = tmp_path_factory.mktemp("merges")
    source = Checkpoint(write_tiny_model(folder, **{**GROUPED_TIED, "num_hidden_layers": LAYERS}))
    tokens = torch.randint(272, (4, 13), generator=torch.Generator().manual_seed(3))
    calibration = Calibration(source, tokens, [0.25] * 4, 2, torch.float32, torch.device("cpu"))
    return BuildContext(source, source.shape.with_depth(3), calibration=calibration)


def merged_by_hand(context: BuildContext) -> Operators:
    """Layers 1 and 2 become one, a quarter from 1; then it and 3, three quarters from 3.

    Units are the less sensitive the higher their number.
    """
    shape = context.source.shape
    state = [come.unmerged(context, layer) for layer in range(LAYERS)]

    def measured(layers: int) -> Measured:
        heads, ffn = (
            [torch.arange(count, 0.0, -1) for _ in range(layers)]
            for count in (shape.num_key_value_heads, shape.intermediate_size)
        )
        return Measured([1.0] * layers, [1.0] * (layers - 1), heads, ffn)

    for layers in (6, 5):
        state = come.merge(state, come.Merge.of(measured(layers), 1, 0.25))
    return come.operators_of(context, state)


def test_leaves_by_hand(context):
    """Of 64 neurons 16 and 48 after the first merge; the second keeps the 16, all of layer 1.

    Of three groups a quarter is none, so that layer 3 gives all.
    """
    found = list(leaves(merged_by_hand(context)))
    assert [(line["target"], line["source"], line["merges"]) for line in found] == [
        *((0, 0, 0), (1, 1, 2), (1, 2, 2), (1, 3, 1), (2, 4, 0), (3, 5, 0))
    ]
    assert context.source.shape.intermediate_size == 64
    assert [line["neurons"] for line in found] == [1, 0.25, 0, 0.75, 1, 1]
    assert [line["groups"] for line in found] == [1, 0, 0, 1, 1, 1]


def test_the_leaves_of_come_are_those_of_its_rounds(context):
    record: dict = {}
    operators = come.build(replace(context, record=record))
    found = list(leaves(operators))
    merges = [0] * LAYERS
    for number, said in enumerate(record["rounds"]):
        first, second = said["layers"]
        assert first[-1] + 1 == second[0]
        assert 0 <= said["share"] <= 1 and said["distance"] > 0
        for layer in first + second:
            merges[layer] += 1
        assert number < 3
    assert [line["merges"] for line in found] == merges
    for target in range(3):
        own = [line for line in found if line["target"] == target]
        for kind in ("neurons", "groups"):
            assert sum(line[kind] for line in own) == pytest.approx(1, abs=1e-5)


def test_rounds_are_in_the_manifest(smoke, learning_world, tmp_path):
    build(*(smoke, "come-50", learning_world.source, tmp_path / "run"), text=learning_world.text)
    rounds = json.loads((tmp_path / "run" / "manifest.json").read_text())["rounds"]
    assert len(rounds) == 3
    operators, _ = load_operators(tmp_path / "run" / "operators.safetensors")
    target_of = {line["source"]: line["target"] for line in leaves(operators)}
    for said in rounds:
        first, second = said["layers"]
        assert len({target_of[layer] for layer in first + second}) == 1


def write_merges(context: BuildContext, runs: Path, operators: Operators | None = None) -> None:
    for run in RUNS:
        file = runs / run / "operators.safetensors"
        file.parent.mkdir(parents=True, exist_ok=True)
        given = operators or merged_by_hand(context)
        save_operators(file, given, source_digest="0" * 64, method="come")


def test_the_figure_says_what_is_left_of_each_layer(smoke, context, tmp_path):
    write_merges(context, tmp_path)
    numbers = gathered_numbers(smoke, "figure-merges", tmp_path)
    assert list(numbers.frame["run"].unique()) == list(RUNS)
    panels = draw_figure(numbers).axes
    assert len(panels) == 4
    words = [text.get_text() for text in panels[0].texts]
    assert [words.count(word) for word in ("25", "75", "100")] == [1, 1, 1]
    joins = [line.get_xydata().tolist() for line in panels[0].lines if len(line.get_xdata()) == 4]
    assert joins == [[[1, 0], [1, 1], [2, 1], [2, 0]], [[1.5, 1], [1.5, 2], [3, 2], [3, 0]]]


def test_operators_that_merge_nothing_in_rounds_are_refused(smoke, context, tmp_path):
    three = torch.eye(4, LAYERS)
    three[0, :3] = 1 / 3
    averaged = context.layer_operators(Dense(three))
    write_merges(context, tmp_path, averaged)
    with pytest.raises(BadInput, match=r"come-75/operators\.safetensors: has norm gains"):
        gathered_numbers(smoke, "figure-merges", tmp_path)
    kept = cut.build(replace(context, target=context.source.shape.with_depth(4)))
    assert [line["merges"] for line in leaves(kept)] == [0] * 4
