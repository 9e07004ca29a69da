"""One score as a reader sees it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from lemon.reporting.facts.outcomes import perplexity

MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"
SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Cell:
    """One score in words; an empty string where there is nothing to say."""

    value: str = ""
    interval: str = ""
    spread: str = ""
    published: str = ""
    delta: str = ""
    best: bool = False


def accuracy_cell(line: pd.Series, *, best: bool = False) -> Cell:
    """The cell of one task, or of the mean, from its tidy line; percent."""
    published = "" if pd.isna(line["published"]) else f"{line['published']:.1f}"
    if pd.isna(line["value"]):
        return Cell(published=published)
    return Cell(
        value=f"{line['value']:.1f}",
        interval=f"{line['ci_low']:.1f}{DASH}{line['ci_high']:.1f}",
        spread="" if pd.isna(line["seed_sd"]) else f"±{line['seed_sd']:.1f}",
        published=published,
        delta=signed(line["delta"]) if published else "",
        best=best,
    )


def perplexity_cell(heldout: pd.DataFrame, lowest: float | None) -> Cell:
    """The cell of the held-out perplexity from the two tidy lines, indexed by metric.

    The spread over seeds is a factor: exp of the standard deviation of the loss.
    """
    if "loss" not in heldout.index or pd.isna(heldout.loc["loss", "value"]):
        return Cell()
    loss, spread = (float(heldout.loc["loss", name]) for name in ("value", "seed_sd"))
    return Cell(
        value=rounded_perplexity(perplexity(loss)),
        spread="" if math.isnan(spread) else f"×÷{math.exp(min(spread, 700)):.2g}",
        best=lowest is not None and loss == lowest,
    )


def rounded_perplexity(value: float) -> str:
    """Three significant digits: 22.4, 412, 9,210, 2.61×10⁷."""
    if not math.isfinite(value):
        return "∞"
    if value >= 99_950:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa}×10{str(int(exponent)).translate(SUPERSCRIPTS)}"
    if value >= 99.95:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:#.3g}"


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign, the minus as a minus and no negative zero."""
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return ("+" if value > 0 else MINUS) + text


def p_value(value: float) -> str:
    """A p value: `0.031`, `< 0.001`."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def duration(seconds: float) -> str:
    """A time: `42 s`, `6.4 min`, `2.1 h`."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    if seconds < 59.95 * 60:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"
