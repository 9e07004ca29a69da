"""Labels beside points: as near as possible, and never over each other or over a point."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lemon.reporting.figures.label_stacks import GAP, MARGIN, Point, clusters, spread


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([1.0, 3.0], [1.0, 3.0]),  # far apart: where they are
        ([2.0, 2.0], [1.5, 2.5]),  # apart by a line, both as far away
        ([2.0, 2.0, 2.0, 5.0], [1.0, 2.0, 3.0, 5.0]),
        ([0.1, 0.2], [0.5, 1.5]),  # not below 0
        ([9.8, 9.9], [8.5, 9.5]),  # not above the height
        ([], []),
    ],
)
def test_heights_by_hand(wanted: list[float], expected: list[float]) -> None:
    assert spread(wanted, line=1.0, height=10.0) == pytest.approx(expected)


def test_labels_stand_on_the_right_and_the_first_ones_on_the_left() -> None:
    points = [Point(2.0, 1.0, 1.0), Point(2.0, 3.0, 0.5), Point(4.0, 1.0, 1.0)]
    found = clusters(points, line=0.1, height=4.0)
    places = {index: place for cluster in found for index, place in cluster.places.items()}
    assert [place.x for _, place in sorted(places.items())] == [2 - GAP, 2 - GAP, 4 + GAP]
    assert [place.y for _, place in sorted(places.items())] == [1.0, 3.0, 1.0]


def test_a_label_turns_to_the_left_or_joins_a_stack() -> None:
    far = Point(0.5, 9.0, 0.4)
    free = clusters([far, Point(3.0, 1.0, 1.0), Point(3.5, 1.0, 1.0)], line=0.1, height=10.0)
    assert {i: c.on_left for c in free for i in c.points} == {0: True, 1: True, 2: False}
    # The left is taken by a third point, whose own label is on the left.
    near = Point(1.9, 1.0, 0.4)
    joined = clusters([near, Point(3.0, 1.0, 1.0), Point(3.5, 1.0, 1.0)], line=0.1, height=10.0)
    assert sorted(sorted(cluster.points) for cluster in joined) == [[0], [1, 2]]
    [stack] = [cluster for cluster in joined if len(cluster.points) == 2]
    assert {place.x for place in stack.places.values()} == {3.5 + GAP}
    assert sorted(place.y for place in stack.places.values()) == pytest.approx([0.95, 1.05])


inches = st.floats(1.5, 6.0).map(lambda value: round(value, 3))
some_points = st.lists(st.builds(Point, inches, inches, st.floats(0.2, 1.4)), max_size=40)


@given(some_points)
def test_no_label_meets_a_label_or_a_point(points: list[Point]) -> None:
    line, found = 0.1, clusters(points, 0.1, math.inf)
    assert sorted(index for cluster in found for index in cluster.places) == [*range(len(points))]
    boxes = []
    for cluster in found:
        for index, place in cluster.places.items():
            width = points[index].width
            left = place.x - width if cluster.on_left else place.x
            boxes.append((left, left + width, place.y - line / 2, place.y + line / 2))
    slack = 1e-9
    for number, (left, right, bottom, top) in enumerate(boxes):
        for a, b, c, d in boxes[number + 1 :]:
            apart = right <= a + slack or b <= left + slack
            assert apart or top <= c + slack or d <= bottom + slack
        for point in points:
            inside = left - MARGIN < point.x < right + MARGIN
            assert not inside or not bottom < point.y < top
