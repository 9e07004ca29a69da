"""The questions of a task, each with the requests that score it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lemon.evaluation.prompts import Fewshot

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.api.task import ConfigurableTask


@dataclass(frozen=True)
class Question:
    """One row of a task with the requests that score it, one for each answer.

    Attributes:
        id: index in the scored split; for MMLU the index in the round-robin order over subjects.
        requests: log-likelihood requests, or a single request for a generated answer.
        rules: lm-eval's task, which judges the answers.
        group: MMLU's subject; questions of one group share their few-shot examples.
        shots: number of few-shot examples in its prompt.
    """

    id: int
    row: dict[str, Any]
    requests: list[Instance]
    rules: ConfigurableTask
    group: str | None = None
    shots: int = 0

    @property
    def num_characters(self) -> int:
        """Length of the longest request, including its answer."""
        return max(
            sum(len(text) for text in request.args if isinstance(text, str))
            for request in self.requests
        )


@dataclass(frozen=True)
class Task:
    """A task ready to be scored.

    Attributes:
        metric: the paper's: "acc", "acc_norm" or "exact_match" (method section 10).
        available: rows of the split. `questions` are the first ones, up to the limit; for MMLU the
            first in round-robin order over the subjects, then ordered by subject.
        shots_asked: number of few-shot examples in the paper.
    """

    name: str
    version: str
    split: str
    metric: str
    available: int
    questions: list[Question]
    lm_eval_task: ConfigurableTask
    fewshot: Fewshot
    shots_asked: int

    @property
    def shots(self) -> int:
        """The smallest number of few-shot examples in a prompt; it may differ between groups."""
        return min(question.shots for question in self.questions)

    @property
    def shots_by_group(self) -> dict[str, int]:
        """Few-shot examples in the prompts of each group; empty without groups."""
        return {one.group: one.shots for one in self.questions if one.group is not None}

    @property
    def prompts_digest(self) -> str:
        """SHA-256 over all requests: contexts, answers and stop strings."""
        digest = hashlib.sha256()
        for question in self.questions:
            for request in question.requests:
                digest.update(json.dumps(request.args, sort_keys=True).encode() + b"\n")
        return digest.hexdigest()

    @property
    def rows_digest(self) -> str:
        """SHA-256 over the content of the scored rows."""
        digest = hashlib.sha256()
        for question in self.questions:
            line = json.dumps(question.row, sort_keys=True, ensure_ascii=False, default=str)
            digest.update(line.encode() + b"\n")
        return digest.hexdigest()
