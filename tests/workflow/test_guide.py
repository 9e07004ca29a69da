"""Every command of the guide is run: as it stands where that is cheap, else in small.

What Snakemake is asked to make is planned, not made. A stage by hand runs on the smoke preset. What
can't be run is in NOT_RUN, with the reason.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from documented_commands import commands
from fabricated_runs import write_runs, write_scored
from forked_commands import FOLDER as FORKED
from own_models import save_model
from task_rows import write_mirror
from workspaces import REPOSITORY, Workspace, copy_workflow

from lemon.cli import main
from lemon.configuration.load import load_project

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

GUIDES = sorted((REPOSITORY / "docs" / "guide").glob("*.md"))
SHOWN = dict.fromkeys(
    " ".join(shlex.split(command, comments=True))
    for guide in GUIDES
    for command, whole in commands(guide)
    if whole or not command.startswith("lemon ")  # in a sentence `lemon` only names a command
)
NETWORK = "downloads; tests/faults/test_mirror.py and test_fetch_hub.py have a hub of their own"
NEW = "needs the method of the guide; tests/unit/test_add_a_method.py adds and runs it"
NOT_RUN = {
    "make check": "runs these tests",
    "make strided PRESET=smoke": NEW,
    "make strided": NEW,
    "make ui": "serves until it is ended; tests/faults/test_ui_port.py",
    "make gpu-check": "needs a GPU; tests/unit/test_gpu_check.py tries it on the CPU",
    "make bundle": "packs runs that learned for hours; tests/unit/test_bundles.py",
    "make check-results": "fuses and scores for minutes; tests/workflow/test_bundles.py plans it",
    "OMP_NUM_THREADS=2 lemon lease --gpus 8 -- python -m torch.distributed.run --standalone "
    "--nproc-per-node 8 --no-python -- lemon learn --run lemon-cut-75 --source MODEL --text TEXT "
    "--out RUN": "eight devices; tests/unit/processes/test_processes.py starts two processes",
    ".venv/bin/lemon fetch --preset gpu --mirror /scratch/mirror": NETWORK,
    ".venv/bin/python -m pip download -r requirements.lock -d /scratch/mirror/wheels": NETWORK,
    ".venv/bin/lemon fetch --preset gpu --source /scratch/mirror --out data/gpu/assets.lock.json": (
        NETWORK
    ),
}
# Stages by hand, in the order in which each finds what it reads.
STAGES = ("learn", "fuse", "pretrain", "cka", "evaluate", "track")
BY_HAND = sorted(
    (command for command in SHOWN if command.split()[1] in STAGES and command not in NOT_RUN),
    key=lambda command: STAGES.index(command.split()[1]),
)
TYPED = [command for command in SHOWN if command not in (*NOT_RUN, *BY_HAND)]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A clone with an environment in which Snakemake only plans, and a model of a reader's own."""
    space = copy_workflow(tmp_path_factory.mktemp("reader") / "clone")
    for name in ("docs/guide", "results/laptop"):
        shutil.copytree(REPOSITORY / name, space.path / name)
    environment = space.path / ".venv" / "bin"
    environment.mkdir(parents=True)
    python = shlex.quote(shutil.which("python") or "python")
    lemon, snakemake = (shlex.quote(str(FORKED / name)) for name in ("lemon", "snakemake"))
    for name, call in {
        "python": f'{python} "$@"',
        "lemon": f'{lemon} "$@"',
        "snakemake": f'{snakemake} "$@" --dry-run --quiet all',
    }.items():
        (environment / name).write_text(f"#!/bin/sh\nexec {call}\n")
        (environment / name).chmod(0o755)
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copyfile(REPOSITORY / name, space.path / name)
        os.utime(space.path / name, (1, 1))
    (environment.parent / "installed").touch()
    [preset, *_] = yaml_blocks(REPOSITORY / "docs" / "guide" / "your-own-model.md")
    (space.path / "mine.yaml").write_text(preset)
    save_model(space.path.parent / "models" / "mine", "llama", vocab_size=512)
    trials = (REPOSITORY / "config" / "trials" / "laptop.tsv").read_text().splitlines(True)
    (space.path / "config" / "trials" / "mine.tsv").write_text("".join(trials[:2]))
    return space


def yaml_blocks(document: Path) -> list[str]:
    return [part.partition("```")[0] for part in document.read_text().split("```yaml\n")[1:]]


@pytest.mark.parametrize("command", TYPED)
def test_a_command_does_as_it_is_typed(command: str, clone: Workspace) -> None:
    typed = command.replace("PRESET=NAME", "PRESET=smoke")
    variables = clone.variables(forked=True)
    inherited = {key: value for key, value in variables.items() if key[:4] != "MAKE"}
    path = f"{clone.path / '.venv' / 'bin'}{os.pathsep}{inherited['PATH']}"
    done = subprocess.run(
        ["bash", "-c", typed],
        cwd=clone.path,
        env={**inherited, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout


def test_stages_by_hand(learning_world, tmp_path, monkeypatch) -> None:
    """Placeholders are folders of the smoke preset; where a command names no preset, it is that."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    rows = write_mirror(tmp_path / "rows", {"sciq": 4, "piqa": 4, "boolq": 4, "mmlu": 6})
    monkeypatch.setenv("LEMON_PACKAGED_TASKS", str(rows))
    project = load_project("smoke", REPOSITORY / "config")
    runs = tmp_path / "runs" / "smoke"
    write_runs(project, "table3", runs, documents=8)
    write_scored(project, "table3", runs, tmp_path / "results" / "smoke" / "tables")
    given = {
        **{"MODEL": learning_world.source, "SOURCE": learning_world.source},
        **{"TEXT": learning_world.text, "/scratch/mirror": rows},
    }
    for number, command in enumerate(BY_HAND):
        words = command.replace("laptop", "smoke").split()[1:]
        small = words[0] == "pretrain"  # what was fused before learns on
        own = {"MODEL": "SMALLER_MODEL"} if small else {}
        places = {**given, **own, "OUTCOMES": f"outcomes-{number}"}
        run = words[words.index("--run") + 1] if "--run" in words else "lemon-width-2-2"
        words = [str(places.get(word, word)).replace("RUN", run) for word in words]
        if "--run" in words and "--preset" not in words:
            words += ["--preset", "smoke"]
        assert main(["--config", str(REPOSITORY / "config"), *words]) == 0, command


def test_what_is_not_run_stands_in_the_guide() -> None:
    assert NOT_RUN.keys() <= SHOWN.keys()
    assert len(TYPED) + len(BY_HAND) > 2 * len(NOT_RUN)
