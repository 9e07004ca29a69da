"""A learning run that is complete and asked for again ends at once, unless it lacks a file."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from command_world import tree
from damage import forget_digests
from killed import Cut
from learning_world import LearningWorld

from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.learning import run as learning
from lemon.learning.run import learn

STEPS = 4
RUN = "lemon-cut-75"
# With weights of the run's own, with masks, over widths.
RUNS = (RUN, "lemon-cut-trained-75", "shear-75", "lemon-width-2-2")
DONE = "all its steps are done already"


@pytest.fixture(scope="module")
def project(learning_world: LearningWorld) -> Project:
    return learning_world.project(steps=STEPS, checkpoint_every=2)


@pytest.fixture(scope="module")
def complete(
    project: Project, learning_world: LearningWorld, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The folder of each run, learned to its end."""
    folder = tmp_path_factory.mktemp("complete")
    for run in RUNS:
        learn(project, run, learning_world.source, learning_world.text, folder / run)
    return {run: folder / run for run in RUNS}


@pytest.fixture
def no_learning(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a run was learned again")

    monkeypatch.setattr(learning, "assemble", refuse)


@pytest.mark.parametrize("run", RUNS)
def test_a_complete_run_ends_at_once_and_keeps_its_bytes(
    run: str,
    project: Project,
    learning_world: LearningWorld,
    complete: dict[str, Path],
    tmp_path: Path,
    no_learning: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = Path(shutil.copytree(complete[run], tmp_path / "run"))
    os.utime(out / "manifest.json", ns=(1, 1))
    before = tree(out)
    (out / "checkpoints").mkdir()  # a kill before they were removed
    (out / "checkpoints" / "step-00000004.pt").write_bytes(b"x")
    learn(project, run, learning_world.source, learning_world.text, out)
    assert f"{run}: {DONE}" in capsys.readouterr().err
    assert tree(out) == before
    # A workflow sees by its time that the manifest was seen to be right.
    assert (out / "manifest.json").stat().st_mtime_ns > 1


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("lemon.learning.run.shutil.rmtree", DONE),
        ("lemon.methods.build.write_manifest", f"goes on after step {STEPS} of {STEPS}"),
    ],
    ids=["behind the manifest", "before it"],
)
def test_a_kill_at_the_end_loses_no_step(
    place: str,
    said: str,
    project: Project,
    learning_world: LearningWorld,
    complete: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def cut(*_: object, **__: object) -> None:
        raise Cut

    out = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Cut):
        patch.setattr(place, cut)
        learn(project, RUN, learning_world.source, learning_world.text, out)
    assert (out / "checkpoints").is_dir()
    assert (out / "manifest.json").is_file() == (said == DONE)
    capsys.readouterr()
    learn(project, RUN, learning_world.source, learning_world.text, out)
    assert said in "".join(capsys.readouterr())
    same_results(out, complete[RUN])


def same_results(found: Path, expected: Path) -> None:
    """The same files, with the same bytes where no times are in them."""
    mine, others = tree(found), tree(expected)
    assert mine.keys() == others.keys()
    for name, content in others.items():
        if not name.endswith(("manifest.json", "metrics.jsonl")):
            assert mine[name] == content, name


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


LOST = {
    RUN: ("operators.safetensors", "config.yaml", "metrics.jsonl", "manifest.json"),
    "lemon-cut-trained-75": (
        "trained_source/model.safetensors",
        "trained_source/config.json",
        "trained_source/tokenizer.json",
        "trained_source/manifest.json",
    ),
    "shear-75": ("masks.csv",),
}


@pytest.mark.parametrize(("run", "name"), [(run, name) for run in LOST for name in LOST[run]])
def test_a_damaged_file_is_refused_and_one_that_is_gone_learned_again(
    run: str,
    name: str,
    project: Project,
    learning_world: LearningWorld,
    complete: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = Path(shutil.copytree(complete[run], tmp_path / "run"))
    flip(out / name)
    forget_digests()
    with pytest.raises(BadInput, match=re.escape(Path(name).name)):
        learn(project, run, learning_world.source, learning_world.text, out)
    (out / name).unlink()
    forget_digests()
    learn(project, run, learning_world.source, learning_world.text, out)
    assert DONE not in capsys.readouterr().err
    same_results(out, complete[run])


def test_a_run_of_other_settings_or_inputs_is_learned_anew(
    project: Project,
    learning_world: LearningWorld,
    complete: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, text = learning_world.source, learning_world.text
    other = learning_world.project(steps=STEPS, checkpoint_every=2, layer_rate=0.5)
    trained = complete["lemon-cut-trained-75"] / "trained_source"
    for number, (settings, model) in enumerate(((other, source), (project, trained))):
        out = Path(shutil.copytree(complete[RUN], tmp_path / str(number)))
        learn(settings, RUN, model, text, out)
        assert DONE not in capsys.readouterr().err
        operators = "operators.safetensors"
        assert (out / operators).read_bytes() != (complete[RUN] / operators).read_bytes()
