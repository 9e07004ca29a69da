"""Small models of every family: their sizes, their targets, and what is fused of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from lemon.architecture import LlamaShape
from lemon.checkpoint import Checkpoint
from lemon.methods.shear import Selection
from lemon.operators.algebra import Operators
from lemon.operators.file import load_operators, save_operators
from lemon.operators.fuse import fuse
from lemon.radii import Radii

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


def fused_model(source: Checkpoint, operators: Operators, folder: Path) -> Any:
    """The exported model, loaded by transformers alone."""
    file, digest = folder / "operators.safetensors", source.digest()
    save_operators(file, operators, source_digest=digest, method="cut")
    assert load_operators(file)[1].source == source.shape
    fuse(source.path, file, folder / "model")
    return AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32).eval()
