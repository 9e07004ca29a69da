"""SIGKILL during evaluation: only the missing part is redone, and the numbers are the same."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from task_rows import write_mirror

import lemon.evaluation.outcomes as outcomes
from lemon.evaluation.asking import CHUNK_QUESTIONS
from lemon.evaluation.harness import evaluate

ROWS = 3 * CHUNK_QUESTIONS - 5
KILLED_AFTER = 2  # chunks of the second task

CHILD = """
import os, signal, sys
from pathlib import Path
import lemon.evaluation.outcomes as outcomes
from lemon.evaluation.harness import evaluate

appended = outcomes.UnfinishedOutcomes.append
chunks = 0

def append_then_die(self, chunk):
    global chunks
    appended(self, chunk)
    chunks += sys.argv[4] in self._path.name
    if chunks == int(sys.argv[5]):
        os.kill(os.getpid(), signal.SIGKILL)

outcomes.UnfinishedOutcomes.append = append_then_die
model, mirror, out = map(Path, sys.argv[1:4])
evaluate(model, ["piqa", sys.argv[4]], str(mirror), None, out, batch_size=4, dtype="bfloat16")
"""


@pytest.mark.parametrize("second", ["sciq", "nq_open"])
def test_a_killed_evaluation_goes_on_where_it_stopped(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: str
) -> None:
    tasks = ["piqa", second]
    mirror = write_mirror(tmp_path / "mirror", dict.fromkeys(tasks, ROWS))
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    child = subprocess.run(
        [sys.executable, "-c", CHILD, tiny_model_folder, mirror, killed, second, str(KILLED_AFTER)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert (killed / "piqa.parquet").exists()
    assert not (killed / f"{second}.parquet").exists()
    assert not (killed / "manifest.json").exists()

    judged: list[tuple[str, int]] = []
    judge = outcomes.judge

    def count(task: Any, question: Any, *answer: Any) -> outcomes.Outcome:
        judged.append((task.name, question.id))
        return judge(task, question, *answer)

    monkeypatch.setattr(outcomes, "judge", count)

    def run(out: Path) -> dict[str, Any]:
        evaluate(tiny_model_folder, tasks, str(mirror), None, out, batch_size=4, dtype="bfloat16")
        return json.loads((out / "manifest.json").read_text())

    resumed = run(killed)
    missing = ROWS - KILLED_AFTER * CHUNK_QUESTIONS
    assert len(judged) == missing > 0
    assert {task for task, _ in judged} == {second}
    uninterrupted = run(whole)
    assert len(judged) == missing + len(tasks) * ROWS
    assert resumed["tasks"] == uninterrupted["tasks"]
    for task in tasks:
        file = f"{task}.parquet"
        assert (killed / file).read_bytes() == (whole / file).read_bytes()
    names = {"manifest.json", *(f"{task}.parquet" for task in tasks)}
    assert {path.name for path in killed.iterdir()} == names
