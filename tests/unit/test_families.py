"""Each family of models: its tensors, selections against models sliced by hand, and its student."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from models import random_operators
from naive import absolute_terms, naive_fusion
from own_models import FAMILIES, LLAMA3_ROPE, save_model, write_preset
from roundoff import logits_off, sum_off
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from lemon.architecture import LAYER_TYPES, LlamaShape, tensor_specs
from lemon.checkpoint import Checkpoint
from lemon.config_json import config_of, shape_of
from lemon.configuration.load import load_project
from lemon.data.synthetic import write_random_model
from lemon.decoder import Decoder
from lemon.errors import BadInput
from lemon.learning.dimension_fusion import DimensionFusion
from lemon.learning.fusion import DepthFusion, Fusion
from lemon.learning.masked_fusion import MaskedFusion
from lemon.learning.masks import Masks
from lemon.learning.residual_layers import ResidualLayers
from lemon.learning.source_weights import SourceLayers, SourceStack, SourceWeights
from lemon.learning.student import FusedStudent, Teacher
from lemon.methods.shear import Selection, selection_operators
from lemon.model_folder import write_checkpoint
from lemon.operators.algebra import Operators
from lemon.operators.factor import Dense, OneHot, keeping
from lemon.operators.file import load_operators, save_operators
from lemon.operators.fuse import fuse, fuse_tensors
from lemon.radii import Radii
from lemon.reporting.facts.model_sizes import counted_parameters

CPU = torch.device("cpu")
SIZES: dict[str, Any] = {  # no two axes are of one length
    "num_hidden_layers": 4,
    "hidden_size": 72,
    "intermediate_size": 64,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 8,
    "initializer_range": 0.15,
}
SMALL = {
    "hidden_size": 40,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
TARGETS = {
    "layers": {"num_hidden_layers": 2},
    "hidden": {"hidden_size": 42},
    "heads": {"num_attention_heads": 4, "num_key_value_heads": 2},
    "ffn": {"intermediate_size": 48},
    "all": {"num_hidden_layers": 2, **SMALL},
}
WHOLE_HEADS, SPLIT_HEADS = Radii(8, 8, 8), Radii(2, 2, 4)


@pytest.fixture(scope="module", params=FAMILIES)
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp(request.param)
    return Checkpoint(save_model(folder, request.param, **SIZES))


def some_tokens() -> Tensor:
    return torch.randint(512, (2, 11), generator=torch.Generator().manual_seed(2))


def radii_for(source: Checkpoint, *, splits: bool) -> Radii:
    """Radii that split heads, where the gains of heads allow it, or that mix whole ones."""
    return SPLIT_HEADS if splits and not source.shape.head_gains else WHOLE_HEADS


def selection(source: LlamaShape, target: LlamaShape) -> Selection:
    """Scattered units, others in each layer, of what the target shrinks."""
    generator = torch.Generator().manual_seed(1)

    def some(kept: int, count: int) -> list[int]:
        return sorted(torch.randperm(count, generator=generator)[:kept].tolist())

    depth, heads = source.num_hidden_layers, source.num_key_value_heads
    shrinks = {name for name, size in vars(source).items() if getattr(target, name) != size}
    by_head = [some(target.num_key_value_heads, heads) for _ in range(depth)]
    by_neuron = [some(target.intermediate_size, source.intermediate_size) for _ in range(depth)]
    return Selection(
        layer=some(target.num_hidden_layers, depth) if "num_hidden_layers" in shrinks else None,
        hidden=some(target.hidden_size, source.hidden_size) if "hidden_size" in shrinks else None,
        head=by_head if "num_key_value_heads" in shrinks else None,
        ffn=by_neuron if "intermediate_size" in shrinks else None,
    )


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


def fused_model(source: Checkpoint, operators: Operators, folder: Path) -> Any:
    """The exported model, loaded by transformers alone."""
    file, digest = folder / "operators.safetensors", source.digest()
    save_operators(file, operators, source_digest=digest, method="cut")
    assert load_operators(file)[1].source == source.shape
    fuse(source.path, file, folder / "model")
    return AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32).eval()


def student_of(source: Checkpoint, fusion: Fusion, weights: SourceWeights, config: dict) -> Any:
    decoder = Decoder(config, CPU)
    return FusedStudent(weights, fusion, decoder, layers_per_segment=2, recompute=False)


def frozen(kind: type[SourceWeights], source: Checkpoint, **more: int) -> Any:
    return kind(source, dtype=torch.float32, device=CPU, **more)


@torch.no_grad()
def assert_same_logits(student: FusedStudent, model: Any, times: int = 2) -> None:
    """The student fuses the weights in other sums, so that both are off by rounding."""
    tokens = some_tokens()
    found, expected = student(tokens) @ student.head_weight().T, model(tokens).logits
    assert expected.std() > 0.1
    allowed = times * logits_off(model, tokens)
    torch.testing.assert_close(found, expected, atol=allowed, rtol=0)


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


@torch.no_grad()
@pytest.mark.parametrize("kind", [SourceStack, SourceLayers, ResidualLayers])
def test_the_teacher_is_the_model(source: Checkpoint, kind: type[SourceWeights]) -> None:
    weights = frozen(kind, source, **({"radius": 4} if kind is ResidualLayers else {}))
    teacher = Teacher(weights, Decoder(source.config, CPU))
    model = AutoModelForCausalLM.from_pretrained(source.path, dtype=torch.float32).eval()
    logits, expected = teacher(some_tokens()) @ teacher.head_weight().T, model(some_tokens()).logits
    allowed = logits_off(model, some_tokens())
    torch.testing.assert_close(logits, expected, atol=allowed, rtol=0)
    named = dict(weights.named_weights())
    assert named.keys() == source.specs.keys()
    for name, weight in named.items():
        assert torch.equal(weight, source.tensor(name)), name


def test_the_student_over_layers_is_the_exported_model(source: Checkpoint, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = {type: torch.randn(3, 4, generator=generator) for type in LAYER_TYPES}
    gamma = {type: Dense(torch.eye(3, 4) + 0.2 * values) for type, values in drawn.items()}
    start = Operators(source.shape, source.shape.with_depth(3), gamma=gamma)
    student = student_of(
        source, DepthFusion(start, CPU), frozen(SourceStack, source), source.config
    )
    assert_same_logits(student, fused_model(source, start, tmp_path))


@pytest.mark.parametrize("splits", [False, True], ids=["whole heads", "split heads"])
def test_the_student_over_widths_is_the_exported_model(
    source: Checkpoint, splits: bool, tmp_path: Path
) -> None:
    radii = radii_for(source, splits=splits)
    drawn = random_operators(source.shape, replace(source.shape, **SMALL), radii)
    start = Operators(
        *(source.shape, drawn.target, radii), hidden=drawn.hidden, attn=drawn.attn, ffn=drawn.ffn
    )
    weights = frozen(ResidualLayers, source, radius=radii.hidden)
    fusion = DimensionFusion(start, CPU, tied=False)
    student = student_of(source, fusion, weights, config_of(start.target, source.config))
    assert_same_logits(student, fused_model(source, start, tmp_path))


@pytest.mark.parametrize("target", TARGETS)
def test_the_masked_student_is_the_exported_model(
    source: Checkpoint, target: str, tmp_path: Path
) -> None:
    """With soft gates folded in: a head's gate scales its rows of v and their bias."""
    small = replace(source.shape, **TARGETS[target])
    masks, generator = Masks(source.shape, small, seed=5, device=CPU), torch.Generator()
    with torch.no_grad():
        for log_alpha in masks.log_alpha.values():
            log_alpha.copy_(2 * torch.randn(log_alpha.shape, generator=generator.manual_seed(1)))
    fusion = MaskedFusion(masks, Decoder(source.config, CPU).norm_eps)
    student = student_of(source, fusion, frozen(SourceLayers, source), source.config)
    folder, weights = tmp_path / "trained", fusion.exported_weights(student.source)
    write_checkpoint(folder, source.shape, weights, like=source.path, dtype=torch.float32)
    operators = selection_operators(source.shape, small, masks.selection())
    assert_same_logits(student, fused_model(Checkpoint(folder), operators, tmp_path))


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


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_a_random_model_of_a_family_and_its_count(family: str, tmp_path: Path) -> None:
    sizes = {name: size for name, size in SIZES.items() if name != "initializer_range"}
    shape = LlamaShape(**sizes, vocab_size=300, family=family)
    write_random_model(tmp_path, shape, "float32", seed=0)
    assert Checkpoint(tmp_path).shape == shape
    assert counted_parameters(shape) == shape.num_parameters


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
