"""Starts are ranked against what becomes of them: the test of claim C16."""

from __future__ import annotations

from pathlib import Path

import pytest
from claimed_tables import MEASURES, comparison, judged, measured, write_table

from lemon.configuration.project import Project
from lemon.reporting.claims.derived import concordance_chances
from lemon.reporting.claims.ledger import Judgement
from lemon.reporting.claims.verdict import HOLDS
from lemon.reporting.facts.evidence import evidence
from lemon.reporting.tables.ledger import reason_of


def test_concordance_by_hand() -> None:
    # The six orders of three have 3, 1, 1, -1, -1, -3.
    three = concordance_chances([3])
    assert three == pytest.approx({3: 1 / 6, 1: 2 / 6, -1: 2 / 6, -3: 1 / 6})
    two_groups = concordance_chances([3, 2])  # and the two of two have 1 and -1
    assert two_groups == pytest.approx({4: 1 / 12, 2: 3 / 12, 0: 4 / 12, -2: 3 / 12, -4: 1 / 12})


def ranked(*pairs: tuple[str, str, float, float]) -> list[dict]:
    """Comparisons of results with their starts, whose bits per byte are given; less is better."""
    found = []
    for first, second, result, start in pairs:
        one = comparison(None, first, second, HOLDS)
        own = measured(HOLDS, first=result, second=start)
        found.append({**one, "measures": dict.fromkeys(MEASURES, own)})
    return found


OPERATORS = {"lemon-cut": "cut", "lemon-average": "average", "lemon-random": "random"}
PRUNED = {"lemon-prune": "shear-selection", "lemon-come": "come", "lemon-sleb": "sleb"}
SAME, SWAPPED = (1.0, 2.0, 3.0), (2.0, 1.0, 3.0)
WAITING = ["controls", "methods-trained", "table4"]  # with starts made, the others that rank some


def of_depth(
    depth: int, starts: dict[str, str], results: tuple[float, ...]
) -> list[tuple[str, str, float, float]]:
    """Three starts of a depth and of equal rates, the first the best, and what becomes of them."""
    seed = {"random": "-s0"}
    return [
        (f"{fused}-{depth}", f"{start}-{depth}{seed.get(start, '')}", result, float(rank))
        for rank, ((fused, start), result) in enumerate(zip(starts.items(), results, strict=True))
    ]


def test_starts_are_ranked_against_their_results(project: Project, tmp_path: Path) -> None:
    groups = [(depth, kind) for depth in (75, 50) for kind in (OPERATORS, PRUNED)]

    def write(*results: tuple[float, ...]) -> Judgement:
        pairs = [of_depth(*group, order) for group, order in zip(groups, results, strict=False)]
        write_table(tmp_path, "starts", *ranked(*(one for group in pairs for one in group)))
        return judged(project, tmp_path)["C16"]

    found = write(SAME, SAME, SAME, SWAPPED)
    # 11 of 12 pairs agree: of 1296 orders one is better, eight are as good, as many are opposite.
    assert found.verdict == "holds"
    words = found.parts[0].measured
    assert f"tau {10 / 12:+.2f} over 12 pairs of starts of equal sizes (groups: 4;" in words
    assert words.endswith(f" p = {2 * 9 / 1296:.3f}); rates operators, operators-pruned")
    assert found.parts[0].seeds == 1
    found = write(SAME)
    assert found.verdict == "undecided"  # 2 of 6 orders are as extreme
    assert found.parts[0].measured.endswith(" p = 0.333), could show nothing")
    assert [one.name for one in found.waiting] == WAITING
    assert write(*[SAME[::-1]] * 4).verdict == "does not hold"


def test_starts_are_grouped_by_the_shape_of_their_model_and_by_rates(
    project: Project, tmp_path: Path
) -> None:
    starts = evidence(project, tmp_path).starts
    come, tied = starts["lemon-come-75"], starts["lemon-ff-merge-75"]
    assert come.rates == tied.rates and come.group != tied.group
    assert come.group == starts["lemon-prune-75"].group
    assert come.group != starts["lemon-cut-75"].group


def test_two_starts_of_a_size_are_not_ranked(project: Project, tmp_path: Path) -> None:
    write_table(tmp_path, "starts", *ranked(*of_depth(75, OPERATORS, SAME)[:2]))
    found = judged(project, tmp_path)["C16"]
    assert (found.verdict, [one.name for one in found.waiting]) == ("not tested", WAITING)
    assert reason_of(found).startswith(
        "no three starts of equal sizes, steps and rates are compared"
    )
