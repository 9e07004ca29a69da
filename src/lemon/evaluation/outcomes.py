"""The outcomes of the questions: saved chunk by chunk, then sealed in a parquet file for each task.

Sealed and unfinished files store a key of their inputs (weights, rows, format, ...) and digests of
their rows. Outcomes of the same key are reused; others and damaged ones are scored again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lemon.errors import BadInput
from lemon.files.storage import atomic_file, refusals_told, write_text

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask

    from lemon.evaluation.questions import Question, Task

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),  # row of the scored split
        pa.field("prediction", pa.int64(), nullable=False),  # chosen by the metric; -1: none
        pa.field("correct", pa.bool_(), nullable=False),  # by the paper's metric for the task
        pa.field("acc", pa.bool_(), nullable=False),  # exact match if generated
        pa.field("acc_norm", pa.bool_()),  # null if the task lacks this metric
        pa.field("loglikelihoods", pa.list_(pa.float64()), nullable=False),  # nats, by answer
        pa.field("bytes", pa.list_(pa.int64()), nullable=False),  # of the scored text in UTF-8
        pa.field("gold", pa.int64(), nullable=False),  # index of the right answer; -1: none
        pa.field("group", pa.string()),  # MMLU's subject; null elsewhere
        pa.field("text", pa.string()),  # the generated answer; null for given answers
    ]
)
KEY, DIGEST = b"lemon.key", b"lemon.sha256"  # in the metadata of a sealed file


@dataclass(frozen=True)
class Outcome:
    """One scored question; the fields are the columns of SCHEMA."""

    id: int
    prediction: int
    correct: bool
    acc: bool
    acc_norm: bool | None
    loglikelihoods: list[float]
    bytes: list[int]
    gold: int
    group: str | None = None
    text: str | None = None


def judge(
    task: Task, question: Question, scores: Sequence[tuple[float, bool]], text: str | None = None
) -> Outcome:
    """Let lm-eval judge the answers to a question of a task.

    `scores` is a (log-likelihood in nats, is greedy) pair for each given answer; `text` a generated
    answer, which decides where there is one. The prediction is the choice with the largest score by
    the metric; 0 if a single given answer is the greedy continuation; or the index of the first
    accepted answer that a generated one matches. It is -1 if there is none.
    """
    rules = task.lm_eval_task
    scored: dict[str, Any] = {
        "loglikelihoods": [value for value, _ in scores],
        "bytes": [len(request.args[1].encode()) for request in question.requests],
        "group": question.group,
    }
    if text is not None:
        return _judge_text(task, question, text, scored)
    metrics = rules.process_results(question.row, scores)
    if rules.OUTPUT_TYPE == "multiple_choice":
        lengths = np.array([len(choice) for choice in rules.doc_to_choice(question.row)])
        by_length = lengths if task.metric == "acc_norm" else 1
        prediction = int(np.argmax(np.array(scored["loglikelihoods"]) / by_length))
        gold = _right_choice(rules, question.row, len(scores))
    else:
        prediction, gold = (0 if scores[0][1] else -1), 0
    return Outcome(
        id=question.id,
        prediction=prediction,
        correct=bool(metrics[task.metric]),
        acc=bool(metrics["acc"]),
        acc_norm=bool(metrics["acc_norm"]) if "acc_norm" in metrics else None,
        gold=gold,
        **scored,
    )


def _right_choice(rules: ConfigurableTask, row: dict[str, Any], choices: int) -> int:
    """The choice that lm-eval judges right if it is the likeliest; -1 if there is none."""
    for choice in range(choices):
        scores = [(float(other == choice), False) for other in range(choices)]
        if rules.process_results(row, scores)["acc"]:
            return choice
    return -1


def _judge_text(task: Task, question: Question, text: str, scored: dict[str, Any]) -> Outcome:
    rules = task.lm_eval_task
    assert question.generated is not None
    answered = replace(question.generated, resps=[text], filtered_resps={})
    for filters in rules._filters:
        filters.apply([answered])
    [filtered] = answered.filtered_resps.values()

    def matches(row: dict[str, Any]) -> bool:
        return bool(rules.process_results(row, [filtered])[task.metric])

    correct = matches(question.row)
    aliases = [matches({**question.row, "answer": [alias]}) for alias in question.row["answer"]]
    return Outcome(
        id=question.id,
        prediction=aliases.index(True) if correct else -1,
        correct=correct,
        acc=correct,
        acc_norm=None,
        gold=0,
        text=text,
        **scored,
    )


def write_outcomes(path: Path, outcomes: Iterable[Outcome], key: dict[str, Any]) -> None:
    """Write a task's outcomes to one sealed file, sorted by id. Equal outcomes give equal bytes."""
    rows = [asdict(outcome) for outcome in sorted(outcomes, key=lambda outcome: outcome.id)]
    metadata = {KEY: _canonical(key), DIGEST: _digest(rows).encode()}
    table = pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata(metadata))
    with atomic_file(path) as temporary:
        pq.write_table(table, temporary, write_page_checksum=True)


