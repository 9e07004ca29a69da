"""One invocation at a time, and a killed one leaves nothing to unlock."""

import fcntl
import signal
import subprocess
import time

import pytest

pytestmark = pytest.mark.workflow


def test_a_second_invocation_is_refused(driven):
    with (driven.path / ".snakemake" / "in-use").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        driven.change_preset(lambda values: values["evaluation"].update(limit=3))
        done = driven.snakemake("table3")
    assert done.returncode == 2
    assert "another snakemake works in this folder" in done.stdout


def test_a_killed_invocation_needs_no_unlock(driven):
    driven.change_preset(lambda values: values["evaluation"].update(limit=4))
    environment = {**driven.variables(), **driven.stand_in()}
    driven.calls.write_text("")
    process = subprocess.Popen(
        driven.command("table3"), cwd=driven.path, env=environment, stderr=subprocess.DEVNULL
    )
    while not driven.calls.read_text() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert driven.jobs()[-1] == "track table3"
    assert driven.jobs() == []
