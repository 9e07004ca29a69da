"""The benchmark tasks: which there are, where their rows come from, and their requests.

The files in `task_files/` repeat lm-eval's own templates and name the one split that is scored.
lm-eval renders the prompts and judges the answers; only the place of the rows is ours. Importing
this module loads neither lm-eval nor torch.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_args

from lemon.configuration.tasks import TASKS
from lemon.data.mirror.check_rows import check_rows
from lemon.errors import BadInput, WorkFailed
from lemon.evaluation.mmlu import in_turn, subject_files
from lemon.evaluation.prompts import (
    FEWSHOT_SEED,
    Fewshot,
    Window,
    drawn_contexts,
    fixed_contexts,
    requests_of,
)
from lemon.files.storage import NO_ROOM, storage_error, write_text

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.api.task import ConfigurableTask

TASK_FILES = Path(__file__).parent / "task_files"
SCRATCH = ".lemon-tasks-"
PACKAGED_TASKS = Path("data/laptop/tasks")


@dataclass(frozen=True)
class Document:
    """One row of a task with the requests that score it, one an answer.

    Attributes:
        id: its place in the scored split; in MMLU its turn over the subjects.
        requests: all for log-likelihoods, or one for a generated answer.
        rules: lm-eval's task, which judges the answers.
        group: MMLU's subject; documents of one group have their few-shot examples in common.
        shots: few-shot examples in its prompt.
    """

    id: int
    row: dict[str, Any]
    requests: list[Instance]
    rules: ConfigurableTask
    group: str | None = None
    shots: int = 0

    @property
    def num_characters(self) -> int:
        """Length of the longest request, context and answer."""
        return max(
            sum(len(text) for text in request.args if isinstance(text, str))
            for request in self.requests
        )


@dataclass(frozen=True)
class Task:
    """A task ready to be scored.

    Attributes:
        metric: the paper's: "acc", "acc_norm" or "exact_match" (method section 10).
        available: rows that the split holds; `documents` are the first ones, up to the limit,
            MMLU's in turn over the subjects and then ordered by subject.
        lm_eval_task: judges and, but for MMLU, whose examples depend on the subject, could render
            the prompts again.
        fewshot: how the examples are chosen.
        shots_asked: few-shot examples in the paper.
    """

    name: str
    version: str
    split: str
    metric: str
    available: int
    documents: list[Document]
    lm_eval_task: ConfigurableTask
    fewshot: Fewshot
    shots_asked: int

    @property
    def shots(self) -> int:
        """Few-shot examples that every prompt has; single groups may have more."""
        return min(document.shots for document in self.documents)

    @property
    def shots_by_group(self) -> dict[str, int]:
        """Few-shot examples in the prompts of each group; empty without groups."""
        return {one.group: one.shots for one in self.documents if one.group is not None}

    @property
    def prompts_digest(self) -> str:
        """SHA-256 over all that is asked: contexts, answers and stop strings."""
        digest = hashlib.sha256()
        for document in self.documents:
            for request in document.requests:
                digest.update(json.dumps(request.args, sort_keys=True).encode() + b"\n")
        return digest.hexdigest()

    @property
    def rows_digest(self) -> str:
        """SHA-256 over the content of the scored rows."""
        digest = hashlib.sha256()
        for document in self.documents:
            line = json.dumps(document.row, sort_keys=True, ensure_ascii=False, default=str)
            digest.update(line.encode() + b"\n")
        return digest.hexdigest()


def check_task_names(names: Sequence[str]) -> None:
    """Refuse unknown, repeated and missing names.

    Raises:
        BadInput: naming the nearest known task.
    """
    known = list(TASKS)
    if not names:
        raise BadInput(f"no task is named; choose from {', '.join(known)}")
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise BadInput(f"unknown task {name!r}; {hint}")
    if len(set(names)) < len(names):
        raise BadInput(f"a task is named twice in {', '.join(names)}")


def rows_folder(source: str) -> Path | None:
    """The mirror that holds the rows; None stands for the Hub itself.

    Args:
        source: "packaged" (the prepared rows: `$LEMON_PACKAGED_TASKS`, else those of the laptop
            preset), "hub", or a folder laid out like the Hub.

    Raises:
        BadInput: the folder isn't there.
    """
    if source == "hub":
        return None
    if source == "packaged":
        folder = Path(os.environ.get("LEMON_PACKAGED_TASKS") or PACKAGED_TASKS)
        mend = "run `lemon prepare tasks`, or point LEMON_PACKAGED_TASKS at its output"
    else:
        folder = Path(source)
        mend = "give `packaged`, `hub`, or a folder laid out like the Hub"
    if not folder.is_dir():
        raise BadInput(f"{folder}: there are no task rows here; {mend}")
    return folder


@contextmanager
def opened_tasks(
    names: Sequence[str],
    source: str,
    limit: int | None,
    *,
    limits: Mapping[str, int] = MappingProxyType({}),
    window: Window | None = None,
    fewshot: Fewshot = "fixed",
    scratch: Path | None = None,
) -> Iterator[Iterator[Task]]:
    """Give the tasks one after the other, loaded from `source` as they are asked for.

    The rows' cache lives as long as the block: `datasets` finds cached rows by the data set's
    name alone, so that a lasting cache would give one mirror's rows for another's.

    Args:
        names: of the tasks.
        source: see `rows_folder`.
        limit: the first rows a task; None takes all.
        limits: of single tasks, instead of `limit`.
        window: what the model reads; fixed examples that would not fit in it are left out.
        fewshot: "fixed" gives every question the same examples, the first ones; "drawn" is
            lm-eval's own draw, which differs from question to question.
        scratch: an own folder, in which the cache is made and what a killed process left of one
            is removed; None makes it in the system's temporary folder.

    Raises:
        BadInput: a task's rows are missing or can't be read, few-shot rows are too few, or
            `fewshot` is unknown.
        WorkFailed: the Hub can't be reached.
    """
    from lm_eval.tasks import TaskManager

    if fewshot not in get_args(Fewshot):
        known = " or ".join(get_args(Fewshot))
        raise BadInput(f"unknown few-shot protocol {fewshot!r}; choose {known}")
    folder = rows_folder(source)
    registered = TaskManager(include_path=TASK_FILES, include_defaults=False).task_index
    for left in scratch.glob(f"{SCRATCH}*") if scratch else ():
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=scratch) as folder_of_cache:
        place_of_cache = Path(folder_of_cache)
        for name in names:
            config: dict[str, Any] = {"include": str(TASK_FILES / f"{name}.yaml")}
            if fewshot == "fixed":
                config["fewshot_config"] = {"sampler": "first_n"}
            if folder is not None:
                place = folder / registered[name].cfg["dataset_path"]
                config["dataset_path"] = str(place.resolve())
                config["dataset_kwargs"] = {"cache_dir": str(place_of_cache / "cache")}
                if not place.is_dir():
                    raise BadInput(
                        f"{place}: the rows of task {name} are missing; prepare or mirror them"
                    )
                check_rows(place)
                if name == "mmlu":
                    config |= {"dataset_path": "parquet", "dataset_name": None}
                    config["dataset_kwargs"]["data_files"] = subject_files(place)
            # JSON is YAML, and lm-eval takes an override only from a file.
            write_text(place_of_cache / f"{name}.yaml", json.dumps(config))
        manager = TaskManager(include_path=folder_of_cache, include_defaults=False)

        def rules(name: str) -> ConfigurableTask:
            return _rules(manager, name, folder, place_of_cache)

        yield (_open(rules(name), name, limits.get(name, limit), window, fewshot) for name in names)


def _rules(manager: Any, name: str, folder: Path | None, cache: Path) -> ConfigurableTask:
    """lm-eval's task with its rows, which are cached in `cache`."""
    from datasets.exceptions import DatasetsError

    try:
        return manager.load(name)["tasks"][name]
    except (OSError, ValueError, KeyError, DatasetsError) as error:
        cause = error.__cause__ or error
        if isinstance(cause, OSError) and cause.errno in NO_ROOM:
            raise storage_error(cause, cache) from error
        if folder is None:
            raise WorkFailed(
                f"task {name}: the Hub's rows can't be had ({_first_line(error)}); check the "
                "network, or give `--source` a mirror folder"
            ) from error
        raise BadInput(
            f"{folder}: the rows of task {name} can't be read ({_first_line(error)}); prepare or "
            "mirror them again"
        ) from error


