"""Trained weights that several processes divide among them (decision 0037).

A tensor of n numbers, flat and padded with zeros, makes N shares of s = ceil(n / N) numbers.
Process r keeps share r, its gradient and both moments of the optimiser. The whole tensor exists
where it is used: it is gathered in each pass, and its gradient is summed over the processes, in the
order of their ranks, into the shares.

Shapes: s numbers of a share, L layers of a stack, each of which is divided by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import FunctionCtx

from lemon.training.processes import Processes


class Shard(nn.Parameter):
    """The share [s] of this process in a tensor that trains, or [L, s] of a stack.

    Attributes:
        whole_shape: that of the tensor; of a stack, that of one layer.
        processes: those that divide it.
    """

    whole_shape: torch.Size
    processes: Processes

    def __new__(cls, share: Tensor, whole_shape: Sequence[int], processes: Processes) -> Shard:
        """`share` is what `Processes.share` gives of the tensor, or of each layer."""
        shard: Shard = super().__new__(cls, share)
        if not isinstance(shard, Shard):  # a fake tensor stays one, and becomes a share as well
            shard.__class__ = _share_of(type(shard))
        shard.whole_shape, shard.processes = torch.Size(whole_shape), processes
        return shard

    def whole(self, dtype: torch.dtype) -> Tensor:
        """The whole tensor in a format, differentiable; not for a stack. All processes call it."""
        return self.gathered(self, dtype)

    def gathered(self, share: Tensor, dtype: torch.dtype) -> Tensor:
        """The whole of which each process has a share [s], as of a fused layer; differentiable."""
        whole: Tensor = _Gather.apply(share, self.whole_shape, dtype, self.processes)
        return whole


@cache
def _share_of(kind: type[Tensor]) -> type[Shard]:
    """The class of shares that are tensors of another class, which has operations of its own."""
    return type(f"{kind.__name__}Shard", (kind, Shard), {})


class _Gather(Function):
    """From the shares to the whole tensor; its gradient, summed over the processes, to shares."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        share: Tensor,
        shape: torch.Size,
        dtype: torch.dtype,
        processes: Processes,
    ) -> Tensor:
        ctx.processes = processes  # type: ignore[attr-defined]
        return processes.gathered(share.to(dtype))[: shape.numel()].view(shape)

    @staticmethod
    def backward(ctx: FunctionCtx, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.processes.summed_share(grad_outputs[0]), None, None, None  # type: ignore[attr-defined]


@torch.no_grad()
def whole_value(parameter: nn.Parameter, value: Tensor) -> Tensor:
    """The whole of a value that is held like a parameter: its weights, or a moment of them.

    That of a shard is gathered layer by layer to the CPU of process 0. All processes call it, and
    in the others the result means nothing.
    """
    if not isinstance(parameter, Shard):
        return value
    shares, writes = value.view(-1, value.shape[-1]), parameter.processes.writes
    whole = torch.empty((len(shares) if writes else 0, *parameter.whole_shape), dtype=value.dtype)
    for layer, share in enumerate(shares):
        gathered = parameter.gathered(share, value.dtype)
        if writes:
            whole[layer] = gathered
    return whole.view(*value.shape[:-1], *parameter.whole_shape) if writes else whole


def own_value(parameter: nn.Parameter, whole: Tensor) -> Tensor:
    """What a process holds of a value that `whole_value` gave, as a copy."""
    if not isinstance(parameter, Shard):
        return whole.clone()
    layers = whole.view(-1, *parameter.whole_shape)
    shares = [parameter.processes.share(layer) for layer in layers]
    return torch.stack(shares).view(parameter.shape)


def clip_gradients(parameters: Iterable[nn.Parameter], limit: float) -> float:
    """Scale all gradients to a norm of at most `limit`; returns the norm before.

    The norm is that over the shares of all processes.
    """
    every = list(parameters)
    shards = [parameter for parameter in every if isinstance(parameter, Shard)]
    if not shards:
        return nn.utils.clip_grad_norm_(every, limit).item()
    held = [parameter for parameter in every if not isinstance(parameter, Shard)]
    own, same = (_norm(some) for some in (shards, held))
    squares = own.square()
    shards[0].processes.sum(squares)
    norm = (squares + same.square()).sqrt()
    nn.utils.clip_grads_with_norm_(every, limit, norm)
    return norm.item()


def _norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    """The norm of their gradients."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return nn.utils.get_total_norm(gradients)
