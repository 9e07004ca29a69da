"""Reads the outcomes and protocols of evaluations, and checks that runs are comparable."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lemon.configuration.tasks import FOLDERS, TASKS
from lemon.errors import BadInput
from lemon.files.manifest import read_manifest
from lemon.provenance import file_digest
from lemon.reporting.facts.answers import Answers, read_answers
from lemon.reporting.facts.heldout import HeldoutLosses, read_heldout
from lemon.reporting.facts.scores import ByTask


@dataclass(frozen=True)
class RunResult:
    """The scores of one run.

    Attributes:
        correct: by task, whether each document was answered correctly; bool [documents], sorted
            by document id.
        ids: by task, the document ids; int [documents].
        bits_per_byte: by task, -log2 p of the right answer over its bytes; [documents with one].
        answer_share: by task with several choices, the right answer's probability among the
            choices; [documents with one].
        heldout: losses on held-out text; None if not measured.
        manifest: the evaluation's manifest; for several suites the first one's, with the tasks,
            inputs and total time of all.
    """

    run: str
    correct: dict[str, NDArray[np.bool_]]
    ids: dict[str, NDArray[np.int64]]
    bits_per_byte: dict[str, NDArray[np.float64]]
    answer_share: dict[str, NDArray[np.float64]]
    heldout: HeldoutLosses | None
    manifest: dict[str, Any]

    def row_hash(self, task: str) -> str | None:
        """The digest of a task's documents, including options and labels."""
        digest = self.manifest.get("tasks", {}).get(task, {}).get("rows_sha256")
        return None if digest is None else str(digest)

    def examples(self, task: str) -> tuple[int, str] | None:
        """The number of few-shot examples of a task and how they were chosen; None without any."""
        said = self.manifest.get("tasks", {}).get(task, {})
        return (said["shots"], said.get("fewshot", "")) if said.get("shots") else None

    @property
    def sequences(self) -> ByTask:
        """By domain, the mean loss of each held-out sequence; empty if not measured."""
        return self.heldout.sequences if self.heldout else {}

    @property
    def calibrated_sequences(self) -> ByTask:
        """The same at the best temperature."""
        return self.heldout.calibrated_sequences if self.heldout else {}

    @property
    def heldout_hash(self) -> str | None:
        """The digest of the held-out text."""
        digest = self.manifest.get("inputs", {}).get("heldout")
        return None if digest is None else str(digest)


def read_run(runs: Path, run: str, tasks: Iterable[str], suite: str | None = None) -> RunResult:
    """Read the outcomes of one run, of a suite or of each task's default suite.

    Raises:
        BadInput: the evaluation is incomplete, or a file is missing or damaged.
    """
    folder_of = {task: runs / run / FOLDERS[suite or TASKS[task].suite] for task in tasks}
    folders = list(dict.fromkeys(folder_of.values()))
    manifests = {folder: read_manifest(folder / "manifest.json") for folder in folders}
    answers: dict[str, Answers] = {}
    for task, folder in folder_of.items():
        if task not in manifests[folder].get("tasks", {}):
            raise BadInput(
                f"{folder / 'manifest.json'}: task {task} was not evaluated; "
                "rerun `lemon evaluate` with it"
            )
        answers[task] = read_answers(folder / f"{task}.parquet")
    measured = [read_heldout(folder / "perplexity.json") for folder in folders]
    return RunResult(
        run=run,
        correct={task: one.correct for task, one in answers.items()},
        ids={task: one.ids for task, one in answers.items()},
        bits_per_byte={task: one.bits_per_byte for task, one in answers.items()},
        answer_share={task: one.share for task, one in answers.items() if one.share is not None},
        heldout=next(filter(None, reversed(measured)), None),
        manifest=_merged(list(manifests.values())),
    )


