"""Random LLaMA models of a few layers, and random operators for them.

No two axes of one model have the same length, so that a map applied to the wrong one fails.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from lemon.architecture import LlamaShape
from lemon.operators.algebra import Operators, factor_shapes
from lemon.operators.factor import Dense
from lemon.radii import Radii

GROUPED_TIED = {
    "num_hidden_layers": 5,
    "hidden_size": 72,
    "intermediate_size": 64,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 8,
    "vocab_size": 272,
    "tie_word_embeddings": True,
}
PLAIN_UNTIED = {
    "num_hidden_layers": 4,
    "hidden_size": 40,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 8,
    "vocab_size": 272,
    "tie_word_embeddings": False,
}
# Small enough for the matrix of a whole layer type; MINUTE_TARGET is smaller along every axis, and
# legal for r = 1, 2 and 4, the head size.
MINUTE = {
    "num_hidden_layers": 3,
    "hidden_size": 12,
    "intermediate_size": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "vocab_size": 20,
    "tie_word_embeddings": True,
}
MINUTE_TARGET = {
    **MINUTE,
    "num_hidden_layers": 2,
    "hidden_size": 8,
    "intermediate_size": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}


def write_tiny_model(folder: Path, seed: int = 0, dtype: str = "float32", **sizes: object) -> Path:
    """Save a random LLaMA with a byte tokenizer; norm gains are random too, not ones."""
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = LlamaConfig(**sizes, max_position_embeddings=512, initializer_range=0.15)
        config.bos_token_id = config.eos_token_id = 256
        model = LlamaForCausalLM(config)
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.data.uniform_(0.5, 1.5)
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    write_byte_tokenizer(folder)
    return folder


def write_byte_tokenizer(folder: Path) -> None:
    """Save a tokenizer of the 256 bytes and one end-of-text token (id 256)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: index for index, symbol in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=end, eos_token=end, pad_token=end
    ).save_pretrained(folder)


def smaller(shape: LlamaShape, num_hidden_layers: int = 3) -> LlamaShape:
    """A target that is smaller than a tiny model along every axis, and legal for r up to 8."""
    heads = 2
    return replace(
        shape,
        num_hidden_layers=num_hidden_layers,
        hidden_size=40 if shape.hidden_size > 40 else 24,
        intermediate_size=48,
        num_key_value_heads=heads,
        num_attention_heads=heads * shape.group_size,
    )


def random_operators(
    source: LlamaShape, target: LlamaShape, radii: Radii | None = None, seed: int = 0
) -> Operators:
    """Operators with every factor present and normally distributed entries."""
    generator = torch.Generator().manual_seed(seed)
    radii = radii or Radii()
    shapes = factor_shapes(source, target, radii)
    factors = {
        name: Dense(torch.randn(*shape, generator=generator) / shape[1] ** 0.5)
        for name, shape in shapes.items()
    }
    return Operators.from_named(factors, source, target, radii)
