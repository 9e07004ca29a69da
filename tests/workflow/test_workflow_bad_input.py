"""A mistake in the configuration or on the command line ends in one message, at once."""

import resource
import subprocess

import pytest

pytestmark = pytest.mark.workflow


def processor_seconds(workspace, *arguments):
    """A finished call of Snakemake in a process started anew, and the processor time it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        workspace.command(*arguments),
        cwd=workspace.path,
        env=workspace.variables(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_unknown_key_is_one_message_at_once(workspace):
    """Snakemake's own start takes about 2 s; all of ours before the message takes less than it."""
    workspace.change_preset(lambda values: values["learning"].update(layer_rat=1e-3))
    _, start = processor_seconds(workspace, "--version")
    done, refusal = processor_seconds(workspace, "table3", "--dry-run")
    assert refusal < 2 * start
    assert done.returncode == 2
    assert "Traceback" not in done.stdout
    assert "smoke.yaml" in done.stdout and "did you mean layer_rate" in done.stdout


def test_unknown_preset_names_the_known_ones(workspace):
    workspace.preset = "smok"
    done = workspace.snakemake("table3", "--dry-run")
    assert done.returncode == 2
    assert "did you mean smoke" in done.stdout


def test_unknown_target_from_make_names_the_nearest(workspace):
    workspace.target = "tabel3"
    done = workspace.snakemake("tabel3", "--dry-run")
    assert done.returncode == 2
    assert done.stdout.splitlines()[-1].startswith("error: no target tabel3; did you mean table3?")


def test_unknown_target_from_snakemake_alone(workspace):
    done = workspace.snakemake("tabel3", "--dry-run")
    assert done.returncode == 1
    assert "No rule to produce tabel3" in done.stdout