def _merged(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    """One manifest for all suites of a run."""
    tasks = {name: task for one in manifests for name, task in one.get("tasks", {}).items()}
    inputs = {name: digest for one in manifests for name, digest in one.get("inputs", {}).items()}
    wall_s = sum(float(one.get("wall_s", 0)) for one in manifests)
    merged = {**manifests[0], "tasks": tasks, "inputs": inputs, "wall_s": wall_s}
    if finished := [one["finished"] for one in manifests if one.get("finished")]:
        merged["finished"] = max(finished, key=datetime.fromisoformat)
    return merged


def read_runs(runs: Path, names: Iterable[str], tasks: Sequence[str]) -> dict[str, RunResult]:
    """Read the outcomes of several runs and check that they are comparable."""
    results = {name: read_run(runs, name, tasks) for name in dict.fromkeys(names)}
    require_same_documents(results, tasks)
    return results


def require_same_documents(results: Mapping[str, RunResult], tasks: Sequence[str]) -> None:
    """Check that paired comparisons are possible.

    Raises:
        BadInput: two runs differ in a task's documents, its few-shot examples or the held-out text.
    """
    fix = (
        "so they can't be compared; evaluate both again with the same rows and limit "
        "(remove their outcomes/ folders and rerun)"
    )
    for first, other in pairwise(results.values()):
        for task in tasks:
            same_hash = first.row_hash(task) == other.row_hash(task)
            if not same_hash or not np.array_equal(first.ids[task], other.ids[task]):
                raise BadInput(
                    f"task {task}: runs {first.run!r} ({first.ids[task].size} documents) and "
                    f"{other.run!r} ({other.ids[task].size}) were asked different documents, " + fix
                )
            if first.examples(task) != other.examples(task):
                raise BadInput(
                    f"task {task}: runs {first.run!r} and {other.run!r} were shown different "
                    "examples before the questions, " + fix
                )
        if first.heldout_hash != other.heldout_hash:
            raise BadInput(
                f"perplexity: runs {first.run!r} and {other.run!r} were scored on different "
                "held-out text, " + fix
            )


def outcomes_digest(run: Path, suites: Iterable[str]) -> str:
    """A sha256 over the outcomes in a run's folder in these suites; times and machines don't count.

    The suites are named as in `lemon.configuration.tasks`.
    """
    digest = hashlib.sha256()
    folders = [run / FOLDERS[name] for name in suites]
    kinds = ("*.parquet", "perplexity.json")
    for path in sorted(path for folder in folders for kind in kinds for path in folder.glob(kind)):
        digest.update(f"{path.name} {file_digest(path)}\n".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class Protocol:
    """Few-shot examples and rows of a task.

    Attributes:
        shots, asked: number of examples before each question, here and in the paper.
        chosen: `drawn` for each question, or `fixed`.
        rows: scored documents.
        available: documents of the split; None if the manifest lacks it.
    """

    shots: int
    asked: int
    chosen: str
    rows: int
    available: int | None

    @property
    def cut_short(self) -> bool:
        """Whether there are fewer examples than in the paper."""
        return self.shots < self.asked


def protocols(results: Mapping[str, RunResult], tasks: Iterable[str]) -> dict[str, Protocol]:
    """The protocols by task, from the first result: those of one table share their protocol."""
    if not results:
        return {}
    first = next(iter(results.values()))
    found = {}
    for task in tasks:
        said = first.manifest.get("tasks", {}).get(task, {})
        asked = said.get("shots_asked", TASKS[task].shots)
        found[task] = Protocol(
            shots=said.get("shots", asked),
            asked=asked,
            chosen="drawn" if said.get("fewshot") == "drawn" else "fixed",
            rows=first.correct[task].size,
            available=said.get("rows_available"),
        )
    return found


def shots_in_words(found: Mapping[str, Protocol]) -> str:
    """`ARC-C 25, BoolQ 11 of 32`; empty if no task has examples."""
    return ", ".join(
        f"{TASKS[task].label} {one.shots}" + (f" of {one.asked}" if one.cut_short else "")
        for task, one in found.items()
        if one.asked
    )
