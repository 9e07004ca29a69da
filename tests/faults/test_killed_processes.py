"""One of two processes that learn together is killed: both end, and the run goes on whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from learning_world import CONFIG, LearningWorld
from ranks import train_alone

from lemon.events import read_events

RUN, STEPS = "lemon-cut-75", 24
SETTINGS = {"batch_sequences": 4, "microbatch_sequences": 2, "checkpoint_every": 3}
ENDED_S = 90  # torchrun kills after 30 seconds what does not end; the rest is for a busy machine
PYTHON = (sys.executable, "-m")
TORCHRUN = (*PYTHON, "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def command(world: LearningWorld, preset: Path, out: Path) -> list[str]:
    """What the rule calls, for a run of a preset in two processes."""
    words = ["--config", CONFIG, "learn", "--preset", preset, "--run", RUN, "--out", out]
    words += ["--source", world.source, "--text", world.text]
    return [*TORCHRUN, "--no-python", "--", *PYTHON, "lemon.cli", *map(str, words)]


def two_processes(folder: Path) -> Path:
    """The smoke preset in two processes."""
    preset = folder / "pair.yaml"
    learning = ", ".join(f"{name}: {value}" for name, value in SETTINGS.items())
    preset.write_text(
        "base: smoke\ndescription: two processes\n"
        "compute: {device: cpu, dtype: float32, devices: 2}\n"
        f"budgets: {{fusion: {STEPS}}}\nlearning: {{{learning}}}\n"
    )
    return preset


def kill_one(started: subprocess.Popen, rank: int, end: signal.Signals) -> list[psutil.Process]:
    """Send one process a signal; gives all of them."""
    both = psutil.Process(started.pid).children()
    [chosen] = [process for process in both if process.environ().get("RANK") == str(rank)]
    chosen.send_signal(end)
    return both


@pytest.mark.slow
def test_a_killed_process_ends_the_others_and_the_run_goes_on(learning_world, tmp_path):
    """The first process writes, the second computes; one is killed after another."""
    draw = random.Random(int(os.environ.get("KILLS_SEED", "0")))
    preset, out = two_processes(tmp_path), tmp_path / "out"
    whole = train_alone(learning_world, RUN, tmp_path / "whole", steps=STEPS, **SETTINGS)
    for rank, end in ((1, signal.SIGKILL), (0, signal.SIGTERM)):
        done = max((e["step"] for e in read_events(out / "metrics.jsonl")), default=0)
        step = done + draw.randint(1, STEPS // 3)
        started = subprocess.Popen(
            command(learning_world, preset, out), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        while not any(e["step"] >= step for e in read_events(out / "metrics.jsonl")):
            assert started.poll() is None, started.stdout.read().decode()
            time.sleep(0.005)
        both = kill_one(started, rank, end)
        begun = time.monotonic()
        started.communicate(timeout=ENDED_S)
        assert started.returncode != 0
        assert not any(process.is_running() for process in both)
        print(f"rank {rank}, step {step}: all ended after {time.monotonic() - begun:.1f} s")
        assert not (out / "manifest.json").exists()
    last = subprocess.run(command(learning_world, preset, out), capture_output=True, text=True)
    assert last.returncode == 0, last.stderr
    assert last.stdout.count("goes on after step") == 1
    name = "operators.safetensors"
    assert (out / name).read_bytes() == (whole / name).read_bytes()
