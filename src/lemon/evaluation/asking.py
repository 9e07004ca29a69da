"""Asks a model the questions of a task, chunk by chunk, in an order that depends only on the rows.

A resumed task therefore runs the same passes, with the same rounding, as an uninterrupted one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from lemon.errors import WorkFailed

if TYPE_CHECKING:
    from lemon.evaluation.prefix_lm import PrefixLM
    from lemon.evaluation.questions import Question, Task

CHUNK_QUESTIONS = 16  # asked and saved together; the batch size if larger


class Answered(NamedTuple):
    """A question with a (log-likelihood in nats, is greedy) pair for each of its requests."""

    question: Question
    scores: list[tuple[float, bool]]
    text: str | None  # the generated answer, if one was asked for


def answered_chunks(
    model: PrefixLM, task: Task, known: Collection[int] = ()
) -> Iterator[list[Answered]]:
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
        with model.sharing([request for one in group for request in one.every_request]):
            for chunk in left:
                yield _answered(model, task, chunk)


def _answered(model: PrefixLM, task: Task, questions: list[Question]) -> list[Answered]:
    requests = [request for question in questions for request in question.requests]
    scores = iter(model.loglikelihood(requests, disable_tqdm=True))
    to_generate = [one.generated for one in questions if one.generated is not None]
    texts = iter(model.generate_until(to_generate) if to_generate else [])
    answered = []
    for question in questions:
        own = [next(scores) for _ in question.requests]
        if not all(math.isfinite(value) for value, _ in own):
            raise WorkFailed(
                f"task {task.name}, question {question.id}: a log-likelihood isn't finite; "
                "the model is broken"
            )
        answered.append(Answered(question, own, next(texts) if question.generated else None))
    return answered