def _open(
    rules: ConfigurableTask, name: str, limit: int | None, window: Window | None, fewshot: Fewshot
) -> Task:
    rules.set_fewshot_seed(FEWSHOT_SEED)
    rows, asked = rules.eval_docs, TASKS[name].shots
    groups: list[str | None] = list(rows["subject"]) if name == "mmlu" else [None] * len(rows)
    turns = in_turn(groups)[:limit]
    chosen = sorted((groups[row] or "", id, row) for id, row in enumerate(turns))
    pool = list(rules.sampler.df)
    documents = []
    for group, members in groupby(chosen, lambda one: groups[one[2]]):
        ids, numbers = zip(*((id, number) for _, id, number in members), strict=True)
        if group is not None:
            rules.sampler.replace_df([row for row in pool if row["subject"] == group])
        _check_pool(rules, name, group, asked, fewshot)
        asked_of = [rows[number] for number in numbers]
        if fewshot == "fixed":
            contexts, shots = fixed_contexts(rules, asked_of, asked, window)
        else:
            contexts, shots = drawn_contexts(rules, asked_of, asked), asked
        for id, row, context in zip(ids, asked_of, contexts, strict=True):
            requests = requests_of(rules, id, row, context)
            documents.append(Document(id, row, requests, rules, group, shots))
    return Task(
        name=name,
        version=str(rules.VERSION),
        split=rules.config.test_split or rules.config.validation_split,
        metric=TASKS[name].metric,
        available=len(rows),
        documents=documents,
        lm_eval_task=rules,
        fewshot=fewshot,
        shots_asked=asked,
    )


def _check_pool(
    rules: ConfigurableTask, name: str, group: str | None, asked: int, fewshot: Fewshot
) -> None:
    have, need = len(rules.sampler.df), asked + (fewshot == "drawn" and group is None)
    if asked and have < need:
        of_group = f" in {group}" if group else ""
        raise BadInput(
            f"task {name} needs {need} few-shot rows{of_group} and there are {have}; prepare or "
            "mirror the rows again"
        )


def _first_line(error: BaseException) -> str:
    cause = error.__cause__ or error
    return (str(cause).strip() or type(cause).__name__).splitlines()[0]
