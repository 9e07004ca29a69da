"""What no family of models has is refused, and a family is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from family_models import CPU, SIZES, SMALL, TARGETS
from models import random_operators
from own_models import save_model, write_preset

from lemon.architecture import LAYER_TYPES, LlamaShape
from lemon.checkpoint import Checkpoint
from lemon.config_json import shape_of
from lemon.configuration.load import load_project
from lemon.errors import BadInput
from lemon.learning.dimension_fusion import DimensionFusion
from lemon.operators.algebra import Operators
from lemon.operators.factor import OneHot, keeping
from lemon.radii import Radii


def test_operators_that_split_heads_with_gains_are_refused(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    shape = Checkpoint(save_model(tmp_path_factory.mktemp("q"), "qwen3", **SIZES)).shape
    message = r"attn.\d splits heads, whose 8 channels have gains .* \(q_norm, k_norm\)"
    with pytest.raises(BadInput, match=message):
        random_operators(shape, replace(shape, **SMALL), Radii(2, 2, 2))
    width = shape.num_key_value_heads * shape.head_dim
    for moved in ([1, 0, *range(2, width)], [*range(4, width), *range(4)], [-1, *range(1, width)]):
        with pytest.raises(BadInput, match=message):
            Operators(shape, shape, attn={0: OneHot(torch.tensor(moved), width)})
    swapped = [*range(8, 16), *range(8), *[-1] * 8]
    assert Operators(shape, shape, attn={0: OneHot(torch.tensor(swapped), width)}).attn
    heads = {layer: keeping(range(16), 24) for layer in range(4)}
    start = Operators(shape, replace(shape, **TARGETS["heads"]), attn=heads)
    with pytest.raises(BadInput, match="an attention operator that learns splits heads"):
        DimensionFusion(start, CPU, tied=False)


def test_a_family_is_kept() -> None:
    sizes = {**SIZES, "vocab_size": 512}
    del sizes["initializer_range"]
    llama, qwen = LlamaShape(**sizes), LlamaShape(**sizes, family="qwen2")
    assert "family" not in llama.sizes()
    assert qwen.sizes() == {**llama.sizes(), "family": "qwen2"}
    with pytest.raises(BadInput, match="family is llama in the source and qwen2 in the target"):
        Operators(llama, qwen, gamma=dict.fromkeys(LAYER_TYPES, keeping(range(4), 4)))
    with pytest.raises(BadInput, match="family is 'gpt2'; it must be one of llama, qwen2, qwen3"):
        replace(llama, family="gpt2")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "qwen3_moe"}, "model_type is 'qwen3_moe'; only models of the types llama"),
        ({"model_type": ["llama"]}, "only models of the types"),
        ({"attention_bias": True}, "attention_bias is true; biases are supported only in Qwen2"),
        ({"mlp_bias": True}, "mlp_bias is true; biases are supported only in Qwen2"),
        ({"use_sliding_window": True}, "some layers attend to a sliding window"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "some layers attend to a slid"),
        ({"layer_types": 3}, "layer_types is '3'; it must be a list"),
    ],
)
def test_what_no_family_has_is_refused(
    changes: dict[str, Any], message: str, source: Checkpoint
) -> None:
    with pytest.raises(BadInput, match=message):
        shape_of({**source.config, **changes})


def test_a_folder_without_the_tensors_of_its_family_is_refused(
    source: Checkpoint, tmp_path: Path
) -> None:
    config = {**source.config, "model_type": "llama", "layer_types": None}
    for file in source.path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(config))
    if source.shape.family == "llama":
        assert Checkpoint(tmp_path).shape == source.shape
        return
    with pytest.raises(BadInput, match="does not belong to a llama model"):
        Checkpoint(tmp_path)


def test_stated_sizes_of_another_family_are_a_mistake(tmp_path: Path) -> None:
    sizes = Checkpoint(save_model(tmp_path / "model", "qwen2")).shape.sizes()
    preset = write_preset(tmp_path / "mine.yaml", tmp_path / "model")
    text = preset.read_text()

    def stating(shape: dict[str, Any]) -> None:
        preset.write_text(text.replace("path: ", f"shape: {json.dumps(shape)}, path: "))

    stating(sizes)
    assert load_project(preset).source_shape().family == "qwen2"
    stating({size: value for size, value in sizes.items() if size != "family"})
    message = r"source.shape.*family: is llama, but the model's config.json says qwen2"
    with pytest.raises(BadInput, match=message):
        load_project(preset)
