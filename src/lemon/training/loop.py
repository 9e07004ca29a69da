"""The training loop: trains a model on rows of text. It may be killed at any step.

The state after n steps depends only on the trainee, the text and the settings: rows are a function
of seed and index, noise of seed, step and microbatch, and the checkpoint holds everything else. A
killed and resumed run ends bit-identical to an uninterrupted one.

Several processes share the microbatches of a step. All draw every row, so that the mixture stays
the same in all of them, and compute those of their own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from lemon.configuration.learning_settings import TrainingSettings
from lemon.data.text.packing import PackedText
from lemon.errors import Diverged, Terminated
from lemon.events import Metrics
from lemon.perplexity import mixture_loss, perplexity_of
from lemon.progress import ProgressLine, Watchdog
from lemon.training.batches import Batches
from lemon.training.checkpoints import TrainingCheckpoints
from lemon.training.divergence import Divergence
from lemon.training.processes import ALONE, Processes
from lemon.training.shards import Shard, clip_gradients, own_value, whole_value
from lemon.training.sigterm import Sigterm
from lemon.training.trainee import Trainee
from lemon.training.tune_losses import tune_losses

MOMENTS = ("exp_avg", "exp_avg_sq")  # of AdamW, as large as their parameter


@dataclass
class Trainer:
    """Trains one model from its first step, or from the newest checkpoint, to its last step.

    Attributes:
        label: the run's id, for messages.
        steps: optimiser steps of the whole run.
        text: packed sequences, for tune losses.
        metrics_path: the file of events.
        processes: those that take the steps together.
        after: what all processes do after these steps, before their checkpoints; a killed run may
            repeat it.
    """

    label: str
    settings: TrainingSettings
    steps: int
    trainee: Trainee
    text: PackedText
    batches: Batches
    divergence: Divergence
    checkpoints: TrainingCheckpoints
    metrics_path: Path
    processes: Processes = ALONE
    after: Mapping[int, Callable[[], None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.groups = self.trainee.groups
        self.parameters = {
            name: value for group in self.groups for name, value in group.parameters.items()
        }
        self.sigterm = Sigterm()
        every = self.parameters.values()
        self.replicated = [value for value in every if not isinstance(value, Shard)]
        groups = [
            {"params": [*group.parameters.values()], "maximize": group.ascends}
            for group in self.groups
        ]
        self.optimizer = torch.optim.AdamW(
            groups,
            betas=(self.settings.beta1, self.settings.beta2),
            weight_decay=self.settings.weight_decay,
            fused=True,
        )
        self.tokens_per_step = self.settings.batch_sequences * self.text.sequence_length

    def run(self) -> None:
        """Take all remaining steps.

        Raises:
            Diverged: the loss is not finite or has grown too far; the last good checkpoint is kept.
            WorkFailed: the processes do not hold the same parameters, or the disk is full.
            Terminated: one of the processes got a SIGTERM; the checkpoint of its step is written.
        """
        settings = self.settings
        first, earlier_s, events = self._resume()
        self.processes.require_same(self.replicated)
        started = time.monotonic() - earlier_s
        metrics = Metrics(self.metrics_path, events) if self.processes.writes else None
        line = ProgressLine(self.label, "step", self.steps, first)

        def log(done: int, values: dict[str, float]) -> None:
            if metrics is not None:
                wall_s = time.monotonic() - started
                metrics.write(done, done * self.tokens_per_step, wall_s, values)

        if first == 0:
            log(0, self._tune())
        with self.sigterm, Watchdog() as watchdog:
            for done in range(first + 1, self.steps + 1):
                values, ends = self.take_step(done - 1)
                log(done, values)
                if done % settings.evaluate_every == 0 or done == self.steps:
                    log(done, self._tune())
                if self.batches.update_every and done % self.batches.update_every == 0:
                    log(done, self._update_mixture(done))
                if done in self.after:
                    self.after[done]()
                if ends or done % settings.checkpoint_every == 0 or done == self.steps:
                    self._save(done, started, metrics)
                if metrics is not None:
                    rate = (done - first) * self.tokens_per_step / line.seconds
                    line.show(
                        done,
                        f"loss {values['train/loss']:.3f}",
                        f"{rate:.0f} tokens/s",
                        always=done in (first + 1, self.steps),
                    )
                if ends:
                    self.processes.from_first(lambda: None)  # all wait for the checkpoint
                    raise Terminated(
                        f"{self.label}: ended by SIGTERM after step {done} of {self.steps}, with a "
                        "checkpoint; run the same command to go on"
                    )
                watchdog.step_ended()
        if metrics is not None:
            metrics.close()

    def take_step(self, step: int) -> tuple[dict[str, float], bool]:
        """Take one optimiser step; returns the values to log, and whether it is the last one."""
        begun = time.monotonic()
        factor = rate_factor(
            step,
            self.steps,
            warmup_ratio=self.settings.warmup_ratio,
            final_ratio=self.settings.final_rate_ratio,
        )
        rates = {group.name: group.rate * factor for group in self.groups}
        for rate, optimized in zip(rates.values(), self.optimizer.param_groups, strict=True):
            optimized["lr"] = rate
        losses, ends = self._accumulate_gradients(step)
        constraint = self.trainee.constrain(step)
        norm = clip_gradients(self.parameters.values(), self.settings.max_gradient_norm)
        problem = self.divergence.found(losses["loss"], norm)
        if problem is not None:
            self._fail(step + 1, problem)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        values = {
            **{f"train/{name}": value for name, value in losses.items()},
            **constraint,
            "train/gradient_norm": norm,
            "train/tokens_per_s": self.tokens_per_step / (time.monotonic() - begun),
            **{f"train/rate_{name}": rate for name, rate in rates.items()},
        }
        return values, ends

    def _accumulate_gradients(self, step: int) -> tuple[dict[str, float], bool]:
        """Add up the gradients of the step's microbatches.

        Returns:
            The mean of each loss, and whether any process has got a SIGTERM.
        """
        count = self.settings.microbatch_sequences
        parts = self.settings.batch_sequences // count
        means: dict[str, Tensor] = {}
        for part in range(parts):
            rows = self.batches.take(step * self.settings.batch_sequences + part * count, count)
            if not self.processes.takes(part):
                continue
            tokens = torch.from_numpy(rows).to(self.trainee.device)
            losses = self.trainee.losses(tokens, step, part)
            (losses["loss"] / parts).backward()
            for name, loss in losses.items():
                means[name] = means.get(name, 0.0) + loss.detach() / parts
        self.processes.sum_gradients(self.replicated)
        noted = torch.tensor(float(self.sigterm.noted), device=self.trainee.device)
        together = torch.stack([*means.values(), noted])
        self.processes.sum(together)
        *numbers, noted_by = together.tolist()
        return dict(zip(means, numbers, strict=True)), noted_by > 0

    def tune_losses(self, *, exported: bool) -> dict[str, float]:
        """The losses by domain of the model as it would be exported now, or as it trains."""
        loss_of = partial(self.trainee.tune_loss, exported=exported)
        return tune_losses(
            *(loss_of, self.text, self.settings, self.trainee.device, self.processes)
        )

    def _tune(self) -> dict[str, float]:
        """The tune losses and the perplexity, under their logged names."""
        losses = self.tune_losses(exported=True)
        # Capped, because JSON and MLflow can't store infinity.
        perplexity = perplexity_of(min(mixture_loss(losses, self.text.weights), 700.0))
        by_domain = {f"tune/loss/{domain}": loss for domain, loss in losses.items()}
        return {**by_domain, "tune/perplexity": perplexity}

    def _update_mixture(self, done: int) -> dict[str, float]:
        """Update the mixture from the tune losses; returns its weights under logged names."""
        losses = self.tune_losses(exported=False)
        if not all(map(math.isfinite, losses.values())):
            self._fail(done, f"the tune losses by domain are {losses}")
        weights = self.batches.update(losses)
        return {f"mixture/{domain}": weight for domain, weight in weights.items()}

    def _fail(self, step: int, problem: str) -> NoReturn:
        newest = self.checkpoints.newest_path()
        kept = f"the last good state is {newest}" if newest else "no checkpoint was written yet"
        rates = " or ".join(group.setting for group in self.groups)
        raise Diverged(
            f"{self.label}: diverged at step {step} of {self.steps}: {problem}; {kept}. "
            f"Lower {rates} of the preset, or what it gives for the rates that the run names"
        )

    def _save(self, done: int, started: float, metrics: Metrics | None) -> None:
        """Write the checkpoint after `done` steps, in the process with the metrics."""
        self.processes.require_same(self.replicated)
        state = self._state()
        if metrics is not None:
            clock = {"wall_s": time.monotonic() - started, "events": metrics.text}
            self.checkpoints.save(done, state | clock)

    def _state(self) -> dict[str, Any]:
        """The state in whole tensors, for process 0; all processes call it."""
        optimizer = self.optimizer.state_dict()
        return {
            "parameters": {
                name: whole_value(value, value.detach()) for name, value in self.parameters.items()
            },
            "optimizer": optimizer | {"state": self._moments(optimizer["state"], whole_value)},
            "batches": self.batches.state(),
            "divergence": self.divergence.state(),
        }

    def _moments(
        self, state: Mapping[int, Mapping[str, Tensor]], held: Callable[..., Tensor]
    ) -> dict[int, dict[str, Tensor]]:
        """The optimiser's state by parameter, with its moments as whole or as own values."""
        every = list(self.parameters.values())
        return {
            place: {
                name: held(every[place], value) if name in MOMENTS else value
                for name, value in values.items()
            }
            for place, values in state.items()
        }

    def _resume(self) -> tuple[int, float, str]:
        """Load the newest checkpoint; returns its steps, their seconds and their events."""
        state = self.processes.in_turn(self.checkpoints.newest)
        if state is None:
            return 0, 0.0, ""
        with torch.no_grad():
            for name, value in self.parameters.items():
                value.copy_(own_value(value, state["parameters"][name]))
        optimizer = state["optimizer"]
        moments = self._moments(optimizer["state"], own_value)
        self.optimizer.load_state_dict(optimizer | {"state": moments})
        self.batches.load_state(state["batches"])
        self.divergence.load_state(state["divergence"])
        if self.processes.writes:
            print(f"{self.label}: goes on after step {state['step']} of {self.steps}", flush=True)
        return state["step"], state["wall_s"], state["events"]


def rate_factor(step: int, steps: int, *, warmup_ratio: float, final_ratio: float) -> float:
    """The learning rate at a step, from 0 to `steps` - 1, as a share of the peak.

    It rises linearly over the first `ceil(warmup_ratio * steps)` steps and is 1 at the last of
    them. A cosine then falls to `final_ratio` at step `steps - 1`.
    """
    warmup = math.ceil(warmup_ratio * steps)
    if step < warmup:
        return (step + 1) / warmup
    span = max(1, steps - 1 - warmup)
    progress = min(1.0, (step - warmup) / span)
    return final_ratio + (1.0 - final_ratio) * 0.5 * (1.0 + math.cos(math.pi * progress))
