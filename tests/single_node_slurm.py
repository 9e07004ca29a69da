"""A Slurm of one node that a test starts and ends, with its keys, sockets and state in a folder."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COMMANDS = ("slurmctld", "slurmd", "sbatch", "srun", "scancel", "squeue", "sinfo", "scontrol")
PATH = f"{os.environ['PATH']}:/usr/sbin"
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MinJobAge=3600
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName={host} CPUs=16 RealMemory=1000000 Gres=gpu:8
PartitionName=main Nodes={host} Default=YES State=UP OverSubscribe=FORCE:4
"""
# The node claims more than there is: jobs ask for what the presets do, and the tests run on less.
GPUS = "NodeName={host} Name=gpu File={folder}/gpu[0-7]"


def absent() -> list[str]:
    """The programs of Slurm that this machine lacks."""
    return [program for program in ("munged", *COMMANDS) if not shutil.which(program, path=PATH)]


@contextmanager
def single_node_slurm(folder: Path) -> Iterator[Path]:
    """Start it in a folder, and give the folder with its commands, to be first in PATH."""
    for name in ("state", "spool", "bin"):
        (folder / name).mkdir(parents=True)
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    host = socket.gethostname().split(".")[0]
    settings = {"host": host, "user": user, "ports": [free_port(), free_port()], "folder": folder}
    (folder / "slurm.conf").write_text(CONFIGURATION.format(**settings).lstrip())
    (folder / "gres.conf").write_text(GPUS.format(**settings))
    for number in range(8):
        (folder / f"gpu{number}").touch()
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)
    commands = lay_commands(folder)
    places = [f"--{name}={folder}/munge.{name}" for name in ("socket", "pid-file", "log-file")]
    places += [f"--{name}-file={folder}/munge.{name}" for name in ("key", "seed")]
    daemons = []
    try:
        for command in (
            [shutil.which("munged", path=PATH), "--foreground", "--force", *places],
            [str(commands / "slurmctld"), "-D"],
            [str(commands / "slurmd"), "-D"],
        ):
            with (folder / f"{Path(command[0]).name}.out").open("w") as out:
                daemons.append(subprocess.Popen(command, stdout=out, stderr=out))
            time.sleep(1)
        wait_until_idle(commands)
        try:
            yield commands
        finally:
            subprocess.run([str(commands / "scancel"), "--user", user])
            wait_until_idle(commands)
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(30)


def lay_commands(folder: Path) -> Path:
    """Write Slurm's commands for this configuration into `bin` of its folder.

    A variable would not do: Snakemake removes those of Slurm inside a job.
    """
    for name in COMMANDS:
        command = folder / "bin" / name
        real = shutil.which(name, path=PATH)
        command.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {real} "$@"\n')
        command.chmod(0o755)
    return folder / "bin"


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def wait_until_idle(commands: Path) -> None:
    """Wait until the node takes jobs."""
    deadline = time.monotonic() + 60
    while True:
        command = [str(commands / "sinfo"), "--noheader", "--format=%t"]
        found = subprocess.run(command, capture_output=True, text=True)
        if found.stdout.strip() == "idle":
            return
        assert time.monotonic() < deadline, found.stdout + found.stderr
        time.sleep(0.5)
