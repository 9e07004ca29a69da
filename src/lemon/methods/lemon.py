"""LEMON: learn the operators. This is where they start from; the learning is `lemon.learning.run`.

Paper, sections 3.2 to 3.6 and Algorithm 1: LEMON-Cut starts from Cut's operators (method.md,
section 7). `lemon` keeps the source weights frozen, `lemon-trained` trains them as well at a rate
of their own: the paper says both (open point 1). They start alike.
"""

from __future__ import annotations

from lemon.errors import BadInput
from lemon.methods.context import BuildContext
from lemon.operators.algebra import Operators


def build(context: BuildContext) -> Operators:
    """The operators of the start, before any learning.

    Raises:
        BadInput: the run names no start, or the start can't be built.
    """
    if context.start is None:
        raise BadInput("a learned run needs a start; name a method such as cut in its start column")
    return context.start(context)
