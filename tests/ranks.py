"""Processes that learn together as torchrun starts them, but are started once for many tests."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from learning_world import LearningWorld
from replanned import replanned
from torch.multiprocessing.reductions import StorageWeakRef

from lemon.configuration.project import Project
from lemon.data.pretrained import load_model
from lemon.errors import LemonError
from lemon.learning.run import learn
from lemon.pretraining.language_model import LanguageModel
from lemon.pretraining.run import pretrain
from lemon.training.loop import Trainer
from lemon.training.processes import ALONE, Processes
from lemon.training.shards import Shard, _Gather, clip_gradients, own_value, whole_value
from lemon.training.trial import run_trial

PATIENCE_S = 600
# Processes that start at once: forked from one that has imported this, which takes seconds.
FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(["torch.distributed", "lemon.learning.run", "lemon.pretraining.run"])


class Ranks:
    """Calls functions of this module or torch in all processes; each gets its `Processes` first."""

    def __init__(self, count: int, folder: Path) -> None:
        self.ends, self.processes = [], []
        for rank in range(count):
            here, there = FORKS.Pipe()
            arguments = (rank, count, f"file://{folder / 'store'}", there)
            process = FORKS.Process(target=_serve, args=arguments, daemon=True)
            process.start()
            self.ends.append(here)
            self.processes.append(process)

    def __call__(self, task: Callable[..., Any], *arguments: Any, **named: Any) -> list[Any]:
        """The result in each process."""
        for end in self.ends:
            end.send((task, arguments, named))
        results = []
        for end in self.ends:
            assert end.poll(PATIENCE_S), "a process does not answer"
            result, failure = end.recv()
            assert failure is None, failure
            results.append(result)
        return results

    def __enter__(self) -> Ranks:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
            process.join()


def _serve(rank: int, count: int, store: str, end: Connection) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=count)
    while True:
        task, arguments, named = end.recv()
        try:
            end.send((task(Processes(rank, count), *arguments, **named), None))
        except Exception:
            end.send((None, traceback.format_exc()))


def train(
    processes: Processes,
    world: LearningWorld,
    run: str,
    out: Path,
    *,
    steps: int = 8,
    stop: int | None = None,
    start: Path | None = None,
    cache: Path | None = None,
    **settings: Any,
) -> None:
    """Train a run to its end, or to the step after which all its processes stop."""
    project = world.project(steps, **settings)
    own = project.preset.pretraining.model_copy(update=settings)
    project = replanned(project, preset=project.preset.model_copy(update={"pretraining": own}))
    take = Trainer.take_step

    def stopping(trainer: Trainer, step: int) -> dict[str, float]:
        if step == stop:
            raise KeyboardInterrupt
        return take(trainer, step)

    Trainer.take_step = stopping
    read = (project, run, world.source, world.text, out)
    try:
        if project.run(run).method.pretrains:
            pretrain(*read, world.source, processes)
        else:
            learn(*read, start=start, teacher_cache=cache, processes=processes)
    except KeyboardInterrupt:
        assert stop is not None
    finally:
        Trainer.take_step = take


def train_alone(world: LearningWorld, run: str, out: Path, **settings: Any) -> Path:
    """The same in this process."""
    train(ALONE, world, run, out, **settings)
    return out


def try_rates(processes: Processes, world: LearningWorld, out: Path, **settings: Any) -> None:
    """The first trial of the preset's operators, in two steps."""
    project = world.project(2, **settings)
    trial = project.trials_of("operators")[0]

    def train(tried: Project, folder: Path) -> None:
        learn(tried, trial.run, world.source, world.text, folder, processes=processes)

    run_trial(project, trial, out, {"text": "digest"}, train, processes)


def summed(processes: Processes, parts: list[torch.Tensor]) -> torch.Tensor:
    """The sum of one part from each process."""
    own = parts[processes.rank].clone()
    processes.sum(own)
    return own


def summed_gradients(
    processes: Processes, gradients: list[list[torch.Tensor | None]]
) -> list[torch.Tensor | None]:
    """The sums of the gradients of each process; None for a parameter without."""
    held = []
    for shaped, own in zip(zip(*gradients, strict=True), gradients[processes.rank], strict=True):
        shape = next((g.shape for g in shaped if g is not None), (1,))
        held.append(torch.nn.Parameter(torch.zeros(shape)))
        held[-1].grad = None if own is None else own.clone()
    processes.sum_gradients(held)
    return [parameter.grad for parameter in held]


