"""The constraint on the masks: the expected sparsity is the target's.

Sheared-LLaMA (Xia et al. 2023), section 2.1: for each structure with expected sparsity s and target
sparsity t the loss gets

    lambda (s - t) + phi (s - t)^2,

which the masks minimise and the multipliers lambda and phi, both 0 at the start, maximise.
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
    """The multipliers of every structure that shrinks."""

    def __init__(self, masks: Masks, *, steps: int, warmup_ratio: float) -> None:
        """Args:
        masks: whose sparsity is constrained.
        steps: of the whole run.
        warmup_ratio: share of the steps over which the target sparsity rises.
        """
        super().__init__()
        self._masks = [masks]  # in a list, so that its parameters are not ours too
        self._warmup = math.ceil(warmup_ratio * steps)

        def zeros() -> nn.ParameterDict:
            return nn.ParameterDict(
                {
                    name: nn.Parameter(log_alpha.new_zeros(log_alpha.shape[:-1]))
                    for name, log_alpha in masks.log_alpha.items()
                }
            )

        self.linear, self.quadratic = zeros(), zeros()

    def target_sparsity(self, name: str, step: int) -> float:
        """t: the share of a structure's units that should be dropped at a step, from 0."""
        structure = self._masks[0].structures[name]
        risen = min(1.0, (step + 1) / self._warmup) if self._warmup else 1.0
        return risen * (1.0 - structure.kept / structure.size)

    def penalty(self, step: int) -> Tensor:
        """The sum of all constraints at a step; a scalar, differentiable."""
        penalties = []
        for name, keep in self._masks[0].keep_probabilities().items():
            excess = (1.0 - keep.mean(dim=-1)) - self.target_sparsity(name, step)
            terms = self.linear[name] * excess + self.quadratic[name] * excess.square()
            penalties.append(terms.sum())
        return torch.stack(penalties).sum()

    @torch.no_grad()
    def measures(self, step: int) -> dict[str, float]:
        """What is logged of the constraint, means over the layers."""
        values = {}
        for name, keep in self._masks[0].keep_probabilities().items():
            values[f"masks/{name}/sparsity"] = 1.0 - keep.mean().item()
            values[f"masks/{name}/target_sparsity"] = self.target_sparsity(name, step)
            values[f"masks/{name}/lambda"] = self.linear[name].mean().item()
            values[f"masks/{name}/phi"] = self.quadratic[name].mean().item()
        return values
