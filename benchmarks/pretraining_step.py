"""One step of pre-training against Hugging Face's `Trainer` and against a bare loop.

All three train the same model on the same tokens with float32 weights under bfloat16. Ours: the
trainee of `lemon pretrain`, its loss in chunks, clipping and AdamW. Theirs: a step of `Trainer`,
from its beginning to its end. Bare: forward, backward, clipping and AdamW. Times alternate in one
process; ratios are of tokens a second, so more is better.

    python benchmarks/pretraining_step.py --source data/laptop/source --layers 22
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from typing import Any

import torch
from _side_by_side import DTYPE, Step, batch, in_turn, plain_step, step_parser
from transformers import LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

from lemon.configuration.load import load_project
from lemon.pretraining.language_model import LanguageModel

STEPS = 3  # of `Trainer` in a round; the last is timed


def small_model(options: argparse.Namespace) -> LlamaForCausalLM:
    config = LlamaForCausalLM.config_class.from_pretrained(options.source)
    config.num_hidden_layers = options.layers
    return LlamaForCausalLM(config).float().train()


def our_step(options: argparse.Namespace) -> Step:
    settings = load_project("laptop").preset.pretraining
    model = small_model(options)
    trainee = LanguageModel(model, dtype=DTYPE, rate=1e-4, chunk_tokens=settings.loss_chunk_tokens)
    weights = list(model.parameters())
    optimizer = torch.optim.AdamW(weights, lr=1e-4, betas=(0.9, 0.95), fused=True)
    tokens = batch(model.config.vocab_size, options.tokens, options.sequence_length)

    def step() -> float:
        loss = trainee.losses(tokens, 0, 0)["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


class Clock(TrainerCallback):
    """The seconds of the last step."""

    def __init__(self) -> None:
        self.begun = self.seconds = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.begun = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds = time.perf_counter() - self.begun


class TheirTrainer:
    """`Trainer` on the same rows again and again."""

    def __init__(self, options: argparse.Namespace, folder: str) -> None:
        model = small_model(options)
        rows = batch(model.config.vocab_size, options.tokens, options.sequence_length)
        self.model = model
        self.rows = [{"input_ids": row, "labels": row} for row in rows.repeat(STEPS, 1)]
        self.arguments = TrainingArguments(
            folder,
            max_steps=STEPS,
            per_device_train_batch_size=len(rows),
            learning_rate=1e-4,
            bf16=True,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )

    def seconds(self) -> float:
        """Seconds of the last of `STEPS` steps, fetching the rows included."""
        clock = Clock()
        trainer = Trainer(self.model, self.arguments, train_dataset=self.rows, callbacks=[clock])
        trainer.train()
        return clock.seconds


def main() -> None:
    options = step_parser(__doc__.splitlines()[0], layers=22).parse_args()
    steps = {
        "ours": our_step(options),
        "bare": plain_step(options, with_teacher=False, master=torch.float32),
    }
    with tempfile.TemporaryDirectory() as folder:
        theirs = TheirTrainer(options, folder)
        theirs.seconds()
        seconds: dict[str, list[float]] = {"ours": [], "bare": [], "theirs": []}
        for _ in range(options.rounds):
            for name, values in in_turn(steps, 1).items():
                seconds[name] += values
            seconds["theirs"].append(theirs.seconds())
    print(
        f"{options.tokens} tokens a step, {options.layers} layers, float32 under bfloat16, ", end=""
    )
    print(f"{torch.get_num_threads()} threads, {options.rounds} rounds in turn")
    for name, least, words in (("theirs", 1.0, "Trainer"), ("bare", 0.9, "a bare loop")):
        ratios = [a / b for a, b in zip(seconds[name], seconds["ours"], strict=True)]
        print(
            f"tokens a second, of those of {words}: {statistics.median(ratios):.2f} "
            f"(from {min(ratios):.2f} to {max(ratios):.2f}), at least {least}"
        )


if __name__ == "__main__":
    main()
