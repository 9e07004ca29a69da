"""Tests the paper's claim C25 on learned layer operators."""

from __future__ import annotations

import numpy as np

from lemon.configuration.figure_specs import FigureSpec
from lemon.reporting.claims.verdict import FAILS, HOLDS
from lemon.reporting.facts.figure import FigureFacts
from lemon.reporting.facts.layer_operators import gamma_of, start_layers
from lemon.similarity.profile import offset_profile


def shrinks_with_distance(facts: FigureFacts[FigureSpec]) -> tuple[str, str]:
    """C25: the learned change decreases with the distance from the start layer, to negative values.

    Measured on gamma minus its start; the means leave out the offset 0: near is within a quarter of
    the source's layers, far is beyond half.
    """
    words, verdicts = [], []
    for panel, lines in facts.frame.groupby("panel"):
        start = gamma_of(facts.frame, int(panel), "start")
        change = gamma_of(facts.frame, int(panel)) - start
        profile = offset_profile(change, start_layers(start))
        distance, layers = np.abs(profile.offsets), change.shape[1]
        near, far = (
            float(np.average(profile.means[within], weights=profile.counts[within]))
            for within in ((distance > 0) & (distance <= layers / 4), distance > layers / 2)
        )
        words.append(
            f"{lines['label'].iloc[0]}: mean change {near:+.4f} near, {far:+.4f} far, rank "
            f"correlation with distance {profile.rank_correlation:.2f}"
        )
        falls = profile.rank_correlation < 0 and near > far and far < 0
        verdicts.append(HOLDS if falls else FAILS)
    if len(verdicts) > 1:
        words.append(f"it holds of {verdicts.count(HOLDS)} of {len(verdicts)} panels")
    return "; ".join(words), HOLDS if set(verdicts) == {HOLDS} else FAILS


MEASURED = {"C25": shrinks_with_distance}
