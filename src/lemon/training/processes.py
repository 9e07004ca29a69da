"""Several processes that train one model, each on its share of the microbatches of every step.

`torchrun` starts them on one machine, one for each device. Every process takes the same steps, and
process 0 alone writes files (decision 0036). Weights that train are divided among them
(`lemon.training.shards`); everything else each process holds whole.
"""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from lemon.configuration.preset import ComputeSettings
from lemon.errors import BadInput, WorkFailed
from lemon.machine import compute_device

PATIENCE = timedelta(minutes=30)  # of a process that waits; longer than process 0 writes a model
BUCKET = 2**24  # numbers that are summed at once, of gradients that are smaller
PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>
T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This process among those that train one model; by default it is alone.

    Attributes:
        rank: its number, from 0.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def writes(self) -> bool:
        """Whether this process writes files and progress."""
        return self.rank == 0

    @property
    def facts(self) -> dict[str, Any]:
        """For a manifest: how many they are; nothing for one alone."""
        return {"processes": self.count} if self.count > 1 else {}

    def takes(self, part: int) -> bool:
        """Whether this process computes a part of what they share, counted from 0."""
        return part % self.count == self.rank

    def device(self, wanted: str) -> torch.device:
        """The device of this process, for a device by its name in the preset.

        Raises:
            BadInput: there is no GPU, or fewer than processes.
        """
        chosen = compute_device(wanted)
        if self.count == 1 or chosen == "cpu":
            return torch.device(chosen)
        found = torch.cuda.device_count()
        if found < self.count:
            raise BadInput(
                f"compute.devices is {self.count}, but torch finds {found} GPUs here; give at most "
                "that many, or ask the scheduler for more"
            )
        return torch.device(chosen, self.rank)

    def from_first(self, make: Callable[[], T]) -> T:
        """The result of a call that process 0 alone makes, for all of them; it is pickled."""
        made = make() if self.writes else None
        if self.count > 1:
            box = [made]
            dist.broadcast_object_list(box, src=0)
            made = box[0]
        return cast(T, made)

    def in_turn(self, make: Callable[[], T]) -> T:
        """The result of a call that every process makes, process 0 before the others."""
        made = make() if self.writes else None
        self.from_first(lambda: None)
        return cast(T, made) if self.writes else make()

    def sum(self, values: Tensor) -> None:
        """Add up the values of all processes in place, in the order of their ranks.

        All get the same bits: those of one process that adds one part after another. An all-reduce
        has the same traffic, but adds in an order of its own.
        """
        if self.count > 1:
            total = self.gathered(self.summed_share(values))
            values.copy_(total[: values.numel()].view_as(values))

    def share(self, whole: Tensor) -> Tensor:
        """A copy of this process's share [s] of n numbers, s = ceil(n / count), filled up by 0."""
        size = -(-whole.numel() // self.count)
        own = whole.flatten()[self.rank * size : (self.rank + 1) * size]
        share = own.new_zeros(size)
        share[: len(own)] = own
        return share

    def gathered(self, share: Tensor) -> Tensor:
        """The shares [s] of all processes one after another, [count * s]."""
        whole = share.new_empty(self.count * len(share))
        dist.all_gather_single(whole, share.contiguous())
        return whole

    def exchanged(self, sent: Tensor) -> Tensor:
        """The parts for this process of what all send, each equal parts for every process."""
        received = torch.empty_like(sent)
        dist.all_to_all_single(received, sent)
        return received

    def summed_share(self, values: Tensor) -> Tensor:
        """This process's share [s] of the sum of the values of all, in the order of their ranks.

        The numbers travel in their own format and are added up in float32, or float64 if they are.
        """
        size = -(-values.numel() // self.count)
        sent = values.flatten()
        if self.count * size > len(sent):
            sent = functional.pad(sent, (0, self.count * size - len(sent)))
        first, *others = self.exchanged(sent).view(self.count, size).unbind()
        total = first.to(torch.promote_types(first.dtype, torch.float32), copy=True)
        for other in others:
            total += other
        return total

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up the gradients of all processes, as `sum` does.

        A parameter without a gradient in any process stays without: closed masks skip layers.
        """
        every = list(parameters)
        if self.count == 1 or not every:
            return
        has_one = [float(parameter.grad is not None) for parameter in every]
        holders = torch.tensor(has_one, device=every[0].device)
        self.sum(holders)
        gradients = []
        for parameter, held_by in zip(every, holders.tolist(), strict=True):
            if held_by:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                gradients.append(parameter.grad)
        for bucket in _buckets(gradients):
            joined = torch.cat([gradient.flatten() for gradient in bucket])
            self.sum(joined)
            sizes = [gradient.numel() for gradient in bucket]
            for gradient, total in zip(bucket, joined.split(sizes), strict=True):
                gradient.copy_(total.view_as(gradient))

    def require_same(self, parameters: Iterable[Tensor]) -> None:
        """Check by their sums that all processes hold the same parameters.

        Raises:
            WorkFailed: they do not.
        """
        sums = [value.detach().sum(dtype=torch.float64) for value in parameters]
        if self.count == 1 or not sums:
            return
        own = torch.stack(sums)
        every = own.new_empty(self.count * len(own))
        dist.all_gather_single(every, own)
        if not all(torch.equal(other, own) for other in every.view(self.count, -1)):
            raise WorkFailed(
                f"the {self.count} processes hold different parameters: their devices do not "
                "compute alike, or one read a damaged checkpoint. Nothing was written; run the "
                "same command to go on from the last checkpoint"
            )


ALONE = Processes()


@contextmanager
def joined(rank: int, compute: ComputeSettings) -> Iterator[Processes]:
    """Join the processes of `compute.devices`, of which this one has a rank.

    On Linux this process then gets a SIGTERM if the one that started it dies.

    Raises:
        BadInput: there is no GPU, or fewer than processes.
    """
    if compute.devices == 1:
        yield ALONE
        return
    processes = Processes(rank, compute.devices)
    _end_with_parent()
    device = processes.device(compute.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "gloo" if device.type == "cpu" else "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, timeout=PATIENCE)
    yield processes
    # After a failure the process ends at once, and torchrun ends the others.
    dist.destroy_process_group()


def _end_with_parent() -> None:
    """Let the kernel send this process a SIGTERM when torchrun, which started it, has died."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The gradients in their order, grouped up to `BUCKET` numbers."""
    bucket: list[Tensor] = []
    held = 0
    for gradient in gradients:
        if bucket and held + gradient.numel() > BUCKET:
            yield bucket
            bucket, held = [], 0
        bucket.append(gradient)
        held += gradient.numel()
    if bucket:
        yield bucket
