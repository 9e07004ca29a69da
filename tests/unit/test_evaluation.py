"""Scores are lm-eval's own, at any batch size, and nothing is scored twice."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from lm_eval.evaluator import evaluate as lm_eval_evaluate
from lm_eval.models.huggingface import HFLM
from roundoff import LOG_LIKELIHOOD_OFF
from task_rows import GOLD, write_mirror
from transformers import AutoModelForCausalLM

import lemon.evaluation.prefix_lm as prefix_lm
import lemon.progress as progress
from lemon.configuration.tasks import TASKS as EVERY_TASK
from lemon.errors import BadInput, WorkFailed
from lemon.evaluation.harness import evaluate
from lemon.evaluation.prefix_lm import PrefixLM
from lemon.evaluation.tasks import opened_tasks

pytestmark = pytest.mark.slow

TASKS = {name: info for name, info in EVERY_TASK.items() if info.suite == "ablation"}
ROWS = 20


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mirror(tmp_path_factory.mktemp("mirror"), dict.fromkeys(TASKS, ROWS))


@pytest.fixture(scope="module")
def lm_eval_results(models: dict[str, Any], mirror: Path) -> dict[str, Any]:
    """What lm-eval's own harness finds with its own `hf` model, one request at a time."""
    with opened_tasks(list(TASKS), str(mirror), None) as opened:
        return lm_eval_evaluate(
            HFLM(**models, batch_size=1),
            {"tasks": {task.name: task.lm_eval_task for task in opened}},
            bootstrap_iters=0,
        )


@pytest.fixture
def run(tiny_model_folder: Path, mirror: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def evaluate_tiny(out: str = "outcomes", **changes: Any) -> dict[str, Any]:
        settings = {
            "model_dir": tiny_model_folder,
            "tasks": ["piqa", "logiqa"],
            "source": str(mirror),
            "limit": None,
            "out": tmp_path / out,
            "dtype": "float32",
        }
        evaluate(**{**settings, **changes})
        return json.loads((tmp_path / out / "manifest.json").read_text())

    return evaluate_tiny


def test_log_likelihoods_are_those_of_lm_evals_hf_model(
    models: dict[str, Any], mirror: Path, lm_eval_results: dict[str, Any]
) -> None:
    """In passes of 16; test_eleven_tasks.py has them of other sizes."""
    with opened_tasks(list(TASKS), str(mirror), None) as opened:
        requests = [r for task in opened for d in task.questions for r in d.requests]
    ours = PrefixLM(**models, batch_size=16).loglikelihood(requests, disable_tqdm=True)
    theirs = [
        response
        for samples in lm_eval_results["samples"].values()
        for sample in sorted(samples, key=lambda sample: sample["doc_id"])
        for [response] in sample["resps"]
    ]
    assert len(ours) > 300
    assert [value for value, _ in ours] == pytest.approx(
        [value for value, _ in theirs], abs=LOG_LIKELIHOOD_OFF
    )
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]


@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_outcomes_are_lm_evals_at_any_batch_size(
    run: Callable, lm_eval_results: dict[str, Any], tmp_path: Path, batch_size: int
) -> None:
    manifest = run(tasks=list(TASKS), batch_size=batch_size)
    theirs = lm_eval_results
    for name in TASKS:
        rows = pq.read_table(tmp_path / "outcomes" / f"{name}.parquet").to_pylist()
        samples = sorted(theirs["samples"][name], key=lambda sample: sample["doc_id"])
        assert [row["id"] for row in rows] == [sample["doc_id"] for sample in samples]
        assert [row["acc"] for row in rows] == [bool(sample["acc"]) for sample in samples]
        if name == "winogrande":
            assert {row["acc_norm"] for row in rows} == {None}
        else:
            normalised = [bool(sample["acc_norm"]) for sample in samples]
            assert [row["acc_norm"] for row in rows] == normalised
        metric = TASKS[name].metric
        assert [row["correct"] for row in rows] == [row[metric] for row in rows]
        for row, sample in zip(rows, samples, strict=True):
            assert row["gold"] == GOLD[name](sample["doc"])
            assert row["correct"] == (row["prediction"] == row["gold"])
        entry = manifest["tasks"][name]
        assert entry["rows"] == entry["rows_available"] == ROWS
        assert entry["score"] == pytest.approx(theirs["results"][name][f"{metric},none"])
    assert 0 < manifest["mean_score"] < 1


