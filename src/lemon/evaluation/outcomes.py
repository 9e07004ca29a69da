"""What became of each document: appended as it is scored, sealed in one parquet file a task.

A sealed file and an unfinished one carry the key of what they depend on (weights, rows, format,
...), and a digest of their rows. Work whose key still holds is taken over; other work, and what is
damaged, is done anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lemon.errors import BadInput
from lemon.files.storage import atomic_file, storage_error, write_text

if TYPE_CHECKING:
    from lemon.evaluation.tasks import Document, Task

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),  # row of the scored split
        pa.field(
            "prediction", pa.int64(), nullable=False
        ),  # the answer that the metric chooses, -1: none
        pa.field("correct", pa.bool_(), nullable=False),  # by the paper's metric for the task
        pa.field("acc", pa.bool_(), nullable=False),  # of a generated answer: the exact match
        pa.field("acc_norm", pa.bool_()),  # null where the task has no such metric
        pa.field("loglikelihoods", pa.list_(pa.float64()), nullable=False),  # nats, one an answer
        pa.field("lengths", pa.list_(pa.int64()), nullable=False),  # characters, one an answer
        pa.field("group", pa.string()),  # MMLU's subject; null elsewhere
        pa.field("text", pa.string()),  # a generated answer; null where answers are given
    ]
)
KEY, DIGEST = b"lemon.key", b"lemon.sha256"  # in the metadata of a sealed file


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
    group: str | None = None
    text: str | None = None


def judge(
    task: Task, document: Document, answers: Sequence[tuple[float, bool]] | Sequence[str]
) -> Outcome:
    """Let lm-eval judge a document.

    Args:
        task: of the document.
        document: what was asked.
        answers: a (log-likelihood in nats, is greedy) pair a request, or the generated text.

    Returns:
        its outcome. The prediction is, with choices, the one that the metric takes; with one
        given answer 0 if it is the greedy continuation; with a generated one the first accepted
        answer that it matches. It is -1 where there is no such answer.
    """
    if document.requests[0].request_type == "generate_until":
        [text] = answers
        assert isinstance(text, str)
        return _judge_text(task, document, text)
    scores = [pair for pair in answers if not isinstance(pair, str)]
    rules = document.rules
    metrics = rules.process_results(document.row, scores)
    loglikelihoods = [value for value, _ in scores]
    if rules.OUTPUT_TYPE == "multiple_choice":
        lengths = [len(choice) for choice in rules.doc_to_choice(document.row)]
        by_length = np.array(lengths, dtype=float) if task.metric == "acc_norm" else 1.0
        prediction = int(np.argmax(np.array(loglikelihoods) / by_length))
    else:
        lengths = [len(request.args[1]) for request in document.requests]
        prediction = 0 if scores[0][1] else -1
    return Outcome(
        id=document.id,
        prediction=prediction,
        correct=bool(metrics[task.metric]),
        acc=bool(metrics["acc"]),
        acc_norm=bool(metrics["acc_norm"]) if "acc_norm" in metrics else None,
        loglikelihoods=loglikelihoods,
        lengths=lengths,
        group=document.group,
    )


def _judge_text(task: Task, document: Document, text: str) -> Outcome:
    rules = document.rules
    [request] = document.requests
    answered = replace(request, resps=[text], filtered_resps={})
    for filters in rules._filters:
        filters.apply([answered])
    [filtered] = answered.filtered_resps.values()

    def matches(row: dict[str, Any]) -> bool:
        return bool(rules.process_results(row, [filtered])[task.metric])

    correct = matches(document.row)
    aliases = [matches({**document.row, "answer": [alias]}) for alias in document.row["answer"]]
    return Outcome(
        id=document.id,
        prediction=aliases.index(True) if correct else -1,
        correct=correct,
        acc=correct,
        acc_norm=None,
        loglikelihoods=[],
        lengths=[],
        group=document.group,
        text=text,
    )


def write_outcomes(path: Path, outcomes: Iterable[Outcome], key: dict[str, Any]) -> None:
    """Seal a task's outcomes in one file, sorted by document; the same values, the same bytes."""
    rows = [asdict(outcome) for outcome in sorted(outcomes, key=lambda outcome: outcome.id)]
    metadata = {KEY: _canonical(key), DIGEST: _digest(rows).encode()}
    table = pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata(metadata))
    with atomic_file(path) as temporary:
        pq.write_table(table, temporary, write_page_checksum=True)


def read_outcomes(path: Path, key: dict[str, Any]) -> list[Outcome] | None:
    """The outcomes of a sealed file; None if there is none with this key, or it is damaged."""
    try:
        rows, metadata = read_sealed(path)
    except BadInput:
        return None
    if metadata.get(KEY) != _canonical(key):
        return None
    try:
        return [Outcome(**row) for row in rows]
    except TypeError:  # other columns
        return None


def read_sealed(path: Path) -> tuple[list[dict[str, Any]], dict[bytes, bytes]]:
    """The rows of a sealed file, by the columns of SCHEMA, and its metadata.

    Raises:
        BadInput: there is no such file, or it is not whole.
    """
    fix = "remove it and run `lemon evaluate` with this task again"
    if not path.is_file():
        raise BadInput(f"{path}: the outcomes are missing; run `lemon evaluate` with this task")
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        rows = table.to_pylist()
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not readable as outcomes ({_line(error)}); {fix}") from None
    metadata = dict(table.schema.metadata or {})
    if (_type_of(table, "id"), _type_of(table, "correct")) != (pa.int64(), pa.bool_()):
        raise BadInput(f"{path}: has no whole-number `id` and true-or-false `correct`; {fix}")
    if metadata.get(DIGEST, b"") not in (b"", _digest(rows).encode()):
        raise BadInput(f"{path}: is damaged, the digest of its rows is not the one in it; {fix}")
    return rows, metadata


def _type_of(table: pa.Table, column: str) -> pa.DataType | None:
    return table.schema.field(column).type if column in table.column_names else None


def _digest(rows: Sequence[dict[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(rows, sort_keys=True, default=str).encode()).hexdigest()


def _line(error: Exception) -> str:
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__


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
                    outcome = _outcome_in(line)
                    if outcome is not None:
                        self.outcomes[outcome.id] = outcome
        except UnicodeDecodeError:
            pass  # damaged: every document is scored anew
        except OSError as error:
            raise storage_error(error, self._path) from error
        write_text(self._path, "\n".join([header, *map(_line_of, self.outcomes.values())]) + "\n")

    def append(self, outcomes: Sequence[Outcome]) -> None:
        """Keep the outcomes of one chunk."""
        text = "".join(_line_of(outcome) + "\n" for outcome in outcomes)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise storage_error(error, self._path) from error
        self.outcomes.update({outcome.id: outcome for outcome in outcomes})

    def remove(self) -> None:
        """Drop the file once the task is sealed."""
        self._path.unlink(missing_ok=True)


def _line_of(outcome: Outcome) -> str:
    """A line of an unfinished file: a piece of the sha256 of the values, and the values."""
    values = json.dumps(asdict(outcome))
    return f"{hashlib.sha256(values.encode()).hexdigest()[:16]} {values}"


def _outcome_in(line: str) -> Outcome | None:
    """The outcome in such a line; None where it is damaged."""
    _, _, values = line.partition(" ")
    try:
        outcome = Outcome(**json.loads(values))
    except (ValueError, TypeError, RecursionError):
        return None
    return outcome if _line_of(outcome) == line else None


def _canonical(key: dict[str, Any]) -> bytes:
    return json.dumps(key, sort_keys=True, separators=(",", ":")).encode()
