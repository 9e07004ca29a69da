"""The check on a GPU, tried on the CPU: its lines, planted faults, and a machine without a GPU."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from lemon.configuration.project import Project
from lemon.learning.run import learn

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
ON_THE_CPU = ("--device", "cpu", "--rounds", "1", "--out")
SPEED = ("time of a step", "tokens a second", "MFU", "all products")
FUSED = "fused model: held-out perplexity"


@pytest.fixture
def gpu_check(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return import_module("gpu_check")


@pytest.fixture
def parity(gpu_check: ModuleType) -> ModuleType:
    return import_module("_parity")


def lines(report: Path) -> dict[str, list[str]]:
    """The cells of the lines with five cells, by their first one."""
    rows = re.findall(r"^\| (.*) \|$", report.read_text(), re.M)
    cells = (row.split(" | ") for row in rows)
    return {name: [*rest] for name, *rest in cells if len(rest) == 4 and rest[0] != "found"}


def of_kinds(*kinds: str) -> set[str]:
    return {f"{kind}: {what}" for kind in kinds for what in ("losses", "final tensors")}


def test_without_a_gpu_it_says_what_to_do(
    gpu_check: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu_check, "lease_gpus", lambda count: None)
    monkeypatch.setattr(gpu_check, "REPORT", Path("never"))
    assert gpu_check.main([]) == 2
    [message] = capsys.readouterr().err.splitlines()
    assert "finds no usable GPU here" in message and "--device cpu" in message
    assert not Path("never").exists()


@pytest.mark.slow
def test_what_is_equal_passes_and_every_line_is_there(
    gpu_check: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of two kinds of training; how fast the smoke model is does not decide."""
    kinds = {run: gpu_check.KINDS[run] for run in ("lemon-cut-75", "scratch-width")}
    monkeypatch.setattr(gpu_check, "KINDS", kinds)
    monkeypatch.setattr(gpu_check, "REMEMBERED", ("lemon-cut-75",))
    out = tmp_path / "report.md"
    assert gpu_check.main([*ON_THE_CPU, str(out), "--one-process"]) == 0
    found = {name.split(", of ")[0].split(",")[0]: cells for name, cells in lines(out).items()}
    compared = {*of_kinds("operators of layers", "pre-training"), FUSED}
    assert found.keys() == {*compared, *SPEED, "peak memory: operators of layers"}
    assert {found[name][3] for name in compared} == {"passes"}
    assert {found[name][0] for name in compared - {FUSED}} == {"apart by 0.0e+00"}
    assert found["peak memory: operators of layers"][3] == "passes"
    assert found["all products"][3] == "**fails**"  # the model is too small to be fast
    text = out.read_text()
    assert "**nothing here was measured on a GPU.**" in text and "**not run**" in text
    for fact in ("device", "torch", "code", "took"):
        assert re.search(rf"^\| {fact} \| \S", text, re.M), fact


def test_what_differs_or_breaks_fails(
    gpu_check: ModuleType, parity: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A rate that is 2 % higher on the device, and a kind that can't be computed there."""
    run_id = "lemon-cut-75"

    def other(project: Project, run: str, source: Path, text: Path, out: Path) -> None:
        if out.parent.name == parity.DEVICE:
            planned = project.run(run)
            learning = planned.learning
            faster = learning.model_copy(update={"layer_rate": 1.02 * learning.layer_rate})
            changed = replace(planned, learning=faster)
            project = replace(project, runs={**project.runs, run: changed})
        learn(project, run, source, text, out)

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no kernel | for it\nmore")

    kinds = {run: gpu_check.KINDS[run] for run in (run_id, "scratch-width")}
    monkeypatch.setattr(gpu_check, "KINDS", kinds)
    monkeypatch.setattr(parity, "learn", other)
    monkeypatch.setattr(parity, "pretrain", broken)
    nothing = import_module("_gpu_report").Section("none", "none", [])
    monkeypatch.setattr(gpu_check, "_full_size", lambda *_: nothing)
    out = tmp_path / "report.md"
    assert gpu_check.main([*ON_THE_CPU, str(out), "--one-process"]) == 1
    found = lines(out)
    assert found["operators of layers: final tensors"][3] == "**fails**"
    expected = ["RuntimeError: no kernel / for it", "", "runs", "**fails**"]
    assert found["pre-training"] == expected


@pytest.mark.parametrize(
    ("found", "expected", "apart"),
    [
        ([[1.0, 0.5]], [[1.0, 0.25]], 0.25),
        ([[110.0]], [[100.0]], 0.1),  # relative above 1
        ([[1.0], [float("nan")]], [[1.0], [1.0]], float("nan")),
        ([[1.0]], [[1.0], [1.0]], float("inf")),
        ([], [], float("inf")),
    ],
)
def test_how_far_ends_are_apart(
    parity: ModuleType, found: list[list[float]], expected: list[list[float]], apart: float
) -> None:
    named = [{str(n): torch.tensor(v) for n, v in enumerate(ends)} for ends in (found, expected)]
    assert parity._apart(*named) == pytest.approx(apart, nan_ok=True)


@pytest.mark.slow
def test_the_whole_check_with_two_processes(gpu_check: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / "report.md"
    assert gpu_check.main([*ON_THE_CPU, str(out)]) == 0
    text = out.read_text()
    parts = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", text, re.M | re.S))
    for name in of_kinds(*gpu_check.KINDS.values()):
        assert f"| {name} |" in parts["As on the CPU"]
    for run in gpu_check.IN_PROCESSES:
        for name in of_kinds(gpu_check.KINDS[run]):
            assert f"| {name} |" in parts["Two processes"]
    assert text.count("| peak memory: ") == len(gpu_check.REMEMBERED)
