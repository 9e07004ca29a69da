"""The sparsity constraint on the masks: Lagrange multipliers.

Sheared-LLaMA (Xia et al. 2023), section 2.1: each structure with expected sparsity s and target
sparsity t adds

    lambda (s - t) + phi (s - t)^2

to the loss. The masks minimise it; the multipliers lambda and phi, initially 0, maximise it.
Sparsities are fractions, as in the public code. Heads and neurons have one constraint for each
layer, as in the paper, because every layer must keep the same number. t rises linearly from 0 over
the first steps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lemon.learning.masks import Masks


class Lagrangian(nn.Module):
    """The multipliers of all gated structures."""

    def __init__(self, masks: Masks, *, steps: int, warmup_ratio: float) -> None:
        """The target sparsity rises over the share `warmup_ratio` of the run's `steps`."""
        super().__init__()
        self._masks = [masks]  # in a list, so that its parameters are not registered here
        self._warmup = math.ceil(warmup_ratio * steps)

        def zeros() -> nn.ParameterDict:
            return nn.ParameterDict(
                {name: a.new_zeros(a.shape[:-1]) for name, a in masks.log_alpha.items()}
            )

        self.linear, self.quadratic = zeros(), zeros()

    def target_sparsity(self, name: str, step: int) -> float:
        """t: the share of a structure's units to drop at a step; steps count from 0."""
        structure = self._masks[0].structures[name]
        risen = min(1.0, (step + 1) / self._warmup) if self._warmup else 1.0
        return risen * (1.0 - structure.kept / structure.size)

    def penalty(self, step: int) -> Tensor:
        """The sum of all constraint terms at a step; a differentiable scalar."""
        penalties = []
        for name, keep in self._masks[0].keep_probabilities().items():
            excess = (1.0 - keep.mean(dim=-1)) - self.target_sparsity(name, step)
            terms = self.linear[name] * excess + self.quadratic[name] * excess.square()
            penalties.append(terms.sum())
        return torch.stack(penalties).sum()

    @torch.no_grad()
    def measures(self, step: int) -> dict[str, float]:
        """The logged values of the constraint: means over the layers."""
        values = {}
        for name, keep in self._masks[0].keep_probabilities().items():
            values[f"masks/{name}/sparsity"] = 1.0 - keep.mean().item()
            values[f"masks/{name}/target_sparsity"] = self.target_sparsity(name, step)
            values[f"masks/{name}/lambda"] = self.linear[name].mean().item()
            values[f"masks/{name}/phi"] = self.quadratic[name].mean().item()
        return values
