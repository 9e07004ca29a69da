"""Claims that no single comparison tests: C04 and C16, and those that have no test here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import combinations

import numpy as np

from lemon.reporting.claims.orderings import OrderingTest
from lemon.reporting.claims.parts import Part, fewest_seeds, orderings, part_of
from lemon.reporting.claims.verdict import (
    BELOW_FLOOR,
    FAILS,
    HOLDS,
    MEASURES_IN_WORDS,
    NOT_TESTED,
    UNRESOLVED,
)
from lemon.reporting.facts.evidence import EntryEvidence, Evidence
from lemon.reporting.facts.statistics import LEVEL

WINS = ("C01", "C02")  # the claims whose task by task results are those of C04
LOST = 1  # of eleven tasks the paper loses one at each size
FEWEST_TASKS = 3  # of which one may be lost
FEWEST_STARTS = 3  # of a group: two starts are in the right order every other time
RANKS = "exact permutation test of ranks"
TOO_FEW = "no three starts of equal sizes, steps and rates are compared with their results"
Found = tuple[list[Part], list[EntryEvidence]]

# Of claims without a test at any preset, why.
UNTESTED = {
    "C29": "no training can show an exact equality; tests/unit/test_fuse.py proves it bit for bit "
    "(test_one_hot_gamma_is_the_hand_dropped_model_bit_for_bit, "
    "test_selection_is_the_hand_sliced_model_bit_for_bit)",
    "F04": "one window of a size is trained, the best of all on the tune text",
}


def tasks_won(measure: str, evidence: Evidence) -> Found:
    """C04: of the comparisons of C01 and C02, how many tasks are won, and how many lost.

    A task is won or lost if its own test resolves it after Holm over the tasks. The claim holds if
    all tasks but one are won, and does not hold if more than one is lost. Of fewer than three tasks
    none may be lost.
    """
    parts, waiting = [], []
    for entry in evidence.entries:
        if not entry.claims & {*WINS}:
            continue
        tests = [test for test in orderings(entry) if test.claim in WINS]
        parts += [_task_part(test, measure, entry.name, evidence) for test in tests]
        waiting += [] if tests else [entry]
    return parts, waiting


def _task_part(test: OrderingTest, measure: str, entry: str, evidence: Evidence) -> Part:
    resolved = [task for task in test.tasks if task.p_adjusted < LEVEL]
    won = sum(task.difference > 0 for task in resolved)
    lost = sum(task.difference < 0 for task in resolved)
    ahead = sum(task.difference > 0 for task in test.tasks)
    verdict = of_tasks(won, lost, len(test.tasks))
    least = min((abs(task.difference) for task in resolved), default=None)
    words = f"{won} of {len(test.tasks)} tasks won and {lost} lost, resolved one by one; ahead on "
    words += f"{ahead}"
    if verdict == UNRESOLVED:
        words += (
            f"; smallest resolved difference {least:.1f} points" if least else "; none resolved"
        )
    below = test.untested == BELOW_FLOOR
    return replace(
        part_of(test, measure, entry, evidence),
        found=test.untested or verdict,
        test="" if below else "each task by itself, Holm over tasks",
        effect=None,
        measured="" if below else words,
        reason=test.not_tested or ("" if test.tasks else "the models have no task in common"),
        others={},
    )


def of_tasks(won: int, lost: int, tasks: int) -> str:
    """The verdict on so many tasks, of which so many are won and lost."""
    if not tasks:
        return NOT_TESTED
    may_lose = LOST if tasks >= FEWEST_TASKS else 0
    if lost > may_lose:
        return FAILS
    return HOLDS if won >= max(1, tasks - may_lose) else UNRESOLVED


def starts_rank_results(measure: str, evidence: Evidence) -> Found:
    """C16: whether better starts give better models, over all starts of equal sizes and steps.

    By every table that compares a run whose operators were learned with its start as it is. Pairs
    below the floor and groups of fewer than three are left out. On each measure the concordance is
    Kendall's, added over groups, and tested against all orders of the results in each group.
    Entries that are not made and could add pairs are returned with it.
    """
    pairs: dict[tuple[str, str], tuple[str, OrderingTest]] = {}
    for entry in evidence.entries:
        for test in orderings(entry):
            pair = test.first_runs[0], test.second_runs[0]
            if _is_start(pair, evidence) and not test.gains:
                pairs.setdefault(pair, (entry.name, test))
    above = {pair: found for pair, found in pairs.items() if not found[1].below_floor}
    groups = _grouped(above, evidence)
    waiting = _could_add(pairs, evidence)
    if not groups:
        below = bool(_grouped(pairs, evidence))
        part = Part("", BELOW_FLOOR, "") if below else Part("", NOT_TESTED, "", reason=TOO_FEW)
        return [part], waiting
    tests = [[above[pair] for pair in group] for group in groups]
    by_measure = {name: _ranked(tests, name) for name in MEASURES_IN_WORDS}
    names = dict.fromkeys(name for group in tests for name, _ in group)
    seeds = [fewest_seeds(test, evidence) for group in tests for _, test in group]
    verdict, words = by_measure.pop(measure)
    rates = sorted({str(evidence.starts[first].rates) for group in groups for first, _ in group})
    words += f"; rates {', '.join(rates)}" if len(rates) > 1 else ""
    part = Part(
        entry=", ".join(names),
        found=verdict,
        test=RANKS,
        measure=measure,
        measured=words,
        reason="the models have no score on the measure" if verdict == NOT_TESTED else "",
        others={name: verdict for name, (verdict, _) in by_measure.items()},
        compared="; ".join(first for group in groups for first, _ in group),
        seeds=min((count for count in seeds if count is not None), default=None),
    )
    return [part], waiting


def _could_add(found: Iterable[tuple[str, str]], evidence: Evidence) -> list[EntryEvidence]:
    """The entries that are not made and have a pair for a group that is then large enough."""
    known = {*found}
    added = {
        entry.name: {pair for pair in entry.pairs if _is_start(pair, evidence)} - known
        for entry in evidence.entries
        if entry.state != "made"
    }
    usable = {pair for group in _grouped(known.union(*added.values()), evidence) for pair in group}
    return [entry for entry in evidence.entries if usable & added.get(entry.name, set())]


def _is_start(pair: tuple[str, str], evidence: Evidence) -> bool:
    first, second = pair
    return first in evidence.starts and second in evidence.starts[first].models


def _grouped(pairs: Iterable[tuple[str, str]], evidence: Evidence) -> list[list[tuple[str, str]]]:
    """The pairs of a result and its start by equal sizes, steps and rates; groups large enough."""
    groups: dict[object, list[tuple[str, str]]] = defaultdict(list)
    for pair in pairs:
        groups[evidence.starts[pair[0]].group].append(pair)
    return [group for group in groups.values() if len(group) >= FEWEST_STARTS]


def _ranked(groups: list[list[tuple[str, OrderingTest]]], measure: str) -> tuple[str, str]:
    """The verdict of the concordance on a measure, and the words for it."""
    concordance, sizes = 0, []
    for group in groups:
        ends = [test.measures[measure] for _, test in group if measure in test.measures]
        sizes.append(len(ends))
        for one, other in combinations(ends, 2):
            concordance += int(
                np.sign(one.first - other.first) * np.sign(one.second - other.second)
            )
    chances = concordance_chances(sizes)
    most = max(chances)
    if most == 0:
        return NOT_TESTED, ""
    p_value = _p_value(chances, concordance)
    resolving = [value for value in chances if value > 0 and _p_value(chances, value) < LEVEL]
    verdict = UNRESOLVED if p_value >= LEVEL else HOLDS if concordance > 0 else FAILS
    words = f"Kendall's tau {concordance / most:+.2f} over {most} pairs of starts of equal "
    words += f"sizes (groups: {len(sizes)}; p = {p_value:.3f})"
    if verdict == UNRESOLVED:
        least = min(resolving, default=None)
        words += f", could show {least / most:.2f}" if least else ", could show nothing"
    return verdict, words


def concordance_chances(sizes: Iterable[int]) -> dict[int, float]:
    """The probability of each sum of Kendall's concordances of groups in random order.

    A group of n has n (n - 1) / 2 pairs; its discordant ones are the inversions of a random order,
    a sum of independent numbers, uniform on 0 to k for k below n.
    """
    inversions = np.ones(1)
    for size in sizes:
        for most in range(1, size):
            inversions = np.convolve(inversions, np.full(most + 1, 1 / (most + 1)))
    pairs = len(inversions) - 1
    return {pairs - 2 * number: float(chance) for number, chance in enumerate(inversions)}


def _p_value(chances: Mapping[int, float], observed: int) -> float:
    """Two-sided: of a sum at least as far from zero."""
    return sum(chance for value, chance in chances.items() if abs(value) >= abs(observed))


DERIVED: dict[str, Callable[[str, Evidence], Found]] = {
    "C04": tasks_won,
    "C16": starts_rank_results,
}
