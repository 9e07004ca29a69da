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
    "qwen2": ("Qwen2", {"num_key_value_heads": 2, "tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {"num_key_value_heads": 2, "head_dim": 16}),
}
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2", {"n_layer": 2, "n_embd": 64, "n_head": 4, "vocab_size": 512}),
    "gemma": ("Gemma", {**SIZES, "head_dim": 16}),
    "mixtral": ("Mixtral", {**SIZES, "num_local_experts": 2}),
}
# The radii of runs.tsv that split heads, made to mix whole ones: a user of Qwen3 writes this line.
SPLIT = ("32-2", "32-4", "32-16", "2-2", "2-4", "2-16")
WHOLE_HEADS = "radii: {" + ", ".join(f"'{name}': {{attention: 100%}}" for name in SPLIT) + "}\n"


def save_model(folder: Path, family: str, **sizes: Any) -> Path:
    """Save a random model of a family with a tokenizer for the generated text.

    Gains and biases are random too, not ones and zeros. `sizes` replace those of the family.
    """
    name, own = FAMILIES[family] if family in FAMILIES else OTHERS[family]
    common = SIZES if family in FAMILIES else {}
    config = getattr(transformers, f"{name}Config")(**common | own | sizes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config)
        for parameter in (p for p in model.parameters() if p.dim() == 1):
            parameter.data += torch.rand_like(parameter) - 0.5
    model.save_pretrained(folder)
    write_tokenizer(folder, 512, seed=0)
    return folder


def write_preset(file: Path, model: Path, label: str = "My model", more: str = "") -> Path:
    """The preset of a model of one's own: what differs from a shipped one, and `more` lines."""
    file.write_text(
        f"""\
base: smoke
description: My own model
source: {{label: {label}, kind: folder, path: {model}, dtype: float32}}
second_size: null
budgets: {{fusion: 3}}
evaluation: {{limit: 4}}
{more}"""
    )
    return file