def test_what_is_scored_is_not_scored_again(
    run: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = run()
    before = (tmp_path / "outcomes/piqa.parquet").read_bytes()

    def no_model(*_: Any) -> None:
        raise AssertionError("a model was loaded")

    with monkeypatch.context() as patched:
        patched.setattr(prefix_lm, "load_language_model", no_model)
        again = run()
        with pytest.raises(AssertionError, match="a model was loaded"):
            run(limit=7)
        assert not (tmp_path / "outcomes/manifest.json").exists()
    assert again["tasks"] == first["tasks"]
    assert (tmp_path / "outcomes/piqa.parquet").read_bytes() == before
    assert run(limit=7)["tasks"]["piqa"]["rows"] == 7


def test_other_weights_are_scored_anew(
    run: Callable, tiny_untied_model_folder: Path, tmp_path: Path
) -> None:
    first = run()
    second = run(model_dir=tiny_untied_model_folder)
    assert first["inputs"]["weights"] != second["inputs"]["weights"]
    fresh = run(out="fresh", model_dir=tiny_untied_model_folder)
    assert second["tasks"] == fresh["tasks"]
    assert (tmp_path / "outcomes/piqa.parquet").read_bytes() == (
        tmp_path / "fresh/piqa.parquet"
    ).read_bytes()


def test_a_long_task_tells_how_far_it_is(
    run: Callable, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    manifest = run(tasks=["piqa"])
    output = capsys.readouterr()
    assert output.out == ""
    lines = output.err.splitlines()
    pattern = r"piqa: question 16/20, 0:\d\d left, peak memory \d+\.\d GiB"
    assert any(re.fullmatch(pattern, line) for line in lines)
    score = manifest["tasks"]["piqa"]["score"]
    assert lines[-1].startswith(f"piqa: {score:.1%} acc of 20 questions, ")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    class LocalOnly(socket.socket):
        def __init__(self, family: int = -1, *rest: Any, **options: Any) -> None:
            if family != socket.AF_UNIX:
                raise AssertionError("a network socket was opened")
            super().__init__(family, *rest, **options)

    monkeypatch.setattr(socket, "socket", LocalOnly)
    yield


def test_no_network_is_asked(run: Callable, no_network: None) -> None:
    with pytest.raises(AssertionError, match="network socket"):
        socket.create_connection(("127.0.0.1", 9))
    assert run()["tasks"]["piqa"]["rows"] == ROWS


@pytest.mark.parametrize(
    ("gain", "failure", "message"),
    [
        (3e38, WorkFailed, r"task piqa, question \d+: a log-likelihood isn't finite"),
        (float("nan"), BadInput, r"model\.norm\.weight holds values that are not finite"),
    ],
)
def test_numbers_that_are_not_finite_stop_the_work(
    run: Callable, tiny_model_folder: Path, tmp_path: Path, gain: float, failure: Any, message: str
) -> None:
    broken = shutil.copytree(tiny_model_folder, tmp_path / "broken")
    model = AutoModelForCausalLM.from_pretrained(broken)
    model.model.norm.weight.data.fill_(gain)
    model.save_pretrained(broken)
    with pytest.raises(failure, match=message):
        run(model_dir=broken)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "no/such/folder"}, "no task rows here"),
        ({"model_dir": Path("no/such/model")}, "no/such/model"),
        ({"heldout": Path("no/such/text")}, "no packed text here"),
    ],
)
def test_bad_input_is_refused(run: Callable, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        run(**changes)


def test_a_model_without_a_tokenizer_is_refused(
    run: Callable, tiny_model_folder: Path, tmp_path: Path
) -> None:
    bare = shutil.copytree(
        tiny_model_folder, tmp_path / "bare", ignore=shutil.ignore_patterns("tokenizer*")
    )
    with pytest.raises(BadInput, match="no tokenizer"):
        run(model_dir=bare)
