"""The time of inference of models by their shapes, measured in turn in one process.

A model's weights do not change how long it computes, so they are random here. In each round every
model reads a prompt and then generates tokens one by one after it, as `generate` does with a cache
of keys and values. What else the machine does falls on all models of a round, so the ratio of two
of them within a round says more than seconds of jobs that ran at different times. FFNs that layers
share (FF-merge) are timed as separate ones, as a plain model folder is loaded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from lemon.architecture import LlamaShape
from lemon.config_json import config_of
from lemon.files.manifest import write_manifest
from lemon.files.storage import write_text
from lemon.machine import compute_device
from lemon.progress import say

ROUNDS = 12  # that count; one before them warms up caches and kernels
GENERATED = 16  # tokens after each prompt


def write_times(
    shapes: Sequence[LlamaShape], prompt: int, dtype: str, device: str, out: Path
) -> None:
    """Write the times of one model of each shape as CSV, and a manifest.

    A line has the sizes of a shape, the round, and the seconds a token of reading the prompt, of so
    many tokens, and of generating. `device` is `auto`, `cpu` or `cuda`; BadInput if it can't be
    used.
    """
    started = time.monotonic()
    place = compute_device(device)
    models = [_random_model(shape, dtype, place) for shape in shapes]
    lines = []
    for number, (shape, read, generated) in enumerate(_rounds(shapes, models, prompt, place)):
        lines.append(
            {
                **shape.sizes(),
                "round": number // len(shapes),
                "prompt_seconds": read / prompt,
                "generation_seconds": generated / GENERATED,
            }
        )
    frame = pd.DataFrame(lines)
    medians = frame.groupby(frame.index % len(shapes))[["prompt_seconds", "generation_seconds"]]
    for shape, (read, generated) in zip(shapes, medians.median().to_numpy(), strict=True):
        say(
            f"time: {shape.num_hidden_layers} layers, hidden size {shape.hidden_size}: "
            f"{read * 1000:.3f} ms a token of the prompt, {generated * 1000:.2f} ms generated"
        )
    write_text(out, frame.to_csv(index=False, float_format="%.9f", lineterminator="\n"))
    write_manifest(
        out.with_suffix(".manifest.json"),
        "time",
        files=[out],
        settings={"prompt": prompt, "generated": GENERATED, "rounds": ROUNDS, "dtype": dtype},
        device=place,
        threads=torch.get_num_threads(),
        started=started,
    )


def _random_model(shape: LlamaShape, dtype: str, device: str) -> PreTrainedModel:
    config = AutoConfig.for_model(shape.family, **config_of(shape, {}))
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype)).eval()


def _rounds(
    shapes: Sequence[LlamaShape], models: Sequence[PreTrainedModel], prompt: int, device: str
) -> Iterator[tuple[LlamaShape, float, float]]:
    """The seconds of each model for the prompt and for the generated tokens, round by round."""
    generator = torch.Generator().manual_seed(0)
    vocabulary = min(shape.vocab_size for shape in shapes)
    ids = torch.randint(vocabulary, (1, prompt + GENERATED), generator=generator).to(device)
    for number in range(ROUNDS + 1):
        for shape, model in zip(shapes, models, strict=True):
            seconds = _read_and_generate(model, ids, prompt)
            if number:
                yield shape, *seconds


@torch.inference_mode()
def _read_and_generate(
    model: PreTrainedModel, ids: torch.Tensor, prompt: int
) -> tuple[float, float]:
    """Seconds of reading the first `prompt` of `ids`, [1, tokens], and of all after them."""

    def now() -> float:
        if ids.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    begin = now()
    read: Any = model(ids[:, :prompt], use_cache=True, logits_to_keep=1)
    middle = now()
    for place in range(prompt, ids.shape[1]):
        model(ids[:, place : place + 1], past_key_values=read.past_key_values, use_cache=True)
    return middle - begin, now() - middle
