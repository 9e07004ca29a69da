"""Places for the labels of many points, so that no label overlaps another label or a point.

Points whose labels would collide form a cluster. Its labels stand in one stack beside its outermost
point, each as near as possible to the height of its own point: on the right, or on the left where
that avoids a collision and for the first points in x. Lengths are in inches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.optimize import isotonic_regression

GAP = 0.16  # from the outermost point of a cluster to its labels
MARGIN = 0.05  # around a point


@dataclass(frozen=True)
class Point:
    """A point with its label's width."""

    x: float
    y: float
    width: float


@dataclass(frozen=True)
class Place:
    """The end of a label that is next to its point (x), and its middle (y)."""

    x: float
    y: float


@dataclass(frozen=True)
class Cluster:
    """Points with their labels in one stack.

    Attributes:
        on_left: whether the labels stand on the left.
        points: by index.
        places: of their labels.
        across, up: the ends of the box around points and labels, in x and in y.
    """

    on_left: bool
    points: dict[int, Point]
    places: dict[int, Place]
    across: tuple[float, float]
    up: tuple[float, float]

    @classmethod
    def of(
        cls, points: dict[int, Point], line: float, height: float, *, on_left: bool = False
    ) -> Cluster:
        """The cluster of these points; arguments as of `clusters`."""
        first, last = (end(point.x for point in points.values()) for end in (min, max))
        ordered = sorted(points, key=lambda index: points[index].y)
        heights = spread([points[index].y for index in ordered], line, height)
        ends = [y for point in points.values() for y in (point.y - MARGIN, point.y + MARGIN)]
        width = GAP + max(point.width for point in points.values()) + MARGIN
        x = first - GAP if on_left else last + GAP
        return cls(
            on_left,
            points,
            {index: Place(x, y) for index, y in zip(ordered, heights, strict=True)},
            (first - width, last + MARGIN) if on_left else (first - MARGIN, last + width),
            (min(*ends, heights[0] - line / 2), max(*ends, heights[-1] + line / 2)),
        )

    def meets(self, other: Cluster) -> bool:
        """Whether the boxes overlap."""
        pairs = ((self.across, other.across), (self.up, other.up))
        return all(one[0] < two[1] and two[0] < one[1] for one, two in pairs)

    def is_free(self, others: Sequence[Cluster]) -> bool:
        """Whether it overlaps none of the others and does not leave the axis."""
        return self.across[0] >= 0 and not any(self.meets(other) for other in others)


def clusters(points: Sequence[Point], line: float, height: float) -> list[Cluster]:
    """Clusters that do not overlap, on an axis that begins at 0.

    At first every point is one, except that the first points in x are together. Of two that
    overlap, one turns to the left if it is free there; otherwise they are joined.

    Lines of a stack are `line` apart, between 0 and `height`; a stack that is too high for that
    goes on above `height`.
    """
    leftmost = min((point.x for point in points), default=0.0)
    first = {i: point for i, point in enumerate(points) if point.x <= leftmost + 2 * MARGIN}
    found = [Cluster.of(first, line, height, on_left=True)] if first else []
    for index, point in enumerate(points):
        if index not in first:
            found.append(Cluster.of({index: point}, line, height))
    while pair := next((two for two in combinations(found, 2) if two[0].meets(two[1])), None):
        for one in pair:
            others = [cluster for cluster in found if cluster is not one]
            turned = Cluster.of(one.points, line, height, on_left=True)
            if not one.on_left and turned.is_free(others):
                found = [*others, turned]
                break
        else:
            others = [cluster for cluster in found if cluster not in pair]
            both = pair[0].points | pair[1].points
            right, left = (Cluster.of(both, line, height, on_left=side) for side in (False, True))
            goes_left = left.is_free(others) and not right.is_free(others)
            found = [*others, left if goes_left else right]
    return found


def spread(wanted: Sequence[float], line: float, height: float) -> list[float]:
    """The heights nearest to ascending `wanted` (least squares) that are at least `line` apart.

    Less the room of the labels below, wanted and found heights must ascend: an isotonic regression.
    """
    if not wanted:
        return []
    room = line * np.arange(len(wanted))
    means = isotonic_regression(np.asarray(wanted) - room).x
    lowest, highest = line / 2, height - line / 2 - room[-1]
    return (np.maximum(lowest, np.minimum(means, highest)) + room).tolist()
