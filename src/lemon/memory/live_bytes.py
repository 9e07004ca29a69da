"""Counts the bytes of tensors that exist at once, of real tensors or of fake ones.

A tensor's bytes are those of its storage, which views share. A storage counts from the operation
that makes it until nothing holds it any more: neither Python nor the graph of the backward pass.
What a library allocates inside an operation is not seen.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ROUNDED_TO = 512  # bytes; CUDA's allocator gives nothing smaller


class LiveBytes(TorchDispatchMode):
    """While it is entered, follows every tensor that an operation returns.

    Attributes:
        now: bytes that exist.
        peak: the most that existed at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                self._follow(value)
        return result

    def _follow(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._known or tensor.device.type == "meta":
            return
        size = -(-storage.nbytes() // ROUNDED_TO) * ROUNDED_TO
        self._known.add(storage)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, size)

    def _gone(self, size: int) -> None:
        self.now -= size


class WithoutValues(LiveBytes):
    """The same of fake tensors, which have sizes and no values.

    A program that asks for a value is given 1/2, or 1 of a whole number; two tensors are equal.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and isinstance(args[0], FakeTensor):
            return 0.5 if args[0].is_floating_point() else 1
        if func is torch.ops.aten.equal.default:
            return True
        return super().__torch_dispatch__(func, types, args, kwargs)


@contextmanager
def fake_tensors() -> Iterator[WithoutValues]:
    """Tensors that are made have no values and take no memory; their bytes are counted."""
    with FakeTensorMode(allow_non_fake_inputs=True), WithoutValues() as counted:
        yield counted
