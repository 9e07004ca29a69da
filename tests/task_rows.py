"""A few rows of each task, laid out like the Hub, for tests without real benchmark text."""

from __future__ import annotations

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
}
THINGS = ("moss", "a grey heron", "café crème", "salt – and water", "iron", "雪", "two newts")


def rows_of(task: str, count: int, seed: int = 0) -> list[dict[str, Any]]:
    """`count` different rows in the columns that the task reads, of different lengths."""

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
            case "arc_easy":
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
        raise KeyError(task)

    return [row(n) for n in range(count)]


def write_mirror(folder: Path, tasks: dict[str, int], seed: int = 0) -> Path:
    """Write `tasks` (rows by task) under `folder`, with a train split of two rows each."""
    for task, count in tasks.items():
        repository, config, scored = REPOSITORIES[task]
        place = folder / repository
        (place / config).mkdir(parents=True)
        for split, rows in ((scored, rows_of(task, count, seed)), ("train", rows_of(task, 2, 9))):
            pq.write_table(pa.Table.from_pylist(rows), place / config / f"{split}.parquet")
        (place / "README.md").write_text(
            f"---\nconfigs:\n- config_name: {config}\n  data_files:\n"
            f"  - split: train\n    path: {config}/train.parquet\n"
            f"  - split: {scored}\n    path: {config}/{scored}.parquet\n---\n"
        )
    return folder
