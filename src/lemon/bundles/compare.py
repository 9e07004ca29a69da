"""Are the scores of a bundle reproduced by scoring its operators anew?

Equal software on an equal processor gives equal numbers, to the last bit. Another processor or
another torch adds up the products of a matrix in another order, and activations of 8 significant
bits (bfloat16) then differ in the last. That moves the probability of an answer a little, and turns
a decision only where two answers were almost as likely. The tolerances say how far.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from lemon.bundles.taken import index_of, runs_to_compare, taken
from lemon.bundles.unpack import unpack
from lemon.configuration.project import Project
from lemon.configuration.tasks import ABLATION
from lemon.errors import BadInput
from lemon.reporting.facts.outcomes import RunResult, read_run, require_same_documents

# Between the AVX-512 and the AVX2 arithmetic of one machine lay 0.005 bits per byte, no answer (100
# questions of SciQ) and 0.0012 nats (nine held-out sequences). Two runs of one size are further
# apart: LEMON-Prune and Shear at 22 layers by 0.07 to 0.17 bits per byte and 8 to 22 % of answers.
MOST_BITS = 0.01  # per byte of the right answer, mean over a task's questions
MOST_CHANGED = 0.03  # share of a task's documents
MOST_LOSS = 0.005  # nats per token, over the held-out text


@dataclass(frozen=True)
class TaskComparison:
    """One task of a run, scored twice.

    Attributes:
        documents: how many questions.
        committed, anew: accuracies.
        changed: questions that were answered correctly only once.
        bits: the absolute difference of the right answer in bits per byte, mean over questions.
    """

    task: str
    documents: int
    committed: float
    anew: float
    changed: int
    bits: float

    @property
    def agrees(self) -> bool:
        """Whether the differences are within the tolerances."""
        return self.changed <= MOST_CHANGED * self.documents and self.bits <= MOST_BITS


@dataclass(frozen=True)
class Comparison:
    """One run, scored twice.

    Attributes:
        same_weights: whether the fused models are equal, to the last bit.
        losses: on held-out text, committed and anew, in nats per token.
        equal: whether no number differs at all.
    """

    run: str
    tasks: list[TaskComparison]
    same_weights: bool
    losses: tuple[float, float]
    equal: bool

    @property
    def agrees(self) -> bool:
        """Whether all differences are within the tolerances."""
        first, second = self.losses
        return abs(first - second) <= MOST_LOSS and all(task.agrees for task in self.tasks)


def compare(project: Project, bundle: Path, folder: Path) -> list[Comparison]:
    """Hold scores in a working folder, with the runs' outcomes in `runs/`, against a bundle's.

    BadInput if the bundle is damaged or lacks scores to compare, or those in the folder are
    missing, damaged, or of other documents.
    """
    runs = runs_to_compare(project, taken(project, bundle, index_of(project, bundle), "bundle"))
    with TemporaryDirectory() as committed:
        unpack(project, bundle, "bundle", Path(committed))
        pairs = [_both(project, run, Path(committed), folder) for run in runs]
    return [_compared(*pair) for pair in pairs]


def in_words(found: Comparison) -> str:
    """The verdict on a run, and its numbers."""
    verdict = "equal" if found.equal else "agrees" if found.agrees else "DIFFERS"
    weights = "equal" if found.same_weights else "not the same bits"
    first, second = found.losses
    within = "" if abs(first - second) <= MOST_LOSS else f"; more than {MOST_LOSS} nats apart"
    return "\n".join(
        [
            f"{found.run}: {verdict}",
            f"  {'':12}committed    anew  answers changed  bits/byte apart",
            *map(_line, found.tasks),
            f"  {'loss':12}{first:9.4f} {second:7.4f}  (nats/token, held-out text{within})",
            f"  fused weights: {weights}",
        ]
    )


def _line(task: TaskComparison) -> str:
    return (
        f"  {task.task:12}{task.committed:9.1%} {task.anew:7.1%}  {task.changed:6} of "
        f"{task.documents:<5}  {task.bits:15.4f}{'' if task.agrees else '  too far'}"
    )


def _both(project: Project, run: str, committed: Path, anew: Path) -> tuple[RunResult, RunResult]:
    tasks = project.suite(ABLATION).tasks
    first, second = (
        read_run(folder / "runs" / project.preset_name, run, tasks) for folder in (committed, anew)
    )
    pair = [replace(first, run=f"{run} in the bundle"), replace(second, run=f"{run} in {anew}")]
    require_same_documents({one.run: one for one in pair}, tasks)
    if first.heldout is None or second.heldout is None:
        raise BadInput(f"{anew}: {run} was not scored on held-out text; score it again")
    return first, second


def _compared(committed: RunResult, anew: RunResult) -> Comparison:
    tasks = [
        TaskComparison(
            task=task,
            documents=correct.size,
            committed=float(correct.mean()),
            anew=float(anew.correct[task].mean()),
            changed=int((correct != anew.correct[task]).sum()),
            bits=float(np.abs(committed.bits_per_byte[task] - anew.bits_per_byte[task]).mean())
            if committed.bits_per_byte[task].size
            else 0.0,  # no answer is right
        )
        for task, correct in committed.correct.items()
    ]
    assert committed.heldout is not None and anew.heldout is not None
    first, second = committed.heldout, anew.heldout
    before, now = (result.manifest["inputs"].get("weights") for result in (committed, anew))
    same = first.loss == second.loss and all(
        np.array_equal(losses, second.sequences[domain])
        for domain, losses in first.sequences.items()
    )
    return Comparison(
        run=committed.run,
        tasks=tasks,
        same_weights=before is not None and before == now,
        losses=(first.loss, second.loss),
        equal=same and not any(task.changed or task.bits for task in tasks),
    )
