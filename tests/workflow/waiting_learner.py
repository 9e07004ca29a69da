"""The `lemon` command in a process that takes five steps of training and waits before a sixth.

A SIGTERM ends the waiting. It computes on the CPU where the preset has a GPU, so that jobs may ask
for GPUs that are not there.
"""

import sys
import time

import lemon.machine

lemon.machine.compute_device = lambda wanted: "cpu"  # before it is imported by name

from lemon.cli import main  # noqa: E402

STEPS = 5


def wait_at_the_sixth_step() -> None:
    from lemon.training.loop import Trainer

    take, taken = Trainer.take_step, []

    def step(trainer: Trainer, number: int) -> tuple[dict[str, float], bool]:
        while len(taken) == STEPS and not trainer.sigterm.noted:
            time.sleep(0.1)
        taken.append(number)
        return take(trainer, number)

    Trainer.take_step = step


if sys.argv[1] == "learn":
    wait_at_the_sixth_step()
sys.exit(main())
