"""Asks a model the questions of a task, chunk by chunk, in an order that depends only on the rows.

A resumed task therefore runs the same passes, with the same rounding, as an uninterrupted one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from lemon.errors import WorkFailed

if TYPE_CHECKING:
    from lemon.evaluation.prefix_lm import PrefixLM
    from lemon.evaluation.questions import Question, Task

CHUNK_QUESTIONS = 16  # asked and saved together; the batch size if larger

Answers = Sequence[tuple[float, bool]] | Sequence[str]
"""One for each request: (log-likelihood in nats, is greedy) pairs, or generated texts."""


def answered_chunks(
    model: PrefixLM, task: Task, known: Collection[int] = ()
) -> Iterator[list[tuple[Question, Answers]]]:
    """All questions with the model's answers, without chunks whose ids are all `known`.

    WorkFailed if a log-likelihood isn't finite.
    """
    size = max(CHUNK_QUESTIONS, int(model.batch_size))
    for _, members in groupby(task.questions, attrgetter("group")):
        group = sorted(members, key=lambda one: (-one.num_characters, one.id))
        chunks = [group[first : first + size] for first in range(0, len(group), size)]
        left = [chunk for chunk in chunks if any(one.id not in known for one in chunk)]
        if not left:
            continue
        with model.sharing([request for one in group for request in one.requests]):
            for chunk in left:
                yield _answered(model, task, chunk)


def _answered(
    model: PrefixLM, task: Task, questions: list[Question]
) -> list[tuple[Question, Answers]]:
    requests = [request for question in questions for request in question.requests]
    generates = requests[0].request_type == "generate_until"
    ask = model.generate_until if generates else model.loglikelihood
    answers: Iterator[Any] = iter(ask(requests, disable_tqdm=True))
    pairs: list[tuple[Question, Answers]] = []
    for question in questions:
        own = [next(answers) for _ in question.requests]
        if not generates and not all(math.isfinite(value) for value, _ in own):
            raise WorkFailed(
                f"task {task.name}, question {question.id}: a log-likelihood isn't finite; "
                "the model is broken"
            )
        pairs.append((question, own))
    return pairs
