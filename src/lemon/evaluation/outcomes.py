"""What became of each document: appended as it is scored, sealed in one parquet file a task.

A sealed file and an unfinished one carry the key of what they depend on (weights, rows, format,
...). Work whose key still holds is taken over; other work is done anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lemon.storage import atomic_file, storage_error

if TYPE_CHECKING:
    from lemon.evaluation.tasks import Document, Task

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),  # row of the scored split
        pa.field("prediction", pa.int64(), nullable=False),  # the answer that the metric chooses
        pa.field("correct", pa.bool_(), nullable=False),  # by the paper's metric for the task
        pa.field("acc", pa.bool_(), nullable=False),
        pa.field("acc_norm", pa.bool_()),  # null where the task has no such metric
        pa.field("loglikelihoods", pa.list_(pa.float64()), nullable=False),  # nats, one an answer
        pa.field("lengths", pa.list_(pa.int64()), nullable=False),  # characters, one an answer
    ]
)
KEY = b"lemon.key"


@dataclass(frozen=True)
class Outcome:
    """One scored document; the fields are the columns of SCHEMA."""

    id: int
    prediction: int
    correct: bool
    acc: bool
    acc_norm: bool | None
    loglikelihoods: list[float]
    lengths: list[int]


def judge(task: Task, document: Document, scores: Sequence[tuple[float, bool]]) -> Outcome:
    """Let lm-eval judge a document from its requests' (log-likelihood, is greedy) pairs."""
    rules = task.lm_eval_task
    metrics = rules.process_results(document.row, list(scores))
    loglikelihoods = [value for value, _ in scores]
    lengths = [len(choice) for choice in rules.doc_to_choice(document.row)]
    by_length = np.array(lengths, dtype=float) if task.metric == "acc_norm" else 1.0
    return Outcome(
        id=document.id,
        prediction=int(np.argmax(np.array(loglikelihoods) / by_length)),
        correct=bool(metrics[task.metric]),
        acc=bool(metrics["acc"]),
        acc_norm=bool(metrics["acc_norm"]) if "acc_norm" in metrics else None,
        loglikelihoods=loglikelihoods,
        lengths=lengths,
    )


def write_outcomes(path: Path, outcomes: Iterable[Outcome], key: dict[str, Any]) -> None:
    """Seal a task's outcomes in one file, sorted by document; the same values, the same bytes."""
    rows = [asdict(outcome) for outcome in sorted(outcomes, key=lambda outcome: outcome.id)]
    table = pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata({KEY: _canonical(key)}))
    with atomic_file(path) as temporary:
        pq.write_table(table, temporary)


def read_outcomes(path: Path, key: dict[str, Any]) -> list[Outcome] | None:
    """The outcomes of a sealed file; None if there is none with this key."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid):
        return None
    if (table.schema.metadata or {}).get(KEY) != _canonical(key):
        return None
    return [Outcome(**row) for row in table.to_pylist()]


class UnfinishedOutcomes:
    """A task's outcomes so far, one JSON object a line behind a line with the key.

    Lines are appended whole, so that a killed job loses at most the chunk it was scoring.
    """

    def __init__(self, sealed: Path, key: dict[str, Any]) -> None:
        """Take over what an earlier process scored under the same key.

        Args:
            sealed: where the finished task's outcomes will be; this file lies hidden beside it.
            key: what the outcomes depend on.
        """
        self._path = sealed.with_name(f".{sealed.stem}.unfinished.jsonl")
        self.outcomes: dict[int, Outcome] = {}
        header = _canonical(key).decode()
        try:
            lines = (
                self._path.read_text(encoding="utf-8").split("\n") if self._path.exists() else []
            )
            if lines and lines[0] == header:
                for line in lines[1:-1]:  # behind the last line break is nothing, or a cut line
                    outcome = Outcome(**json.loads(line))
                    self.outcomes[outcome.id] = outcome
            self._path.parent.mkdir(parents=True, exist_ok=True)
            kept = [json.dumps(asdict(outcome)) for outcome in self.outcomes.values()]
            self._path.write_text("\n".join([header, *kept]) + "\n", encoding="utf-8")
        except OSError as error:
            raise storage_error(error, self._path) from error

    def append(self, outcomes: Sequence[Outcome]) -> None:
        """Keep the outcomes of one chunk."""
        text = "".join(json.dumps(asdict(outcome)) + "\n" for outcome in outcomes)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise storage_error(error, self._path) from error
        self.outcomes.update({outcome.id: outcome for outcome in outcomes})

    def remove(self) -> None:
        """Drop the file once the task is sealed."""
        self._path.unlink(missing_ok=True)


def _canonical(key: dict[str, Any]) -> bytes:
    return json.dumps(key, sort_keys=True, separators=(",", ":")).encode()
