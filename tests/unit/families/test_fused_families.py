"""Each family of models: its tensors, and what is fused of them against models sliced by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from family_models import (
    SIZES,
    TARGETS,
    WHOLE_HEADS,
    fused_model,
    radii_for,
    selection,
    some_tokens,
)
from models import random_operators
from naive import absolute_terms, naive_fusion
from own_models import LLAMA3_ROPE, save_model
from roundoff import sum_off
from transformers import AutoConfig, AutoModelForCausalLM

from lemon.architecture import LlamaShape, tensor_specs
from lemon.checkpoint import Checkpoint
from lemon.data.synthetic import write_random_model
from lemon.methods.shear import Selection, selection_operators
from lemon.operators.algebra import Operators
from lemon.operators.fuse import fuse_tensors
from lemon.reporting.facts.model_sizes import counted_parameters


def sliced_by_hand(source: Checkpoint, target: dict[str, int], kept: Selection) -> Any:
    """transformers' model of the target's sizes, with weights indexed out of the source's."""
    large = AutoModelForCausalLM.from_pretrained(source.path, dtype=torch.float32)
    shape, head = source.shape, source.shape.head_dim
    config = AutoConfig.from_pretrained(source.path, **target)
    if hasattr(config, "layer_types"):
        config.layer_types = config.layer_types[: config.num_hidden_layers]
    small = AutoModelForCausalLM.from_config(config).eval()
    hidden = kept.hidden if kept.hidden is not None else list(range(shape.hidden_size))
    layers = kept.layer if kept.layer is not None else list(range(shape.num_hidden_layers))

    def channels(heads: list[int]) -> list[int]:
        return [head * h + c for h in heads for c in range(head)]

    with torch.no_grad():
        small.model.embed_tokens.weight.copy_(large.model.embed_tokens.weight[:, hidden])
        small.lm_head.weight.copy_(large.lm_head.weight[:, hidden])
        small.model.norm.weight.copy_(large.model.norm.weight[hidden])
        for one, layer in zip(small.model.layers, layers, strict=True):
            other = large.model.layers[layer]
            groups = kept.head[layer] if kept.head else list(range(shape.num_key_value_heads))
            neurons = kept.ffn[layer] if kept.ffn else list(range(shape.intermediate_size))
            queries = channels([g * shape.group_size + q for g in groups for q in range(2)])
            for name, rows in {"q": queries, "k": channels(groups), "v": channels(groups)}.items():
                mine, theirs = (getattr(x.self_attn, f"{name}_proj") for x in (one, other))
                mine.weight.copy_(theirs.weight[rows][:, hidden])
                if theirs.bias is not None:
                    mine.bias.copy_(theirs.bias[rows])
            for name in ("q_norm", "k_norm"):
                if hasattr(other.self_attn, name):
                    getattr(one.self_attn, name).load_state_dict(
                        getattr(other.self_attn, name).state_dict()
                    )
            o_rows = other.self_attn.o_proj.weight[hidden][:, queries]
            one.self_attn.o_proj.weight.copy_(o_rows)
            for name in ("gate_proj", "up_proj"):
                weight = getattr(other.mlp, name).weight[neurons][:, hidden]
                getattr(one.mlp, name).weight.copy_(weight)
            one.mlp.down_proj.weight.copy_(other.mlp.down_proj.weight[hidden][:, neurons])
            for name in ("input_layernorm", "post_attention_layernorm"):
                getattr(one, name).weight.copy_(getattr(other, name).weight[hidden])
    return small


def test_the_tensors_are_those_of_transformers(source: Checkpoint) -> None:
    model = AutoModelForCausalLM.from_pretrained(source.path)
    expected = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert {spec.name: spec.shape for spec in tensor_specs(source.shape)} == expected
    assert source.shape.num_parameters == sum(p.numel() for p in model.parameters())


