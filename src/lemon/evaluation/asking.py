"""Ask a model the documents of a task, chunk by chunk, in an order that the rows alone decide.

A resumed task so runs the same passes, and rounds, as an uninterrupted one does.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lemon.errors import WorkFailed

if TYPE_CHECKING:
    from lemon.evaluation.prefix_lm import PrefixLM
    from lemon.evaluation.tasks import Document, Task

CHUNK_DOCUMENTS = 16  # asked and kept at once, or as many as the batch size

Answers = Sequence[tuple[float, bool]] | Sequence[str]
"""One a request: (log-likelihood in nats, is greedy) pairs, or generated texts."""


def answered_chunks(
    model: PrefixLM, task: Task, known: Collection[int] = ()
) -> Iterator[list[tuple[Document, Answers]]]:
    """Every document with the model's answers, but for chunks whose ids are all `known`.

    Raises:
        WorkFailed: a log-likelihood isn't finite.
    """
    size = max(CHUNK_DOCUMENTS, int(model.batch_size))
    for group in _groups(task.documents):
        chunks = [group[first : first + size] for first in range(0, len(group), size)]
        left = [chunk for chunk in chunks if any(one.id not in known for one in chunk)]
        if not left:
            continue
        with model.sharing([request for one in group for request in one.requests]):
            for chunk in left:
                yield _answered(model, task, chunk)


def _groups(documents: Sequence[Document]) -> list[list[Document]]:
    """The documents by the few-shot examples that they share, each group longest first."""
    groups: dict[str | None, list[Document]] = {}
    for document in documents:
        groups.setdefault(document.group, []).append(document)
    return [
        sorted(group, key=lambda document: (-document.num_characters, document.id))
        for group in groups.values()
    ]


def _answered(
    model: PrefixLM, task: Task, documents: list[Document]
) -> list[tuple[Document, Answers]]:
    requests = [request for document in documents for request in document.requests]
    generates = requests[0].request_type == "generate_until"
    ask = model.generate_until if generates else model.loglikelihood
    answers: Iterator[Any] = iter(ask(requests, disable_tqdm=True))
    pairs: list[tuple[Document, Answers]] = []
    for document in documents:
        own = [next(answers) for _ in document.requests]
        if not generates and not all(math.isfinite(value) for value, _ in own):
            raise WorkFailed(
                f"task {task.name}, document {document.id}: a log-likelihood isn't finite; "
                "the model is broken"
            )
        pairs.append((document, own))
    return pairs
