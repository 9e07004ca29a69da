"""Processes that learn are killed, or asked to end: all end, and the run goes on whole.

KILLS=10 in the environment kills ten times instead of twice, and KILLS_SEED takes other steps.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from learning_world import CONFIG, LearningWorld
from ranks import train_alone

from lemon.cli import main
from lemon.events import read_events

KILLS = int(os.environ.get("KILLS", "2"))
RUN, STEPS = "lemon-cut-75", 12 * KILLS
SETTINGS = {"batch_sequences": 4, "microbatch_sequences": 2, "checkpoint_every": 3}
ENDED_S = 90  # torchrun kills after 30 seconds what does not end; the rest is for a busy machine
PYTHON = (sys.executable, "-m")
TORCHRUN = (*PYTHON, "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def words(world: LearningWorld, preset: Path, out: Path) -> list[str]:
    """The words of `lemon learn`, for a run of a preset."""
    given = ["--config", CONFIG, "learn", "--preset", preset, "--run", RUN, "--out", out]
    return [*map(str, given), "--source", str(world.source), "--text", str(world.text)]


def command(world: LearningWorld, preset: Path, out: Path, processes: int = 2) -> list[str]:
    """What the rule calls, in one or two processes."""
    starter = [*TORCHRUN, "--no-python", "--"] if processes > 1 else []
    return [*starter, *PYTHON, "lemon.cli", *words(world, preset, out)]


def preset_of(folder: Path, processes: int = 2, **settings: int) -> Path:
    """The smoke preset in one or two processes, with these settings of learning."""
    preset = folder / "few.yaml"
    learning = ", ".join(f"{name}: {value}" for name, value in (SETTINGS | settings).items())
    preset.write_text(
        "base: smoke\ndescription: one or two processes\n"
        f"compute: {{device: cpu, dtype: float32, devices: {processes}}}\n"
        f"budgets: {{fusion: {STEPS}}}\nlearning: {{{learning}}}\n"
    )
    return preset


def start(words: list[str], out: Path, step: int) -> subprocess.Popen:
    """Start a command, and return when it has taken a step."""
    started = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while not any(e["step"] >= step for e in read_events(out / "metrics.jsonl")):
        assert started.poll() is None, started.stdout.read()
        time.sleep(0.005)
    return started


@pytest.mark.slow
def test_a_killed_process_ends_the_others_and_the_run_goes_on(learning_world, tmp_path):
    """Of two, one after another: the first process writes, the second computes."""
    draw = random.Random(int(os.environ.get("KILLS_SEED", "0")))
    preset, out = preset_of(tmp_path), tmp_path / "out"
    whole = train_alone(learning_world, RUN, tmp_path / "whole", steps=STEPS, **SETTINGS)
    told = ""
    for rank in (kill % 2 for kill in range(KILLS)):
        done = max((e["step"] for e in read_events(out / "metrics.jsonl")), default=0)
        step = done + draw.randint(1, 8)
        started = start(command(learning_world, preset, out), out, step)
        both = psutil.Process(started.pid).children()
        [chosen] = [process for process in both if process.environ().get("RANK") == str(rank)]
        chosen.kill()
        begun = time.monotonic()
        told += started.communicate(timeout=ENDED_S)[0]
        assert started.returncode != 0
        assert not any(process.is_running() for process in both)
        print(f"rank {rank}, step {step}: all ended after {time.monotonic() - begun:.1f} s")
        assert not (out / "manifest.json").exists()
    last = subprocess.run(command(learning_world, preset, out), capture_output=True, text=True)
    assert last.returncode == 0, last.stderr
    assert last.stdout.count("goes on after step") == 1
    assert "damaged" not in told + last.stdout + last.stderr  # no checkpoint was half-written
    name = "operators.safetensors"
    assert (out / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "end", "code"),
    [(1, signal.SIGTERM, 143), (2, signal.SIGTERM, 1), (2, signal.SIGKILL, -signal.SIGKILL)],
)
def test_a_command_that_is_ended_leaves_a_checkpoint_of_its_step(
    learning_world, tmp_path, processes, end, code, capsys
):
    """Torchrun passes a SIGTERM on; if it is killed itself, its processes get one.

    The run goes on in one process, which is bit for bit the same.
    """
    preset, out = preset_of(tmp_path, processes, checkpoint_every=1000), tmp_path / "out"
    started = start(command(learning_world, preset, out, processes), out, step=2)
    started.send_signal(end)
    told, _ = started.communicate(timeout=ENDED_S)
    assert started.returncode == code, told
    ends = re.findall(rf"error: {RUN}: ended by SIGTERM after step (\d+) of {STEPS}, with", told)
    assert len(ends) == processes and len({*ends}) == 1, told
    [kept] = (out / "checkpoints").iterdir()
    assert kept.name.startswith(f"step-{int(ends[0]):08d}-") and 2 <= int(ends[0]) < STEPS

    assert main(words(learning_world, preset_of(tmp_path, processes=1), out)) == 0
    assert f"goes on after step {ends[0]} of {STEPS}" in capsys.readouterr().out
    whole = train_alone(learning_world, RUN, tmp_path / "whole", steps=STEPS, **SETTINGS)
    name = "operators.safetensors"
    assert (out / name).read_bytes() == (whole / name).read_bytes()
