"""The scores of a run as metrics of a tracker, under the names that the CSV of a table has."""

from __future__ import annotations

from lemon.perplexity import perplexity_of
from lemon.reporting.facts.outcomes import RunResult
from lemon.reporting.facts.scores import BITS, SHARE


def run_scores(result: RunResult) -> dict[str, float]:
    """The scores of a run, by metric, as in the CSV of a table; means are over tasks."""
    scores: dict[str, float] = {}
    for prefix, mean, scale, by_task in (
        ("acc", "mean", 100, result.correct),
        (BITS, BITS, 1, result.bits_per_byte),
        (SHARE, SHARE, 100, result.answer_share),
    ):
        means = {task: scale * float(values.mean()) for task, values in by_task.items()}
        scores |= {f"{prefix}/{task}": value for task, value in means.items()}
        scores |= {mean: sum(means.values()) / len(means)} if means else {}
    if (heldout := result.heldout) is not None:
        scores["loss"] = heldout.loss
        scores["perplexity"] = heldout.perplexity
        scores["calibrated_perplexity"] = perplexity_of(heldout.calibrated_loss)
        scores["temperature"] = heldout.temperature
        scores |= {f"perplexity/{name}": value for name, value in heldout.domains.items()}
    return scores
