"""Every kind of training computes on its device alone, and waits for it once a pass at most.

No GPU is needed: on the device `meta` tensors have sizes and no values, and an operation that mixes
them with tensors in main memory is found before it runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from learning_world import CONFIG
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lemon.configuration.load import load_project
from lemon.configuration.planned_run import PlannedRun
from lemon.learning import masks
from lemon.memory import training
from lemon.memory.kinds import kinds
from lemon.training.loop import Trainer
from lemon.training.processes import ALONE

pytestmark = pytest.mark.slow

META = torch.device("meta")
PROJECT = load_project("smoke", CONFIG)
RUNS = [runs[0] for runs in kinds(PROJECT, PROJECT.runs.values(), 1).values()]
COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.lift_fresh.default)


class OneDevice(TorchDispatchMode):
    """Once it watches, refuses operations on tensors in main memory, and counts waits for values.

    Tensors without dimensions are numbers, which every device takes. The draws of masks are made
    by NumPy, so that they are the same on every device; these are copied.
    """

    watches = False
    waits = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        in_memory = [t.shape for t in given if t.device != META and t.dim()]
        if func in COPIES and (kwargs or {}).get("device") == torch.device("cpu"):
            self.waits += self.watches
            return torch.full(given[0].shape, 0.5)
        if func is torch.ops.aten._local_scalar_dense.default:
            self.waits += self.watches
            return 1
        if self.watches and func not in COPIES:
            assert not in_memory, f"{func} of tensors in main memory: {in_memory}"
        return func(*args, **(kwargs or {}))


def trainer_of(run: PlannedRun) -> Trainer:
    """A trainer as `lemon learn` or `lemon pretrain` makes it, on the device `meta`."""
    if not run.method.pretrains:
        start = None if run.method.prunes else training._start(run)
        return training._learning(PROJECT, run, start, ALONE)
    with META:
        return training._pretraining(PROJECT, run, ALONE)


def tokens_of(run: PlannedRun) -> Tensor:
    """Tokens of a microbatch on the device `meta`."""
    shape = (run.training.microbatch_sequences, run.sequence_length + 1)
    return torch.zeros(shape, dtype=torch.long, device=META)


@pytest.fixture
def on_meta(monkeypatch: pytest.MonkeyPatch) -> Iterator[OneDevice]:
    monkeypatch.setattr(training, "CPU", META)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # has none for meta
    with OneDevice() as mode:
        yield mode


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.id)
def test_a_pass_is_of_one_device(run: PlannedRun, on_meta: OneDevice) -> None:
    trainer = trainer_of(training._one_microbatch(run, 1))
    tokens = tokens_of(run)
    on_meta.watches = True
    trainer.trainee.losses(tokens, 0, 0)["loss"].backward()
    # Which layers are open decides what is computed; transformers looks for packed sequences.
    assert on_meta.waits <= (run.method.prunes or run.method.pretrains)
    found = [value.grad for value in trainer.parameters.values() if value.grad is not None]
    assert found and all(gradient.device == META for gradient in found)


def test_a_tensor_in_main_memory_is_found(
    on_meta: OneDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = next(run for run in RUNS if run.method.prunes)
    real = masks.Masks.sampled

    def left_behind(self: masks.Masks, step: int, part: int) -> dict[str, Tensor]:
        return {
            name: gate * torch.ones(gate.shape) for name, gate in real(self, step, part).items()
        }

    monkeypatch.setattr(masks.Masks, "sampled", left_behind)
    trainer = trainer_of(training._one_microbatch(run, 1))
    on_meta.watches = True
    with pytest.raises(AssertionError, match="of tensors in main memory"):
        trainer.trainee.losses(tokens_of(run), 0, 0)
