"""The learning loop: batches in, operators out; it can be killed at any step.

The state after n steps is a function of the source, the text, the start and the settings alone:
batches are found by their global index, and nothing else is drawn. A run that was killed and
resumed ends bit-identical to one that was not.
"""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lemon.config import LearningSettings
from lemon.data.packing import PackedText, SequenceOrder, training_batch
from lemon.errors import WorkFailed
from lemon.learning.checkpoints import Checkpoints
from lemon.learning.heldout import heldout_losses
from lemon.learning.objective import Losses, distillation_loss
from lemon.learning.progress import Metrics, ProgressLine, Watchdog
from lemon.learning.schedule import rate_factor
from lemon.learning.source_stack import SourceStack
from lemon.learning.student import FusedStudent, teacher_hidden_states

DIVERGENCE_WINDOW = 20


@dataclass
class Learner:
    """Everything that one run holds: models, optimiser, data, and where it writes.

    Attributes:
        label: the run's id, for messages.
        settings: objective, optimiser, batches.
        steps: optimiser steps of the whole run.
        seed: of the order of the training sequences.
        student: the fused model; its parameters with gradients are what learns.
        teacher: the source model, never changed.
        text: packed sequences.
        checkpoints: where states go.
        metrics_path: where events go.
    """

    label: str
    settings: LearningSettings
    steps: int
    seed: int
    student: FusedStudent
    teacher: SourceStack
    text: PackedText
    checkpoints: Checkpoints
    metrics_path: Path

    def __post_init__(self) -> None:
        self.device = self.teacher.embedding.device
        self._first_loss: float | None = None
        self._recent: deque[float] = deque(maxlen=DIVERGENCE_WINDOW)
        self.groups = parameter_groups(self.student, self.settings)
        self.optimizer = torch.optim.AdamW(
            [
                {"params": list(group["params"].values()), "lr": group["rate"]}
                for group in self.groups
            ],
            betas=(self.settings.beta1, self.settings.beta2),
            weight_decay=self.settings.weight_decay,
            fused=True,
        )
        domains = self.text.domains
        self.order = SequenceOrder(
            {domain: self.text.num_sequences("train", domain) for domain in domains},
            dict(self.text.weights),
            self.seed,
        )
        self.tokens_per_step = self.settings.batch_sequences * self.text.sequence_length

    def run(self) -> None:
        """Take every step that is left.

        Raises:
            WorkFailed: the loss is no number or has diverged; the last good checkpoint is kept.
        """
        done, earlier_s = self._resume()
        started = time.monotonic() - earlier_s
        metrics = Metrics(self.metrics_path, after_step=done)
        line = ProgressLine(
            self.label, first_step=done, steps=self.steps, tokens_per_step=self.tokens_per_step
        )
        if done == 0:
            self._write_heldout(metrics, 0, 0.0)
        with Watchdog() as watchdog:
            while done < self.steps:
                values = self._step(done)
                done += 1
                wall_s = time.monotonic() - started
                metrics.write(done, done * self.tokens_per_step, wall_s, values)
                if done % self.settings.evaluate_every == 0 or done == self.steps:
                    self._write_heldout(metrics, done, time.monotonic() - started)
                if done % self.settings.checkpoint_every == 0 or done == self.steps:
                    self.checkpoints.save(done, self._state(time.monotonic() - started))
                line.show(done, values["train/loss"])
                watchdog.step_ended()
        metrics.close()

    def _step(self, step: int) -> dict[str, float]:
        """One optimiser step; the values that it measured."""
        settings = self.settings
        factor = rate_factor(
            step,
            self.steps,
            warmup_ratio=settings.warmup_ratio,
            final_ratio=settings.final_rate_ratio,
        )
        for group, active in zip(self.groups, self.optimizer.param_groups, strict=True):
            active["lr"] = group["rate"] * factor
        begun = time.monotonic()
        losses = self._accumulate_gradients(step)
        norm = nn.utils.clip_grad_norm_(
            (p for group in self.groups for p in group["params"].values()),
            settings.max_gradient_norm,
        )
        self._refuse_divergence(step, losses.total.item(), norm.item())
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {
            "train/loss": losses.total.item(),
            "train/lm_loss": losses.lm.item(),
            "train/kl": losses.kl.item(),
            "train/gradient_norm": norm.item(),
            "train/tokens_per_s": self.tokens_per_step / (time.monotonic() - begun),
            **{f"train/rate_{group['name']}": group["rate"] * factor for group in self.groups},
        }

    def _accumulate_gradients(self, step: int) -> Losses:
        """Losses of the step's batch, in microbatches of equal size."""
        settings = self.settings
        parts = settings.batch_sequences // settings.microbatch_sequences
        sums = torch.zeros(3, device=self.device)
        for part in range(parts):
            first = step * settings.batch_sequences + part * settings.microbatch_sequences
            rows = training_batch(self.text, self.order, first, settings.microbatch_sequences)
            tokens = torch.from_numpy(rows).to(self.device)
            inputs, labels = tokens[:, :-1], tokens[:, 1:].flatten()
            losses = distillation_loss(
                self.student(inputs).flatten(0, 1),
                self.student.head_weight(),
                teacher_hidden_states(self.teacher, self.student.decoder, inputs).flatten(0, 1),
                self.teacher.head_weight(),
                labels,
                lm_weight=settings.lm_weight,
                chunk_tokens=settings.loss_chunk_tokens,
            )
            (losses.total / parts).backward()
            sums += torch.stack([value.detach() for value in losses]) / parts
        return Losses(*sums)

    def _refuse_divergence(self, step: int, loss: float, gradient_norm: float) -> None:
        if self._first_loss is None:
            self._first_loss = loss
        self._recent.append(loss)
        broken = not (math.isfinite(loss) and math.isfinite(gradient_norm))
        mean = sum(self._recent) / len(self._recent)
        limit = self.settings.divergence_factor * self._first_loss
        diverged = len(self._recent) == DIVERGENCE_WINDOW and mean > limit
        if not broken and not diverged:
            return
        what = (
            f"the loss is {loss} and the gradient's norm {gradient_norm}"
            if broken
            else f"the loss of the last {DIVERGENCE_WINDOW} steps is {mean:.2f} against "
            f"{self._first_loss:.2f} at the start"
        )
        newest = self.checkpoints.newest_path()
        kept = f"the last good state is {newest}" if newest else "no checkpoint was written yet"
        raise WorkFailed(
            f"{self.label}: diverged at step {step + 1} of {self.steps}: {what}; {kept}. "
            f"Lower learning.layer_rate for it, under `runs: {self.label}: learning:` of the preset"
        )

    def _write_heldout(self, metrics: Metrics, done: int, wall_s: float) -> None:
        losses = heldout_losses(
            self.student,
            self.text,
            sequences=self.settings.heldout_sequences,
            batch_sequences=self.settings.microbatch_sequences,
            chunk_tokens=self.settings.loss_chunk_tokens,
            device=self.device,
        )
        values = {f"heldout/loss/{domain}": loss for domain, loss in losses.items()}
        mean = sum(self.text.weights[domain] * loss for domain, loss in losses.items())
        values["heldout/perplexity"] = math.exp(min(mean, 700.0))
        metrics.write(done, done * self.tokens_per_step, wall_s, values)

    def _state(self, wall_s: float) -> dict[str, Any]:
        return {
            "parameters": {name: value.detach() for name, value in self._parameters().items()},
            "optimizer": self.optimizer.state_dict(),
            "first_loss": self._first_loss,
            "recent_losses": list(self._recent),
            "wall_s": wall_s,
        }

    def _resume(self) -> tuple[int, float]:
        """Load the newest checkpoint: steps done and seconds spent before."""
        state = self.checkpoints.newest()
        if state is None:
            return 0, 0.0
        with torch.no_grad():
            for name, value in self._parameters().items():
                value.copy_(state["parameters"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self._first_loss = state["first_loss"]
        self._recent.extend(state["recent_losses"])
        print(f"{self.label}: goes on after step {state['step']} of {self.steps}", flush=True)
        return state["step"], state["wall_s"]

    def _parameters(self) -> dict[str, Tensor]:
        return {name: value for group in self.groups for name, value in group["params"].items()}


def parameter_groups(student: FusedStudent, settings: LearningSettings) -> list[dict[str, Any]]:
    """What learns, by the rate at which it learns: gamma, and the source's weights if they do."""
    learns = {name: p for name, p in student.named_parameters() if p.requires_grad}
    gamma = {name: p for name, p in learns.items() if name.startswith("fusion.gamma.")}
    weights = {name: p for name, p in learns.items() if name not in gamma}
    groups = [{"name": "layer", "rate": settings.layer_rate, "params": gamma}]
    if weights:
        groups.append({"name": "weight", "rate": settings.weight_rate, "params": weights})
    return groups
