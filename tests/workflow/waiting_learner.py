"""The `lemon` command in a process that takes five steps of training and waits before a sixth.

A SIGTERM ends the waiting. It trains on the CPU where the preset has a GPU, so that jobs may ask
for GPUs that are not there.
"""

import sys
import time

import lemon.training.processes
from lemon.cli import main
from lemon.training.loop import Trainer

STEPS = 5
take = Trainer._step
taken = []


def step(trainer: Trainer, number: int) -> tuple[dict[str, float], bool]:
    while len(taken) == STEPS and not trainer.sigterm.noted:
        time.sleep(0.1)
    taken.append(number)
    return take(trainer, number)


Trainer._step = step
lemon.training.processes.compute_device = lambda wanted: "cpu"
sys.exit(main())
