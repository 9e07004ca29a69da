"""Operators of an earlier run, as the start of another one."""

from __future__ import annotations

from pathlib import Path

from lemon.errors import BadInput
from lemon.methods.context import BuildContext, Builder
from lemon.operators.algebra import Operators
from lemon.operators.file import load_operators


def operators_of(folder: Path) -> Builder:
    """A builder that gives the operators in a run's folder.

    They are linear maps between sizes, so they may be applied to weights other than those that they
    were learned with: LEMON-Prune takes the layers that Shear keeps, and the source's own weights
    (method.md, open point 20).
    """

    def build(context: BuildContext) -> Operators:
        file = folder / "operators.safetensors"
        operators, _ = load_operators(file)
        if operators.source != context.source.shape or operators.target != context.target:
            raise BadInput(
                f"{file}: joins {operators.source} to {operators.target}, this run joins "
                f"{context.source.shape} to {context.target}; name a start of the same target"
            )
        return operators

    return build
