"""Operators that a run starts from: those of another method or of an earlier run.

Paper, sections 3.2 to 3.6 and Algorithm 1: LEMON-Cut starts from Cut's operators (method.md,
section 7). `lemon` keeps the source weights frozen, `lemon-trained` also trains them, at their own
learning rate: the paper says both (open point 1). `tuned` trains only the weights, and
`shear-selection` trains nothing. All start this way; `lemon.learning.run` does the learning.
"""

from __future__ import annotations

from pathlib import Path

from lemon.errors import BadInput
from lemon.methods.context import BuildContext
from lemon.operators.algebra import Operators
from lemon.operators.file import load_operators

OPERATORS = "operators.safetensors"


def build(context: BuildContext) -> Operators:
    """The operators of the start, unchanged."""
    assert context.start is not None
    return context.start


def operators_of(folder: Path, context: BuildContext) -> Operators:
    """The operators in the folder of an earlier run.

    Operators depend only on sizes, so they can be applied to other weights than those that they
    were learned with: LEMON-Prune applies Shear's selection of layers to the source's weights
    (method.md, open point 20). BadInput if the file is damaged, or is for models of other sizes.
    """
    file = folder / OPERATORS
    operators, _ = load_operators(file)
    if operators.source != context.source.shape or operators.target != context.target:
        raise BadInput(
            f"{file}: maps {operators.source} to {operators.target}, this run maps "
            f"{context.source.shape} to {context.target}; name a start of the same target"
        )
    return operators
