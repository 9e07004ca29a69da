"""A few rows of each task, laid out like the Hub, for tests without real benchmark text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

REPOSITORIES = {
    "sciq": ("allenai/sciq", "default", "test"),
    "piqa": ("baber/piqa", "default", "validation"),
    "winogrande": ("allenai/winogrande", "winogrande_xl", "validation"),
    "arc_easy": ("allenai/ai2_arc", "ARC-Easy", "test"),
    "logiqa": ("EleutherAI/logiqa", "logiqa", "test"),
    "arc_challenge": ("allenai/ai2_arc", "ARC-Challenge", "test"),
    "hellaswag": ("Rowan/hellaswag", "default", "validation"),
    "boolq": ("aps/super_glue", "boolq", "validation"),
    "lambada_openai": ("EleutherAI/lambada_openai", "default", "test"),
    "nq_open": ("google-research-datasets/nq_open", "nq_open", "validation"),
    "mmlu": ("cais/mmlu", None, "test"),
}
SUBJECTS = ("abstract_algebra", "anatomy", "college_physics")  # of MMLU; rows are dealt in turn
FEWSHOT_FROM = 1000  # number of the first row for prompts
FEWSHOT_ROWS = 34  # one more than 32 shots, since lm-eval draws one too many
THINGS = ("moss", "a grey heron", "café crème", "salt – and water", "iron", "雪", "two newts")

# By task, the index of a row's right answer in the order of the requests.
GOLD: dict[str, Callable[[dict[str, Any]], int]] = {
    "sciq": lambda row: 3,
    "piqa": lambda row: row["label"],
    "winogrande": lambda row: int(row["answer"]) - 1,
    "arc_easy": lambda row: row["choices"]["label"].index(row["answerKey"]),
    "arc_challenge": lambda row: row["choices"]["label"].index(row["answerKey"]),
    "logiqa": lambda row: "abcd".index(row["label"]),
    "hellaswag": lambda row: int(row["label"]),
    "boolq": lambda row: row["label"],
    "lambada_openai": lambda row: 0,
    "nq_open": lambda row: 0,
    "mmlu": lambda row: row["answer"],
}


def rows_of(task: str, count: int, seed: int = 0, first: int = 0) -> list[dict[str, Any]]:
    """`count` different rows in the columns that the task reads, numbered from `first`."""

    def thing(number: int) -> str:
        return THINGS[(number + seed) % len(THINGS)] + f" {number}" * (number % 3)

    def row(n: int) -> dict[str, Any]:
        more = "It rains on the hill. " * (n % 4)
        match task:
            case "sciq":
                return {
                    "question": f"What is {thing(n)} made of?",
                    "distractor1": thing(n + 1),
                    "distractor2": thing(n + 2),
                    "distractor3": thing(n + 3),
                    "correct_answer": thing(n + 4),
                    "support": f" {more}Row {n}.",
                }
            case "piqa":
                sol1, sol2 = f"Wait for {thing(n)}.", f"{more}Take {thing(n + 1)}."
                return {
                    "goal": f"{more}Find {thing(n)}",
                    "sol1": sol1,
                    "sol2": sol2,
                    "label": n % 2,
                }
            case "winogrande":
                return {
                    "sentence": f"{more}The newt met the owl, so the _ hid behind {thing(n)}.",
                    "option1": "newt",
                    "option2": "owl",
                    "answer": str(n % 2 + 1),
                }
            case "arc_easy" | "arc_challenge":
                texts = [thing(n + i) for i in range(3 + n % 3)]
                labels = list("ABCDE" if n % 2 else "12345")[: len(texts)]
                return {
                    "id": f"row-{n}",
                    "question": f"{more}Which is number {n}?",
                    "choices": {"text": texts, "label": labels},
                    "answerKey": labels[n % 3],
                }
            case "logiqa":
                return {
                    "label": "abcd"[n % 4],
                    "context": f"{more}All herons are grey; {thing(n)} is no heron.",
                    "question": "What follows?",
                    "options": [f"{thing(n + i)} is grey." for i in range(4)],
                }
            case "hellaswag":
                return {
                    "ind": n,
                    "activity_label": f"Watching {thing(n)}",
                    "ctx_a": f"[header] {more}A newt sits. [title] It waits.",
                    "ctx_b": "the owl" if n % 2 else "",
                    "ctx": "unused",
                    "endings": [f"sees {thing(n + i)}. [step] It  goes." for i in range(4)],
                    "source_id": f"source~{n}",
                    "split": "val",
                    "split_type": "indomain",
                    "label": str(n % 4),
                }
            case "boolq":
                return {
                    "question": f"is {thing(n)} grey",
                    "passage": f"Grey -- {more}Of {thing(n)} little is known.",
                    "idx": n,
                    "label": n % 2,
                }
            case "lambada_openai":
                return {"text": f"{more}\n\nHe saw {thing(n)} and it saw row{n}"}
            case "nq_open":
                answers = [f"The {thing(n)}", f"o'row {n}", 'a "quoted" newt'][: 1 + n % 3]
                return {
                    "question": f"{more.lower()}who saw {thing(n)} on day {n}",
                    "answer": answers,
                }
            case "mmlu":
                return {
                    "question": f" {more}Which is number {n}?\n",
                    "subject": SUBJECTS[n % len(SUBJECTS)],
                    "choices": [thing(n + i) for i in range(4)],
                    "answer": n % 4,
                }
        raise KeyError(task)

    return [row(n) for n in range(first, first + count)]


def write_mirror(folder: Path, tasks: dict[str, int], seed: int = 0) -> Path:
    """Write `tasks` (rows by task) under `folder`, with rows for prompts of any paper's shots."""
    for repository in {REPOSITORIES[task][0] for task in tasks}:
        lines = ["---", "generated: true", "configs:"]
        for task, count in tasks.items():
            if REPOSITORIES[task][0] == repository:
                for config, splits in _configs(task, count, seed).items():
                    lines += [f"- config_name: {config}", "  data_files:"]
                    (folder / repository / config).mkdir(parents=True)
                    for split, rows in splits.items():
                        file = f"{config}/{split}.parquet"
                        pq.write_table(pa.Table.from_pylist(rows), folder / repository / file)
                        lines += [f"  - split: {split}", f"    path: {file}"]
        (folder / repository / "README.md").write_text("\n".join([*lines, "---", ""]))
    return folder


def _configs(task: str, count: int, seed: int) -> dict[str, dict[str, list[dict[str, Any]]]]:
    _, config, scored = REPOSITORIES[task]
    rows = rows_of(task, count, seed)
    if config is not None:
        return {
            config: {"train": rows_of(task, FEWSHOT_ROWS, seed, first=FEWSHOT_FROM), scored: rows}
        }
    dev = rows_of(task, 5 * len(SUBJECTS), seed, first=FEWSHOT_FROM)
    return {
        subject: {
            split: [row for row in those if row["subject"] == subject]
            for split, those in (("dev", dev), (scored, rows))
        }
        for subject in SUBJECTS
    }
