"""Model folders as users have them, saved by transformers at the sizes of the smoke preset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from lemon.data.synthetic import write_tokenizer

SIZES: dict[str, Any] = {
    "num_hidden_layers": 6,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 512,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"tie_word_embeddings": True}),
    "mistral": ("Mistral", {"num_key_value_heads": 2, "sliding_window": 256}),
    "llama-3": (
        "Llama",
        {"num_key_value_heads": 2, "rope_parameters": LLAMA3_ROPE, "tie_word_embeddings": False},
    ),
}
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2", {"n_layer": 2, "n_embd": 64, "n_head": 4, "vocab_size": 512}),
    "qwen3": ("Qwen3", {**SIZES, "head_dim": 16}),
    "qwen2": ("Qwen2", SIZES),  # biases on q, k and v
}


def save_model(folder: Path, family: str) -> Path:
    """Save a random model of a family with a tokenizer for the generated text."""
    name, sizes = FAMILIES[family] if family in FAMILIES else OTHERS[family]
    config = getattr(transformers, f"{name}Config")(**(SIZES if family in FAMILIES else {}) | sizes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    write_tokenizer(folder, 512, seed=0)
    return folder


def write_preset(file: Path, model: Path, label: str = "My model") -> Path:
    """The preset of a model of one's own: what differs from a shipped one."""
    file.write_text(
        f"""\
base: smoke
description: My own model
source: {{label: {label}, kind: folder, path: {model}, dtype: float32}}
second_size: null
budgets: {{fusion: 3}}
evaluation: {{limit: 4}}
"""
    )
    return file
