"""Reads the answers to the questions of a task, and measures each.

Accuracy counts a document as right or wrong; two continuous measures use the log-likelihoods l of
its choices. With g the right one, of b bytes,

    answer bits per byte = -l_g / (b ln 2)                     (lower is better)
    answer share         = exp(l_g) / sum_c exp(l_c)           (of several choices)

On few documents they order small models where accuracy can't (Magnusson et al. 2025, DataDecide,
arXiv 2504.11393).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax

from lemon.errors import BadInput
from lemon.evaluation.outcomes import read_sealed
from lemon.files.manifest import checked_file

NEEDED = ("id", "correct", "loglikelihoods", "bytes", "gold")  # columns of a task's outcomes
AGAIN = "remove it and evaluate the run again"


@dataclass(frozen=True)
class Answers:
    """The measures of each document of a task, sorted by document id.

    Attributes:
        ids: [documents].
        correct: by the metric of the paper, [documents].
        bits_per_byte: of the right answer, [documents with one].
        share: of the right answer among the choices, [documents with one]; None if a document has
            a single given answer.
    """

    ids: NDArray[np.int64]
    correct: NDArray[np.bool_]
    bits_per_byte: NDArray[np.float64]
    share: NDArray[np.float64] | None


def read_answers(path: Path) -> Answers:
    """Read the outcomes of one task.

    Raises:
        BadInput: the file is missing or damaged, was written before right answers were kept, or
            holds a document twice.
    """
    rows, _ = read_sealed(checked_file(path))
    lacking = [name for name in NEEDED if rows and name not in rows[0]]
    if lacking:
        raise BadInput(
            f"{path}: has no {', '.join(lacking)}; it is of an earlier version, which did not keep "
            f"right answers; {AGAIN}"
        )
    outcomes = pd.DataFrame(rows, columns=list(NEEDED))
    if outcomes.empty or outcomes["id"].duplicated().any() or outcomes["correct"].isna().any():
        raise BadInput(
            f"{path}: holds no documents, or one twice or without an answer; remove it and rerun"
        )
    outcomes = outcomes.sort_values("id")
    bits, shares, several = [], [], True
    for row in outcomes[outcomes["gold"] >= 0].itertuples():
        scores, sizes, gold = row.loglikelihoods, row.bytes, row.gold
        is_scored = len(scores) == len(sizes) > gold and np.isfinite(scores).all()
        if not (is_scored and sizes[gold] > 0):
            raise BadInput(
                f"{path}: a right answer has no finite log-likelihood or no bytes; {AGAIN}"
            )
        bits.append(-float(scores[gold]) / (np.log(2) * sizes[gold]))
        shares.append(float(softmax(scores)[gold]))
        several = several and len(scores) > 1
    return Answers(
        ids=outcomes["id"].to_numpy(dtype=np.int64),
        correct=outcomes["correct"].to_numpy(dtype=bool),
        bits_per_byte=np.array(bits),
        share=np.array(shares) if shares and several else None,
    )
