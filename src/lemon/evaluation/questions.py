"""The questions of a task, each with the requests that score it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lemon.evaluation.prompts import Fewshot

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.api.task import ConfigurableTask


@dataclass(frozen=True)
class Question:
    """One row of a task with the requests that score it, one for each answer."""

    id: int  # index in the scored split; for MMLU in the round-robin order over subjects
    row: dict[str, Any]
    requests: list[Instance]  # log-likelihoods, or a single generated answer
    group: str | None = None  # MMLU's subject; a group shares its few-shot examples
    shots: int = 0  # few-shot examples in its prompt

    @property
    def num_characters(self) -> int:
        """Length of the longest request, including its answer."""
        texts = ([text for text in one.args if isinstance(text, str)] for one in self.requests)
        return max(sum(map(len, request)) for request in texts)


@dataclass(frozen=True)
class Task:
    """A task ready to be scored.

    `questions` are those of the first rows, up to the limit; for MMLU of the first in round-robin
    order over the subjects, then ordered by subject.
    """

    name: str
    version: str
    split: str
    metric: str  # the paper's: "acc", "acc_norm" or "exact_match" (method section 10)
    available: int  # rows of the split
    questions: list[Question]
    lm_eval_task: ConfigurableTask  # judges the answers
    fewshot: Fewshot
    shots_asked: int  # few-shot examples in the paper

    @property
    def shots(self) -> int:
        """The smallest number of few-shot examples in a prompt; it may differ between groups."""
        return min(question.shots for question in self.questions)

    @property
    def prompts_digest(self) -> str:
        """SHA-256 over all requests: contexts, answers and stop strings."""
        return _digest(request.args for one in self.questions for request in one.requests)

    @property
    def rows_digest(self) -> str:
        """SHA-256 over the content of the scored rows."""
        return _digest((one.row for one in self.questions), ensure_ascii=False, default=str)


def _digest(values: Iterable[Any], **options: Any) -> str:
    """The sha256 over the values, each as a line of JSON."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(json.dumps(value, sort_keys=True, **options).encode() + b"\n")
    return digest.hexdigest()
