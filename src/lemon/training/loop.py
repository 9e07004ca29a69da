"""The learning loop: batches in, parameters out; it can be killed at any step.

The state after n steps is a function of the source, the text, the start and the settings alone:
batches and the noise of masks are found by step and seed, and what else changes is in the
checkpoint. A run that was killed and resumed ends bit-identical to one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from lemon.configuration.preset import LearningSettings
from lemon.data.text.packing import PackedText
from lemon.errors import WorkFailed
from lemon.events import Metrics, events_until
from lemon.learning.lagrangian import Lagrangian
from lemon.learning.student import FusedStudent, Teacher
from lemon.perplexity import mixture_loss, perplexity_of
from lemon.progress import ProgressLine, Watchdog
from lemon.training.batches import Batches
from lemon.training.checkpoints import Checkpoints
from lemon.training.divergence import Divergence
from lemon.training.heldout import heldout_losses
from lemon.training.objective import Losses, distillation_loss
from lemon.training.schedule import rate_factor


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that learn at one rate; `setting` is the key that states it."""

    name: str
    rate: float
    setting: str
    parameters: dict[str, nn.Parameter]
    ascends: bool = False


@dataclass
class Learner:
    """Everything that one run holds: models, optimiser, data, and where it writes.

    Attributes:
        label: the run's id, for messages.
        settings: objective, optimiser, batches.
        steps: optimiser steps of the whole run.
        student: the fused model.
        teacher: the source model, never changed; None where the text alone teaches.
        groups: what learns; parameter names are unique among all groups.
        constraint: what the masks are held to; None where there are none.
        text: packed sequences, for held-out losses.
        batches: the training rows.
        divergence: the watch over the loss.
        checkpoints: where states go.
        metrics_path: where events go.
    """

    label: str
    settings: LearningSettings
    steps: int
    student: FusedStudent
    teacher: Teacher | None
    groups: Sequence[ParameterGroup]
    constraint: Lagrangian | None
    text: PackedText
    batches: Batches
    divergence: Divergence
    checkpoints: Checkpoints
    metrics_path: Path

    def __post_init__(self) -> None:
        self.device = self.student.source.embedding.device
        self.optimizer = torch.optim.AdamW(
            [
                {
                    "params": list(group.parameters.values()),
                    "lr": group.rate,
                    "maximize": group.ascends,
                }
                for group in self.groups
            ],
            betas=(self.settings.beta1, self.settings.beta2),
            weight_decay=self.settings.weight_decay,
            fused=True,
        )
        self.tokens_per_step = self.settings.batch_sequences * self.text.sequence_length

    def run(self) -> None:
        """Take every step that is left.

        Raises:
            WorkFailed: the loss is no number or has diverged; the last good checkpoint is kept.
        """
        done, earlier_s, events = self._resume()
        started = time.monotonic() - earlier_s
        metrics = Metrics(self.metrics_path, events)
        first, line = done, ProgressLine(self.label, "step", self.steps, done)
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
                if self.batches.update_every and done % self.batches.update_every == 0:
                    self._update_mixture(metrics, done, time.monotonic() - started)
                if done % self.settings.checkpoint_every == 0 or done == self.steps:
                    state = self._state(time.monotonic() - started)
                    self.checkpoints.save(done, {**state, "events": metrics.text})
                rate = (done - first) * self.tokens_per_step / line.seconds
                line.show(
                    done,
                    f"loss {values['train/loss']:.3f}, {rate:.0f} tokens/s",
                    always=done in (first + 1, self.steps),
                )
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
            active["lr"] = group.rate * factor
        begun = time.monotonic()
        losses = self._accumulate_gradients(step)
        constrained = self._constrain(step)
        norm = nn.utils.clip_grad_norm_(
            (p for group in self.groups for p in group.parameters.values()),
            settings.max_gradient_norm,
        )
        self._refuse_divergence(step, losses.total.item(), norm.item())
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {
            "train/loss": losses.total.item(),
            "train/lm_loss": losses.lm.item(),
            **({} if self.teacher is None else {"train/kl": losses.kl.item()}),
            **constrained,
            "train/gradient_norm": norm.item(),
            "train/tokens_per_s": self.tokens_per_step / (time.monotonic() - begun),
            **{f"train/rate_{group.name}": group.rate * factor for group in self.groups},
        }

    def _accumulate_gradients(self, step: int) -> Losses:
        """Losses of the step's batch, in microbatches of equal size."""
        settings = self.settings
        parts = settings.batch_sequences // settings.microbatch_sequences
        sums = torch.zeros(3, device=self.device)
        for part in range(parts):
            first = step * settings.batch_sequences + part * settings.microbatch_sequences
            rows = self.batches.take(first, settings.microbatch_sequences)
            tokens = torch.from_numpy(rows).to(self.device)
            self.student.fusion.begin_pass((step, part))
            losses = self._losses(tokens[:, :-1], tokens[:, 1:].flatten())
            (losses.total / parts).backward()
            sums += torch.stack([value.detach() for value in losses]) / parts
        return Losses(*sums)

    def _losses(self, inputs: Tensor, labels: Tensor) -> Losses:
        hidden = self.student(inputs).flatten(0, 1)
        head, chunk = self.student.head_weight(), self.settings.loss_chunk_tokens
        if self.teacher is None:
            return distillation_loss(
                hidden, head, None, None, labels, lm_weight=1.0, chunk_tokens=chunk
            )
        taught = self.teacher.hidden_states(inputs).flatten(0, 1)
        return distillation_loss(
            *(hidden, head, taught, self.teacher.head_weight(), labels),
            lm_weight=self.settings.lm_weight,
            chunk_tokens=chunk,
        )

    def _constrain(self, step: int) -> dict[str, float]:
        """Add the gradient of the constraint, if there is one, and say how it stands."""
        if self.constraint is None:
            return {}
        penalty = self.constraint.penalty(step)
        penalty.backward()
        return {"train/penalty": penalty.item(), **self.constraint.measures(step)}

    def _refuse_divergence(self, step: int, loss: float, gradient_norm: float) -> None:
        what = self.divergence.found(loss, gradient_norm)
        if what is not None:
            self._fail(step + 1, what)

    def _fail(self, step: int, what: str) -> NoReturn:
        """End the run, saying what happened at which step and what can be done."""
        newest = self.checkpoints.newest_path()
        kept = f"the last good state is {newest}" if newest else "no checkpoint was written yet"
        rates = " or ".join(group.setting for group in self.groups)
        raise WorkFailed(
            f"{self.label}: diverged at step {step} of {self.steps}: {what}; {kept}. "
            f"Lower {rates} of the preset, or for this run alone under `runs: {self.label}:`"
        )

    def _heldout(self, *, at_target: bool = True) -> dict[str, float]:
        """Held-out losses in nats by domain, without noise, at the target's shape."""
        self.student.fusion.begin_pass(None, at_target=at_target)
        return heldout_losses(
            self.student,
            self.text,
            sequences=self.settings.heldout_sequences,
            batch_sequences=self.settings.microbatch_sequences,
            chunk_tokens=self.settings.loss_chunk_tokens,
            device=self.device,
        )

    def _write_heldout(self, metrics: Metrics, done: int, wall_s: float) -> None:
        losses = self._heldout()
        values = {f"heldout/loss/{domain}": loss for domain, loss in losses.items()}
        mean = mixture_loss(losses, self.text.weights)
        values["heldout/perplexity"] = perplexity_of(min(mean, 700.0))  # finite, so valid JSON
        metrics.write(done, done * self.tokens_per_step, wall_s, values)

    def _update_mixture(self, metrics: Metrics, done: int, wall_s: float) -> None:
        """Have the mixture follow the losses of the model at its present size."""
        losses = self._heldout(at_target=False)
        if not all(map(math.isfinite, losses.values())):
            self._fail(done, f"the held-out losses by domain are {losses}")
        weights = self.batches.update(losses)
        values = {f"mixture/{domain}": weight for domain, weight in weights.items()}
        metrics.write(done, done * self.tokens_per_step, wall_s, values)

    def _state(self, wall_s: float) -> dict[str, Any]:
        return {
            "parameters": {name: value.detach() for name, value in self._parameters().items()},
            "optimizer": self.optimizer.state_dict(),
            "batches": self.batches.state(),
            "divergence": self.divergence.state(),
            "wall_s": wall_s,
        }

    def _resume(self) -> tuple[int, float, str]:
        """Load the newest checkpoint: steps done, seconds spent before, and the events of both."""
        state = self.checkpoints.newest()
        if state is None:
            return 0, 0.0, ""
        with torch.no_grad():
            for name, value in self._parameters().items():
                value.copy_(state["parameters"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.batches.load_state(state["batches"])
        self.divergence.load_state(state["divergence"])
        print(f"{self.label}: goes on after step {state['step']} of {self.steps}", flush=True)
        events = state.get("events")
        if events is None:  # a checkpoint of an earlier version
            events = events_until(self.metrics_path, state["step"])
        return state["step"], state["wall_s"], events

    def _parameters(self) -> dict[str, Tensor]:
        return {name: value for group in self.groups for name, value in group.parameters.items()}
