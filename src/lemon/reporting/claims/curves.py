"""Tests the paper's claims C06 and C07 on the curves of fusion and pruning.

One run a curve says nothing of the spread over seeds; then the verdict is of these runs.
"""

from __future__ import annotations

import pandas as pd

from lemon.reporting.claims.verdict import FAILS, HOLDS
from lemon.reporting.facts.curves import TuneCurveFacts

FAR_FEWER = 0.42  # of the steps of pruning: 2000 of 4800, section 4.3 of the paper
EARLY = 0.25  # of the steps of fusion: 500 of 2000


def mean_curve(facts: TuneCurveFacts, place: int) -> pd.DataFrame:
    """The mean curve over seeds: `step`, `seconds`, `perplexity`; `place` counts the curves."""
    label = facts.spec.curves[place].label
    own = facts.frame[facts.frame["curve"] == label]
    return own.groupby("step", as_index=False)[["tokens", "seconds", "perplexity"]].mean()


def reaches_pruning_sooner(facts: TuneCurveFacts) -> tuple[str, str]:
    """C06: fusion reaches the final perplexity of pruning in at most 42 % of its steps."""
    fusion, pruning = mean_curve(facts, 0), mean_curve(facts, 1)
    last = pruning.iloc[-1]
    reached = fusion[fusion["perplexity"] <= last["perplexity"]]
    goal = f"pruning ends at {last['perplexity']:.4g} after {int(last['step'])} steps"
    if reached.empty:
        best = fusion["perplexity"].min()
        return f"{goal}; fusion gets to {best:.4g} at best", FAILS
    first = reached.iloc[0]
    words = (
        f"{goal}, {last['seconds']:.0f} s; fusion is there at step {int(first['step'])}, "
        f"{first['step'] / last['step']:.0%} of the steps and {first['seconds']:.0f} s"
    )
    return words, HOLDS if first["step"] <= FAR_FEWER * last["step"] else FAILS


def catches_up_early(facts: TuneCurveFacts) -> tuple[str, str]:
    """C07: fusion is at least level with pruning from a quarter of its steps on, and then leads.

    Pruning is read at the steps at which fusion was measured, linearly between its own.
    """
    fusion, pruning = mean_curve(facts, 0), mean_curve(facts, 1)
    both = fusion[fusion["step"] <= pruning["step"].max()].copy()
    both["pruning"] = _at(pruning, both["step"])
    lead = both["pruning"] - both["perplexity"]
    early = both["step"] >= EARLY * fusion["step"].max()
    ahead = both.loc[lead > 0, "step"]
    since = f"ahead from step {int(ahead.iloc[0])}" if len(ahead) else "never ahead"
    words = (
        f"pruning minus fusion is {lead.iloc[-1]:+.4g} at step {int(both['step'].iloc[-1])} of "
        f"fusion's {int(fusion['step'].max())}; fusion is {since}"
    )
    return words, HOLDS if (lead[early] > 0).all() else FAILS


def _at(curve: pd.DataFrame, steps: pd.Series) -> list[float]:
    """The perplexity of a curve at these steps, linear between its measurements."""
    whole = curve.set_index("step")["perplexity"]
    union = whole.reindex(sorted({*whole.index, *steps})).interpolate(method="index")
    return [float(union[step]) for step in steps]


MEASURED = {"C06": reaches_pruning_sooner, "C07": catches_up_early}
