"""Detects a loss that is not finite or has grown too far to recover."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

WINDOW = 20  # steps


class Divergence:
    """Checks the loss of every step."""

    def __init__(self, factor: float, reference: float | None = None) -> None:
        """Args:
        factor: largest ratio of the mean loss of `WINDOW` steps to the reference.
        reference: in nats; None takes the loss of the first step. Where the loss must rise, as
            while masks close, it is the loss of a uniform distribution.
        """
        self._factor = factor
        self._reference = reference
        self._recent: deque[float] = deque(maxlen=WINDOW)

    def found(self, loss: float, gradient_norm: float) -> str | None:
        """A description of the problem after this step; None without one."""
        if self._reference is None:
            self._reference = loss
        self._recent.append(loss)
        if not (math.isfinite(loss) and math.isfinite(gradient_norm)):
            return f"the loss is {loss} and the gradient's norm {gradient_norm}"
        mean = sum(self._recent) / len(self._recent)
        if len(self._recent) == WINDOW and mean > self._factor * self._reference:
            return (
                f"the loss of the last {WINDOW} steps is {mean:.2f} against "
                f"{self._reference:.2f} at the start"
            )
        return None

    def state(self) -> dict[str, Any]:
        """The state for a checkpoint."""
        return {"reference": self._reference, "recent": list(self._recent)}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore a stored state."""
        self._reference = state["reference"]
        self._recent.extend(state["recent"])
