"""Tests the paper's claims C06 and C07 on the curves of fusion and pruning.

They are read off the mean curves over seeds, without a test of chance: with one run a curve a
verdict is of these two runs. Where no model of a curve predicts the text better than token
frequencies do, there is none.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from lemon.reporting.claims.verdict import BELOW_FLOOR, FAILS, HOLDS, UNRESOLVED
from lemon.reporting.facts.curves import LEMON, PARITY, SHEARED, TuneCurveFacts


def mean_curve(facts: TuneCurveFacts, place: int) -> pd.DataFrame:
    """The mean over seeds of a curve: `step`, `tokens`, `seconds`, `perplexity`.

    `place` is 0 for fusion, 1 for pruning.
    """
    label = facts.spec.curves[place].label
    own = facts.frame[facts.frame["curve"] == label]
    return own.groupby("step", as_index=False)[["tokens", "seconds", "perplexity"]].mean()


def reaches_pruning_sooner(facts: TuneCurveFacts) -> tuple[str, str]:
    """C06: fusion reaches the final perplexity of pruning in the paper's share of its steps.

    That is 2,000 of 4,800, or less. If fusion ends before that share without reaching it, the claim
    is not resolved.
    """
    fusion, pruning = mean_curve(facts, 0), mean_curve(facts, 1)
    last, longest = pruning.iloc[-1], fusion["step"].max()
    share = facts.quoted[LEMON][0] / facts.quoted[SHEARED][0]
    reached = fusion[fusion["perplexity"] <= last["perplexity"]]
    words = f"pruning ends at {last['perplexity']:.4g} after {int(last['step'])} steps, "
    words += f"{last['seconds']:.0f} s; "
    if reached.empty:
        best = fusion["perplexity"].min()
        words += f"fusion gets to {best:.4g} at best in {int(longest)} steps"
        verdict = FAILS if longest >= share * last["step"] else UNRESOLVED
    else:
        first = reached.iloc[0]
        words += (
            f"fusion is there at step {int(first['step'])}, {first['step'] / last['step']:.0%} of "
            f"the steps (paper {share:.0%}) and {first['seconds']:.0f} s"
        )
        verdict = HOLDS if first["step"] <= share * last["step"] else FAILS
    return _judged(facts, words, verdict)


def catches_up_early(facts: TuneCurveFacts) -> tuple[str, str]:
    """C07: fusion leads from the paper's share of its steps on, 500 of 2,000.

    Pruning is read at the steps at which fusion was measured, linearly between its own. Where
    fusion is behind only while neither predicts better than token frequencies, the claim is not
    resolved.
    """
    fusion, pruning = mean_curve(facts, 0), mean_curve(facts, 1)
    both = fusion[fusion["step"] <= pruning["step"].max()]
    rival = np.interp(both["step"], pruning["step"], pruning["perplexity"])
    lead = rival - both["perplexity"]
    early = facts.quoted[PARITY][0] / facts.quoted[LEMON][0]
    late = both["step"] >= early * fusion["step"].max()
    ahead = both.loc[lead > 0, "step"]
    since = f"ahead from step {int(ahead.iloc[0])}" if len(ahead) else "never ahead"
    words = (
        f"pruning minus fusion is {lead.iloc[-1]:+.4g} at step {int(both['step'].iloc[-1])} of "
        f"fusion's {int(fusion['step'].max())}; fusion is {since} (paper {early:.0%} of its steps)"
    )
    behind = late & (lead <= 0)
    beats_floor = both["perplexity"].clip(upper=rival) < facts.floor
    if not behind.any():
        return _judged(facts, words, HOLDS)
    if not (behind & beats_floor).any():
        words += "; where it is behind, both are below the floor"
    return _judged(facts, words, FAILS if (behind & beats_floor).any() else UNRESOLVED)


def _judged(facts: TuneCurveFacts, words: str, verdict: str) -> tuple[str, str]:
    """The words with the number of seeds, and the verdict if a curve gets below the floor."""
    seeds = int(facts.frame.groupby("curve")["seed"].nunique().min())
    words += f" ({seeds} seed{'s' if seeds > 1 else ''} a curve)"
    lowest = facts.frame["perplexity"].min()
    return words, BELOW_FLOOR if lowest >= facts.floor else verdict


MEASURED = {"C06": reaches_pruning_sooner, "C07": catches_up_early}
