"""Scores made anew against those of a bundle: what agrees, what differs, what can't be compared."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from finished_runs import write_finished
from manifests import seal_again

from lemon.bundles.compare import MOST_BITS, MOST_CHANGED, MOST_LOSS, Comparison, compare
from lemon.bundles.pack import pack
from lemon.cli import main
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.evaluation.outcomes import Outcome, read_sealed, write_outcomes
from lemon.files.manifest import sealed

CONFIG = Path(__file__).parents[2] / "config"
FIRST, SECOND = "lemon-prune-75", "lemon-cut-75"  # the first learned rows that can be fused
DOCUMENTS, BYTES = 8, 4  # of a task and of its answers in `fabricated_runs`


@pytest.fixture(scope="module")
def bundle(smoke: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = write_finished(smoke, "table3", tmp_path_factory.mktemp("made"))
    pack(smoke, made, made / "runs.bundle")
    return made / "runs.bundle"


@pytest.fixture
def anew(bundle: Path, tmp_path: Path) -> Path:
    """A working folder whose scores are those of the bundle."""
    shutil.copytree(bundle.parent / "runs", tmp_path / "runs")
    return tmp_path


def outcomes(anew: Path) -> Path:
    return anew / "runs" / "smoke" / SECOND / "outcomes"


def answer_anew(anew: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the first answer of a task, as an evaluation on another machine would."""
    file = outcomes(anew) / "sciq.parquet"
    rows, _ = read_sealed(file)
    change(rows[0])
    write_outcomes(file, [Outcome(**row) for row in rows], key={"task": "sciq"})
    seal_again(file.with_name("manifest.json"))


def move_loss(anew: Path, nats: float) -> None:
    file = outcomes(anew) / "perplexity.json"
    content = json.loads(file.read_text())
    content["loss"] += nats
    file.write_text(json.dumps(sealed(content | {"digest": None})))
    seal_again(file.with_name("manifest.json"))


def second(found: list[Comparison]) -> Comparison:
    assert [one.run for one in found] == [FIRST, SECOND]
    assert found[0].equal
    return found[1]


def test_the_same_scores_are_equal(smoke: Project, bundle: Path, anew: Path) -> None:
    found = second(compare(smoke, bundle, anew))
    assert found.equal and found.agrees
    assert {task.changed for task in found.tasks} == {0} == {task.bits for task in found.tasks}
    assert {task.documents for task in found.tasks} == {DOCUMENTS}


@pytest.mark.parametrize(("share", "agrees"), [(0.9, True), (1.1, False)])
def test_a_likelihood_may_move_by_the_tolerance(
    share: float, agrees: bool, smoke: Project, bundle: Path, anew: Path
) -> None:
    nats = share * MOST_BITS * DOCUMENTS * BYTES * math.log(2)  # all by the first question

    def less_likely(row: dict[str, Any]) -> None:
        row["loglikelihoods"][row["gold"]] -= nats

    answer_anew(anew, less_likely)
    found = second(compare(smoke, bundle, anew))
    assert not found.equal and found.agrees is agrees
    moved = {task.task: task.bits for task in found.tasks}
    assert moved.pop("sciq") == pytest.approx(share * MOST_BITS)
    assert set(moved.values()) == {0.0}


def test_one_of_eight_answers_is_too_many(smoke: Project, bundle: Path, anew: Path) -> None:
    assert MOST_CHANGED < 1 / DOCUMENTS
    answer_anew(anew, lambda row: row.update(correct=not row["correct"]))
    found = second(compare(smoke, bundle, anew))
    assert not found.agrees
    changed = next(task for task in found.tasks if task.task == "sciq")
    assert changed.changed == 1
    assert abs(changed.committed - changed.anew) == pytest.approx(1 / DOCUMENTS)


@pytest.mark.parametrize(("share", "agrees"), [(0.9, True), (1.1, False), (-1.1, False)])
def test_the_heldout_loss_may_move_by_the_tolerance(
    share: float, agrees: bool, smoke: Project, bundle: Path, anew: Path
) -> None:
    move_loss(anew, share * MOST_LOSS)
    assert second(compare(smoke, bundle, anew)).agrees is agrees


def test_other_documents_are_not_compared(smoke: Project, bundle: Path, anew: Path) -> None:
    manifest = outcomes(anew) / "manifest.json"
    tasks = json.loads(manifest.read_text())["tasks"]
    tasks["sciq"]["rows_sha256"] = "of another file"
    seal_again(manifest, tasks=tasks)
    with pytest.raises(BadInput, match=r"lemon-cut-75 in the bundle' \(8 documents\).*different"):
        compare(smoke, bundle, anew)


def test_missing_scores_are_named(smoke: Project, bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match=rf"{tmp_path}/runs/smoke/{FIRST}/outcomes/manifest.json: no"
    ):
        compare(smoke, bundle, tmp_path)


def test_a_bundle_without_two_learned_rows_is_refused(smoke: Project, tmp_path: Path) -> None:
    made = write_finished(smoke, "table3", tmp_path)
    for run in smoke.table_runs("table3"):
        if smoke.run(run).method.learned and run != FIRST:
            shutil.rmtree(made / "runs" / "smoke" / run)
    pack(smoke, made, made / "runs.bundle")
    with pytest.raises(BadInput, match=r"operators and scores of 1 learned rows of table3"):
        compare(smoke, made / "runs.bundle", made)


@pytest.mark.parametrize(("nats", "code"), [(0.0, 0), (1.0, 1)])
def test_the_command_says_the_verdicts_and_fails_where_a_row_differs(
    nats: float, code: int, bundle: Path, anew: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    move_loss(anew, nats)
    words = ["--config", str(CONFIG), "compare", "--preset", "smoke", "--bundle", str(bundle)]
    assert main([*words, "--folder", str(anew)]) == code
    told = capsys.readouterr()
    assert f"{FIRST}: equal\n" in told.out
    assert f"{SECOND}: {'DIFFERS' if code else 'equal'}\n" in told.out
    assert ("nats apart" in told.out) == bool(code)
    assert told.err.startswith(f"lemon: error: {SECOND}: scored anew, differs") == bool(code)