@torch.no_grad()
@pytest.mark.parametrize("target", TARGETS)
def test_a_selection_is_the_model_sliced_by_hand(
    source: Checkpoint, target: str, tmp_path: Path
) -> None:
    small = replace(source.shape, **TARGETS[target])
    kept = selection(source.shape, small)
    model = fused_model(source, selection_operators(source.shape, small, kept), tmp_path)
    expected = sliced_by_hand(source, TARGETS[target], kept)
    for name, weight in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight), name
    logits = expected(some_tokens()).logits
    torch.testing.assert_close(model(some_tokens()).logits, logits, atol=1e-5, rtol=0)
    assert logits.std() > 0.1


def test_the_small_model_keeps_the_keys_of_its_family(source: Checkpoint, tmp_path: Path) -> None:
    target = replace(source.shape, **TARGETS["all"])
    operators = selection_operators(source.shape, target, selection(source.shape, target))
    model = fused_model(source, operators, tmp_path)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    sizes = set(TARGETS["all"]) | {"layer_types"}
    assert {k: v for k, v in config.items() if k not in sizes} == {
        k: v for k, v in source.config.items() if k not in sizes
    }
    assert Checkpoint(tmp_path / "model").shape == target
    assert config.get("layer_types", ["full_attention"] * 2) == ["full_attention"] * 2
    assert type(model).__name__ == type(AutoModelForCausalLM.from_pretrained(source.path)).__name__
    if "factor" in source.config["rope_parameters"]:
        assert model.config.rope_parameters == LLAMA3_ROPE


@pytest.mark.parametrize("splits", [False, True], ids=["whole heads", "split heads"])
def test_dense_operators_fuse_as_full_matrices_do(source: Checkpoint, splits: bool) -> None:
    radii = radii_for(source, splits=splits)
    operators = random_operators(source.shape, replace(source.shape, **TARGETS["all"]), radii)
    fused = dict(fuse_tensors(source, operators))
    large = {name: source.tensor(name).double().numpy() for name in source.specs}
    expected, sizes = naive_fusion(large, operators), absolute_terms(large, operators)
    assert fused.keys() == expected.keys()
    for name, weight in fused.items():
        off = abs(weight.double().numpy() - expected[name])
        assert (off <= 3 * sum_off(72) * sizes[name]).all(), name


@pytest.mark.parametrize(
    ("family", "place", "type"),
    [
        ("qwen2", "q_proj.bias", "q"),
        ("qwen2", "k_proj.bias", "k"),
        ("qwen2", "v_proj.bias", "v"),
        ("qwen3", "q_norm.weight", "ln1"),
        ("qwen3", "k_norm.weight", "ln1"),
    ],
)
def test_a_bias_is_mixed_as_its_matrix_and_gains_of_a_head_as_the_norm_before(
    family: str, place: str, type: str, tmp_path: Path
) -> None:
    source = Checkpoint(save_model(tmp_path, family, **SIZES))
    target = source.shape.with_depth(2)
    operators = Operators(
        source.shape, target, gamma=random_operators(source.shape, target, WHOLE_HEADS).gamma
    )
    fused = dict(fuse_tensors(source, operators))
    name = "model.layers.{}.self_attn." + place
    for i in range(2):
        parts = [source.tensor(name.format(j)) for j in range(4)]
        terms = [g * part for g, part in zip(operators.gamma[type].dense()[i], parts, strict=True)]
        off = (fused[name.format(i)] - sum(terms)).abs()
        assert (off <= 2 * sum_off(4) * sum(term.abs() for term in terms)).all()


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_a_random_model_of_a_family_and_its_count(family: str, tmp_path: Path) -> None:
    sizes = {name: size for name, size in SIZES.items() if name != "initializer_range"}
    shape = LlamaShape(**sizes, vocab_size=300, family=family)
    write_random_model(tmp_path, shape, "float32", seed=0)
    assert Checkpoint(tmp_path).shape == shape
    assert counted_parameters(shape) == shape.num_parameters
