"""The metrics of a tracker: their names and their digits.

    acc               percent of a task's questions answered rightly, `acc/sciq`
    bpb, share        bits per byte of the right answer; its percent of the choices' probability
    mean-n            in place of a task: the mean over n tasks
    ppl, loss         of held-out text, `ppl/wikipedia`; of tune and training text during learning
    published, delta  what the paper has, `published/acc/sciq`; ours minus that
    dense             the source model's scores on more rows, `dense/acc/sciq`

`metrics.jsonl` has the trainer's own names, which `curve` translates.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lemon.configuration.tasks import DENSE
from lemon.events import read_events
from lemon.perplexity import perplexity_of
from lemon.published.tables import PublishedRow
from lemon.reporting.facts.outcomes import RunResult

DIGITS = 5  # significant ones; the interval of a score is wider
OF_TEXT = {
    **{"train/loss": "loss/train", "train/lm_loss": "loss/lm", "train/kl": "loss/kl"},
    **{"train/states": "loss/states", "train/penalty": "loss/penalty"},
    "tune/perplexity": "ppl/tune",
}
GEOMETRIC = ("ppl/", "temperature")  # means over seeds, as those of a loss and of a logarithm


@dataclass(frozen=True)
class Metric:
    """One value of a metric; `elapsed_ms` is from the start of the run, None means its end."""

    name: str
    value: float
    step: int = 0
    elapsed_ms: int | None = None


def curve(path: Path) -> list[Metric]:
    """The events of a `metrics.jsonl`, for each name and step the last one, in the file's order.

    BadInput if it is damaged.
    """
    last = {(event["name"], event["step"]): event for event in read_events(path)}
    values = []
    for (name, step), event in last.items():
        ours = OF_TEXT.get(name, name.replace("tune/loss/", "loss/tune/"))
        values.append(Metric(ours, rounded(event["value"]), step, round(1000 * event["wall_s"])))
    return values


def run_scores(
    results: Mapping[str, RunResult], averaged: Iterable[tuple[str, ...]]
) -> dict[str, float]:
    """The scores of a run from its results by suite, with means over those of `averaged`, each some
    tasks, that were all scored.
    """
    scores: dict[str, float] = {}
    for prefix, suites in (("", results.keys() - {DENSE}), (f"{DENSE}/", results.keys() & {DENSE})):
        found = [results[suite] for suite in sorted(suites)]
        scored = {task for result in found for task in result.correct}
        for kind, scale, parts in (
            ("acc", 100, [result.correct for result in found]),
            ("bpb", 1, [result.bits_per_byte for result in found]),
            ("share", 100, [result.answer_share for result in found]),
        ):
            by_task = {task: values for part in parts for task, values in part.items()}
            means = {task: scale * float(values.mean()) for task, values in by_task.items()}
            scores |= {f"{prefix}{kind}/{task}": mean for task, mean in means.items()}
            for tasks in averaged:
                shown = [means[task] for task in tasks if task in means]
                if shown and scored.issuperset(tasks):
                    scores[f"{prefix}{kind}/{mean_name(tasks)}"] = sum(shown) / len(shown)
        for heldout in (result.heldout for result in found if result.heldout is not None):
            scores |= {
                **{"loss/heldout": heldout.loss, "loss/calibrated": heldout.calibrated_loss},
                **{f"ppl/{domain}": value for domain, value in heldout.domains.items()},
                "ppl/heldout": heldout.perplexity,
                "ppl/calibrated": perplexity_of(heldout.calibrated_loss),
                "temperature": heldout.temperature,
            }
    return scores


def published_scores(row: PublishedRow, tasks: tuple[str, ...]) -> dict[str, float]:
    """The accuracies that the paper has for a row, of these tasks, and their mean."""
    scores = {f"acc/{task}": row.scores[task] for task in tasks if task in row.scores}
    mean = row.average_over(tasks)
    return scores if mean is None else {**scores, f"acc/{mean_name(tasks)}": mean}


def beside_published(
    scores: Mapping[str, float], published: Mapping[str, float]
) -> dict[str, float]:
    """The scores, with what is published of them and the differences."""
    both = [name for name in published if name in scores]
    return {
        **scores,
        **{f"published/{name}": published[name] for name in both},
        **{f"delta/{name}": scores[name] - published[name] for name in both},
    }


def over_seeds(seeds: list[dict[str, float]]) -> dict[str, float]:
    """The mean over seeds of every metric that all have."""
    found = {}
    for name in seeds[0]:
        values = [scores[name] for scores in seeds if name in scores]
        if len(values) == len(seeds):
            geometric = name.startswith(GEOMETRIC)
            mean = sum(map(math.log, values) if geometric else values) / len(values)
            found[name] = math.exp(mean) if geometric else mean
    return found


def mean_name(tasks: tuple[str, ...]) -> str:
    """The name of a mean over tasks."""
    return f"mean-{len(tasks)}"


def rounded(value: float) -> float:
    """To five significant digits; counts are exact."""
    return value if isinstance(value, int) else float(f"{value:.{DIGITS}g}")
