"""Reference losses by scaling law: the loss that a model of a given size should reach per domain.

L(N) = E + A / N^alpha (Hoffmann et al., arXiv 2203.15556). All models of a family are trained on
the same amount of text, so the law's data term is part of E, and three sizes determine the three
unknowns of a domain (Sheared LLaMA, arXiv 2310.06694, section 2.2 and appendix).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.optimize import brentq

from lemon.published.tables import published_table

# Bounds: below, the law is linear in the logarithm of the size; above, it is a step.
EXPONENTS = (1e-6, 10.0)


@dataclass(frozen=True)
class ScalingLaw:
    """L(N) = asymptote + factor / N^exponent, in nats per token.

    With a small exponent the asymptote is far below any loss. Such a law is valid near the fitted
    sizes, but its asymptote is not the loss of an infinitely large model.
    """

    asymptote: float
    factor: float
    exponent: float

    def loss(self, num_parameters: float) -> float:
        """The loss of a model of this size."""
        return self.asymptote + self.factor * num_parameters**-self.exponent


def fit_scaling_law(sizes: Sequence[float], losses: Sequence[float]) -> ScalingLaw:
    """The law that fits three models of one family exactly.

    The ratio of the two decreases does not depend on asymptote and factor,
    (L1 - L2) / (L2 - L3) = (N1^-a - N2^-a) / (N2^-a - N3^-a), and its right side grows with a.

    The three `sizes`, in parameters, increase and the `losses`, in nats, decrease. ValueError if no
    exponent fits: the loss must fall less for each doubling from the second to the third model than
    before.
    """
    small, middle, large = sizes
    first, second = math.log(middle / small), math.log(large / middle)
    fall = losses[0] - losses[1]
    ratio = math.log(fall / (losses[1] - losses[2]))

    def misfit(exponent: float) -> float:
        """Difference of the logarithms of both sides of the ratio."""
        left, right = exponent * first, exponent * second
        # log(expm1(left)) in a form that does not overflow
        return left + math.log(-math.expm1(-left)) - math.log(-math.expm1(-right)) - ratio

    exponent = brentq(misfit, *EXPONENTS, xtol=1e-15)
    factor = fall * small**exponent / -math.expm1(-exponent * first)
    return ScalingLaw(losses[0] - factor * small**-exponent, factor, exponent)


def scaling_law_references(num_parameters: float) -> dict[str, float]:
    """Reference losses in nats by domain of a LLaMA-2 model with this many parameters."""
    models: dict[str, list[tuple[float, float]]] = {}
    for cell in published_table("reference_losses"):
        if cell["is_extrapolated"] == "0":
            point = (float(cell["num_parameters"]), float(cell["loss"]))
            models.setdefault(cell["domain"], []).append(point)
    return {
        domain: fit_scaling_law(*zip(*sorted(points), strict=True)).loss(num_parameters)
        for domain, points in models.items()
    }