def read_outcomes(path: Path, key: dict[str, Any]) -> list[Outcome] | None:
    """The outcomes of a sealed file; None if it is missing, damaged or has another key."""
    try:
        rows, metadata = read_sealed(path)
        same_key = metadata.get(KEY) == _canonical(key)
        return [Outcome(**row) for row in rows] if same_key else None
    except (BadInput, TypeError):  # TypeError: other columns
        return None


def read_sealed(path: Path) -> tuple[list[dict[str, Any]], dict[bytes, bytes]]:
    """The rows of a sealed file and its metadata; BadInput if it is missing or damaged."""
    fix = "remove it and run `lemon evaluate` with this task again"
    if not path.is_file():
        raise BadInput(f"{path}: the outcomes are missing; run `lemon evaluate` with this task")
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        rows = table.to_pylist()
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise BadInput(f"{path}: not readable as outcomes ({reason}); {fix}") from None
    metadata = dict(table.schema.metadata or {})
    types = dict(zip(table.schema.names, table.schema.types, strict=True))
    if (types.get("id"), types.get("correct")) != (pa.int64(), pa.bool_()):
        raise BadInput(f"{path}: has no whole-number `id` and true-or-false `correct`; {fix}")
    if metadata.get(DIGEST, b"") not in (b"", _digest(rows).encode()):
        raise BadInput(f"{path}: is damaged, the digest of its rows is not the one in it; {fix}")
    return rows, metadata


def _digest(rows: Sequence[dict[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(rows, sort_keys=True, default=str).encode()).hexdigest()


class UnfinishedOutcomes:
    """A task's outcomes so far: a line with the key, then one line for each outcome.

    Each chunk is appended immediately, so that a killed job loses at most one chunk.
    """

    def __init__(self, sealed: Path, key: dict[str, Any]) -> None:
        """Read what an earlier process with this key left next to the later `sealed` file."""
        self._path = sealed.with_name(f".{sealed.stem}.unfinished.jsonl")
        header, lines = _canonical(key).decode(), [""]
        # If it is missing or damaged, every question is scored again.
        with refusals_told(self._path), suppress(FileNotFoundError, UnicodeDecodeError):
            lines = self._path.read_text(encoding="utf-8").split("\n")
        kept = lines[1:-1] if lines[0] == header else []  # the last is empty or incomplete
        self.outcomes = {one.id: one for one in map(_outcome_in, kept) if one is not None}
        write_text(self._path, "\n".join([header, *map(_line_of, self.outcomes.values())]) + "\n")

    def append(self, outcomes: Sequence[Outcome]) -> None:
        """Append the outcomes of one chunk to the file."""
        text = "".join(_line_of(outcome) + "\n" for outcome in outcomes)
        with refusals_told(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(text)
        self.outcomes.update({outcome.id: outcome for outcome in outcomes})

    def remove(self) -> None:
        """Remove the file after the task is sealed."""
        self._path.unlink(missing_ok=True)


def _line_of(outcome: Outcome) -> str:
    """A line of an unfinished file: the first 16 digits of the values' sha256, and the values."""
    values = json.dumps(asdict(outcome))
    return f"{hashlib.sha256(values.encode()).hexdigest()[:16]} {values}"


def _outcome_in(line: str) -> Outcome | None:
    """The outcome in a line of an unfinished file; None if it is damaged."""
    _, _, values = line.partition(" ")
    try:
        outcome = Outcome(**json.loads(values))
    except (ValueError, TypeError, RecursionError):
        return None
    return outcome if _line_of(outcome) == line else None


def _canonical(key: dict[str, Any]) -> bytes:
    return json.dumps(key, sort_keys=True, separators=(",", ":")).encode()
