"""A permuted source is the same model, and what leads it is cut off as the selection keeps it."""

from dataclasses import replace

import pytest
import torch
from models import smaller
from roundoff import logits_off
from transformers import AutoModelForCausalLM

from lemon.checkpoint import Checkpoint
from lemon.errors import BadInput
from lemon.methods.permutation import leading_permutation, truncation
from lemon.methods.shear import Selection, selection_operators
from lemon.model_folder import write_checkpoint
from lemon.operators.factor import Dense, OneHot
from lemon.operators.fuse import fuse_tensors
from lemon.radii import Radii


@pytest.fixture(params=["tiny_model_folder", "tiny_untied_model_folder"])
def source(request) -> Checkpoint:
    return Checkpoint(request.getfixturevalue(request.param))


def scattered(source: Checkpoint):
    """A selection along every axis, with different heads and neurons in each layer."""
    shape, target = source.shape, smaller(source.shape)
    generator = torch.Generator().manual_seed(8)

    def drawn(size: int, kept: int) -> list[int]:
        return torch.randperm(size, generator=generator)[:kept].sort().values.tolist()

    layers = range(shape.num_hidden_layers)
    selection = Selection(
        layer=drawn(shape.num_hidden_layers, target.num_hidden_layers),
        hidden=drawn(shape.hidden_size, target.hidden_size),
        head=[drawn(shape.num_key_value_heads, target.num_key_value_heads) for _ in layers],
        ffn=[drawn(shape.intermediate_size, target.intermediate_size) for _ in layers],
    )
    return selection_operators(shape, target, selection)


def permuted(source: Checkpoint, operators, folder) -> Checkpoint:
    weights = fuse_tensors(source, leading_permutation(operators))
    write_checkpoint(folder, source.shape, weights, like=source.path, dtype=torch.float32)
    return Checkpoint(folder)


def test_the_permuted_source_gives_the_same_logits(source, tmp_path):
    permuted(source, scattered(source), tmp_path / "permuted")
    tokens = torch.arange(40).view(2, 20)
    one, two = (
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        for folder in (source.path, tmp_path / "permuted")
    )
    with torch.no_grad():
        before, after = one(tokens).logits, two(tokens).logits
    torch.testing.assert_close(after, before, atol=logits_off(one, tokens), rtol=0)


@pytest.mark.parametrize("radii", [Radii(), Radii(8, 8, 8), Radii(4, 2, 2)])
def test_truncating_the_permuted_source_is_the_selection_bit_for_bit(source, tmp_path, radii):
    operators = scattered(source)
    after = permuted(source, operators, tmp_path / "permuted")
    selected = dict(fuse_tensors(source, operators))
    cut = truncation(operators, radii)
    truncated = dict(fuse_tensors(after, cut))
    assert selected.keys() == truncated.keys()
    for name, weight in selected.items():
        assert torch.equal(weight, truncated[name]), name


def test_a_radius_that_divides_no_size_is_refused(source):
    with pytest.raises(BadInput, match="receptive field 7"):
        truncation(scattered(source), Radii(7, 8, 8))


def test_operators_that_mix_are_refused(source):
    operators = scattered(source)
    mixed = replace(operators, hidden=Dense(operators.hidden.dense() + 0.5))
    with pytest.raises(BadInput, match="operator hidden is no selection"):
        leading_permutation(mixed)


@pytest.mark.parametrize("family", ["attn", "ffn"])
def test_a_selection_that_keeps_a_channel_twice_is_refused(source, family):
    operators = scattered(source)
    factors = dict(getattr(operators, family))
    chosen = factors[2].chosen.clone()
    chosen[0] = chosen[1]
    factors[2] = OneHot(chosen, factors[2].num_inputs)
    with pytest.raises(BadInput, match=f"operator {family}.2 is no selection of distinct channels"):
        leading_permutation(replace(operators, **{family: factors}))
