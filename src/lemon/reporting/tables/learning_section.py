"""What learning took, as a reader sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

from lemon.reporting.facts.costs import Cost, RowCost
from lemon.reporting.tables.cells import duration

LEARNING_NOTE = (
    "Means over seeds. A row that starts from a run that learned carries that run's cost; own is "
    "what it added. The factor compares with the first row of the depth. Time is that of the "
    "learning loop with its held-out evaluations, on the machine that ran it; a repeat gives "
    "another, so the CSV holds steps and tokens only."
)
STAGES_NOTE = (
    "A run on the model of another is the second of two stages and carries the first's cost."
)


@dataclass(frozen=True)
class Amount:
    """A cost in words: in all, the row's own part where it is another, and the factor.

    The factor is relative to the first row of the same depth.
    """

    total: str
    own: str
    factor: str


@dataclass(frozen=True)
class CostLine:
    """The cost of one row."""

    label: str
    start: str
    steps: Amount
    tokens: Amount
    time: Amount


@dataclass(frozen=True)
class CostGroup:
    """The costs of one depth."""

    layers: str
    lines: list[CostLine]


def cost_groups(costs: list[RowCost]) -> list[CostGroup]:
    """Format the costs by depth, in the order of the rows."""
    groups = []
    for layers, found in groupby(costs, key=lambda cost: cost.layers):
        rows = list(found)
        groups.append(CostGroup(str(layers), [_line(row, rows[0].total) for row in rows]))
    return groups


def _line(row: RowCost, first: Cost) -> CostLine:
    def amount(name: str, in_words: Callable[[float], str]) -> Amount:
        total, own, reference = (getattr(cost, name) for cost in (row.total, row.own, first))
        return Amount(
            total=in_words(total),
            own="" if own == total else in_words(own),
            factor=f"×{total / reference:.2f}" if reference else "",
        )

    return CostLine(
        label=row.label,
        start=row.start,
        steps=amount("steps", _whole),
        tokens=amount("tokens", _whole),
        time=amount("seconds", duration),
    )


def _whole(value: float) -> str:
    return f"{value:,.0f}"