def divided(
    processes: Processes, whole: torch.Tensor, whole_shape: Sequence[int]
) -> tuple[tuple[int, ...], torch.Tensor]:
    """What each process holds of a tensor, and what is gathered from it."""
    shape = (*whole.shape[: whole.dim() - len(whole_shape)], -1)
    layers = whole.view(-1, *whole_shape)
    own = torch.stack([processes.share(layer) for layer in layers]).view(shape)
    shard = Shard(own, whole_shape, processes)
    assert torch.equal(own_value(shard, whole), shard)
    return tuple(shard.shape), whole_value(shard, shard)


def differentiated(
    processes: Processes, whole: torch.Tensor, factors: list[torch.Tensor], limit: float
) -> tuple[float, torch.Tensor]:
    """The norm before clipping, and the gradient of the sum over processes of whole . factor.

    A second, replicated parameter has the gradient 2.
    """
    shard = Shard(processes.share(whole), whole.shape, processes)
    (shard.whole(factors[0].dtype) * factors[processes.rank]).sum().backward()
    second = torch.nn.Parameter(torch.zeros(1))
    second.grad = torch.tensor([2.0])
    norm = clip_gradients([shard, second], limit)
    assert shard.grad is not None and shard.grad.dtype == shard.dtype
    return norm, processes.gathered(shard.grad)[: whole.numel()].view_as(whole)


def pretraining_gradients(
    processes: Processes, folder: Path, dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """The gradients of two microbatches by name, of a model of one's own in pre-training."""
    model = load_model(folder, dtype=torch.float32).train()
    model.activation_checkpointing_enable({"use_reentrant": False})
    trainee = LanguageModel(model, dtype=dtype, rate=1.0, chunk_tokens=8, processes=processes)
    draw = torch.Generator().manual_seed(0)
    for part in range(2):
        tokens = torch.randint(512, (2, 17), generator=draw)
        if processes.takes(part):
            trainee.losses(tokens, 0, part)["loss"].backward()
    [group] = trainee.groups
    return {name: whole_value(held, held.grad) for name, held in group.parameters.items()}


def measured(
    processes: Processes, world: LearningWorld, run: str, out: Path, **settings: Any
) -> tuple[int, int, int]:
    """Of trained weights, in bytes: what one step gathers, what of it exists at once, what is held.

    A process holds shares of weights, gradients and both moments.
    """
    gathered, held, peaks = [], [], []
    alive: list[tuple[StorageWeakRef, int]] = []
    forward, prepare = _Gather.forward, Trainer.__post_init__

    def now() -> int:
        return sum(size for storage, size in alive if not storage.expired())

    def counting(*arguments: Any) -> torch.Tensor:
        whole = forward(*arguments)
        gathered.append(whole.nbytes)
        alive.append((StorageWeakRef(whole.untyped_storage()), whole.nbytes))
        if now() > max(peaks, default=0):
            gc.collect()  # a weight in a reference cycle is kept until some collection
        peaks.append(now())
        return whole

    def measure(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for parameter in (p for group in optimizer.param_groups for p in group["params"]):
            if isinstance(parameter, Shard):
                moments = [v for v in optimizer.state[parameter].values() if v.dim()]
                values = [parameter, *moments, *([parameter.grad] if moments else [])]
                held.extend(value.untyped_storage().nbytes() for value in values)
        raise KeyboardInterrupt

    def prepared(trainer: Trainer) -> None:
        prepare(trainer)
        for counted in (gathered, peaks):
            counted.clear()  # what dynamic batch loading has read before the first step
        trainer.tune_losses = lambda **_: {"prose": 0.0, "numbers": 0.0}
        trainer.optimizer.register_step_post_hook(measure)

    _Gather.forward, Trainer.__post_init__ = staticmethod(counting), prepared
    try:
        train(processes, world, run, out, stop=1, **settings)
    finally:
        _Gather.forward, Trainer.__post_init__ = staticmethod(forward), prepare
    return sum(gathered), max(peaks), sum(held)


def said_of(
    processes: Processes,
    task: Callable[..., Any],
    *arguments: Any,
    differ: bool = False,
    **named: Any,
) -> str:
    """The message of the error that a task ends with, or nothing; inputs may differ by rank."""
    if differ:
        arguments = tuple([value + processes.rank for value in given] for given in arguments)
    try:
        task(processes, *arguments, **named)
    except LemonError as error:
        return str(error)
    return ""


def first_and_own(processes: Processes) -> tuple[int, int]:
    """Who made what is shared, and who what each makes."""
    return processes.from_first(lambda: processes.rank), processes.in_turn(lambda: processes.rank)
