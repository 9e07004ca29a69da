"""What the evaluation of a run left on disk, read back and checked for comparability."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from typing_extensions import TypedDict

from lemon.configuration.tasks import FOLDERS, TASKS
from lemon.errors import BadInput
from lemon.evaluation.outcomes import read_sealed
from lemon.files.json_file import read_json
from lemon.files.manifest import checked_file, read_manifest
from lemon.perplexity import perplexity_of
from lemon.provenance import file_digest


class DomainPerplexity(TypedDict):
    """What `perplexity.json` says of one domain."""

    perplexity: float
    tokens: int


class Perplexity(TypedDict):
    """`perplexity.json`, as far as it is read: the loss in nats per token, and each domain."""

    loss: float
    domains: dict[str, DomainPerplexity]


@dataclass(frozen=True)
class RunResult:
    """The scores of one run.

    Attributes:
        run: its id.
        correct: by task, whether each document was answered correctly; bool [documents], the
            documents in order of their id.
        ids: by task, the ids of the documents; int [documents].
        loss: on the held-out text, nats per token over all its tokens; None where there was none.
        domains: held-out perplexity by domain.
        heldout_tokens: predicted tokens behind the perplexity.
        manifest: of the evaluation; where it took several suites, that of the first with the
            tasks and the time of all.
    """

    run: str
    correct: dict[str, NDArray[np.bool_]]
    ids: dict[str, NDArray[np.int64]]
    loss: float | None
    domains: dict[str, float]
    heldout_tokens: int | None
    manifest: dict[str, Any]

    def accuracy(self, task: str) -> float:
        """Share of the task's documents answered correctly."""
        return float(self.correct[task].mean())

    @property
    def perplexity(self) -> float | None:
        """exp of the loss; infinite where that is beyond floating point."""
        return None if self.loss is None else perplexity_of(self.loss)

    def row_hash(self, task: str) -> str | None:
        """The digest of the documents of a task, options and labels included."""
        digest = self.manifest.get("tasks", {}).get(task, {}).get("rows_sha256")
        return None if digest is None else str(digest)

    def examples(self, task: str) -> tuple[int, str] | None:
        """How many examples stood before each question of a task and how they were chosen."""
        said = self.manifest.get("tasks", {}).get(task, {})
        return (said["shots"], said.get("fewshot", "")) if said.get("shots") else None

    @property
    def heldout_hash(self) -> str | None:
        """The digest of the held-out text."""
        digest = self.manifest.get("inputs", {}).get("heldout")
        return None if digest is None else str(digest)


def read_run(runs: Path, run: str, tasks: Iterable[str], suite: str | None = None) -> RunResult:
    """Read the outcomes of one run.

    Args:
        runs: the folder that holds one folder a run.
        run: its id.
        tasks: those whose outcomes are wanted.
        suite: the suite that they were scored in; None stands for each task's own.

    Raises:
        BadInput: the evaluation has not ended, or a file is missing or damaged.
    """
    folder_of = {task: runs / run / FOLDERS[suite or TASKS[task].suite] for task in tasks}
    folders = list(dict.fromkeys(folder_of.values()))
    manifests = {folder: read_manifest(folder / "manifest.json") for folder in folders}
    correct: dict[str, NDArray[np.bool_]] = {}
    ids: dict[str, NDArray[np.int64]] = {}
    for task, folder in folder_of.items():
        if task not in manifests[folder].get("tasks", {}):
            raise BadInput(
                f"{folder / 'manifest.json'}: task {task} was not evaluated; "
                "rerun `lemon evaluate` with it"
            )
        outcomes = _read_outcomes(folder / f"{task}.parquet")
        correct[task] = outcomes["correct"].to_numpy(dtype=bool)
        ids[task] = outcomes["id"].to_numpy(dtype=np.int64)
    measured = [_read_perplexity(folder / "perplexity.json") for folder in folders]
    heldout = next(filter(None, reversed(measured)), None)
    domains = heldout["domains"] if heldout else {}
    return RunResult(
        run=run,
        correct=correct,
        ids=ids,
        loss=heldout["loss"] if heldout else None,
        domains={name: domain["perplexity"] for name, domain in domains.items()},
        heldout_tokens=sum(domain["tokens"] for domain in domains.values()) or None,
        manifest=_merged(list(manifests.values())),
    )


def _merged(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    """One manifest for all suites of a run."""
    tasks = {name: task for one in manifests for name, task in one.get("tasks", {}).items()}
    inputs = {name: digest for one in manifests for name, digest in one.get("inputs", {}).items()}
    finished = [one["finished"] for one in manifests if one.get("finished")]
    return {
        **manifests[0],
        "tasks": tasks,
        "inputs": inputs,
        **({"finished": max(finished, key=datetime.fromisoformat)} if finished else {}),
        "wall_s": sum(float(one.get("wall_s", 0)) for one in manifests),
    }


def read_runs(
    runs: Path, names: Iterable[str], tasks: Iterable[str], suite: str | None = None
) -> dict[str, RunResult]:
    """Read the outcomes of several runs that are to be compared.

    Raises:
        BadInput: as `read_run`; or two runs were asked different documents of a task, or after
            different examples.
    """
    tasks = list(tasks)
    results = {name: read_run(runs, name, tasks, suite) for name in dict.fromkeys(names)}
    require_same_documents(results, tasks)
    return results


def require_same_documents(results: Mapping[str, RunResult], tasks: Iterable[str]) -> None:
    """Refuse runs that were asked different documents: they can't be compared in pairs.

    Raises:
        BadInput: naming the task (or the held-out text) and the two runs.
    """
    fix = (
        "so they can't be compared; evaluate both again with the same rows and limit "
        "(remove their outcomes/ folders and rerun)"
    )
    if not results:
        return
    first, *others = results.values()
    for other in others:
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


def _read_outcomes(path: Path) -> pd.DataFrame:
    rows, _ = read_sealed(checked_file(path))
    outcomes = pd.DataFrame(rows, columns=["id", "correct"])
    if outcomes.empty or outcomes["id"].duplicated().any() or outcomes["correct"].isna().any():
        raise BadInput(
            f"{path}: holds no documents, or one twice or without an answer; remove it and rerun"
        )
    return outcomes.sort_values("id")


def _read_perplexity(path: Path) -> Perplexity | None:
    if not path.is_file():
        return None
    return read_json(checked_file(path), Perplexity, "remove it and rerun")


def outcomes_digest(run: Path, suites: Iterable[str]) -> str:
    """A sha256 over the outcomes of a run in these suites; times and machines don't enter.

    Args:
        run: the folder of the run.
        suites: names as in `lemon.configuration.tasks`.
    """
    digest = hashlib.sha256()
    folders = [run / FOLDERS[name] for name in suites]
    for path in sorted(
        path
        for folder in folders
        for path in [*folder.glob("*.parquet"), *folder.glob("perplexity.json")]
    ):
        digest.update(f"{path.name} {file_digest(path)}\n".encode())
    return digest.hexdigest()
