"""What the rules share: the folders of the project, and the settings of a stage."""


include: "project.smk"


import json
import math
import os
import re
import shlex
from pathlib import Path

from lemon.configuration.figure_specs import COMPONENTS, MEASURES
from lemon.configuration.planned_run import snapshot_folder
from lemon.configuration.stages import stage_params
from lemon.configuration.tasks import suites
from lemon.gpus import gpus_here
from lemon.provenance import host

DATA, RUNS, RESULTS, LOGS = (
    os.path.join(FOLDER, room, PROJECT.preset_name)
    for room in ("data", "runs", "results", "logs")
)


# Every path in the rules begins with one of these.
pathvars:
    data=DATA,
    runs=RUNS,
    results=RESULTS,
    logs=LOGS,


# After `fetch` nothing touches a network, unless a preset asks for the Hub's own benchmark rows;
# then `lemon` says so for each command.
OFFLINE = "export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 TRANSFORMERS_OFFLINE=1; "
HUB_ROWS = PROJECT.preset.evaluation.source == "hub"
# At a time limit Slurm sends a SIGTERM to all processes of a job, and kills what is left once the
# shell is gone. So the shell waits for its command, which saves its work, and so does the log.
AT_SIGTERM = "trap : TERM; logged() {{ trap '' TERM; tee \"$1\"; }}; "
shell.prefix("set -euo pipefail; " + AT_SIGTERM + ("" if HUB_ROWS else OFFLINE))

# Where a cluster has the cores, none are given here. In its jobs Snakemake is given all of the node,
# of which a job may have a part, so that a job must ask for the same there as where it was sent off.
# On this machine jobs on several GPUs share the cores.
ON_CLUSTER = workflow.remote_exec or workflow.resource_settings.cores is None
DEVICE = PROJECT.preset.compute.device
GPUS_HERE = 0 if ON_CLUSTER or DEVICE == "cpu" else len(gpus_here())
GPUS = int(DEVICE == "cuda" or (DEVICE == "auto" and GPUS_HERE > 0))
ALL_CORES = (
    8 if ON_CLUSTER else max(1, workflow.resource_settings.cores // max(1, GPUS_HERE))
)
if not ON_CLUSTER and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", max(1, GPUS_HERE))
# Learning and pre-training in several processes, on one machine. Without `--`, torchrun takes the
# options of `lemon` for abbreviations of its own. Each job leases its GPUs, unless a scheduler did.
PROCESSES = PROJECT.preset.compute.devices
LEASE = f"lemon lease --gpus {PROCESSES} -- " if GPUS else ""
TORCHRUN = (
    f"{LEASE}python -m torch.distributed.run --standalone --nproc-per-node {PROCESSES} "
    "--no-python -- "
    if PROCESSES > 1
    else ""
)
# Snakemake cuts these, and the cores, to what this machine has.
TRAINING_GPUS = GPUS * PROCESSES
SOURCE_MB = PROJECT.source_shape().num_parameters * 2 // 10**6  # in bfloat16


def host_memory(process, copies):
    """MB of main memory of a job: those of the process, and the source model this many times."""
    return process + copies * SOURCE_MB


# Of learning, trials and pre-training.
TRAINING = dict(
    mem_mb=host_memory(5500, 4) * PROCESSES,
    runtime=1440,
    gpu=TRAINING_GPUS,
    nodes=1,
)
# Without a GPU, two trainings side by side on half of the cores each take less time than one after
# the other on all (decision 0039). They do so where memory holds both.
SIDE_BY_SIDE = (
    2
    if not (ON_CLUSTER or GPUS)
    and PROCESSES == 1
    and host()["memory_bytes"] >= 2 * TRAINING["mem_mb"] * 10**6
    else 1
)
TRAINING_CORES = math.ceil(ALL_CORES / SIDE_BY_SIDE) * PROCESSES


def pattern(names):
    """Exactly these names, as the pattern of a wildcard."""
    return "|".join(map(re.escape, names)) or "(?!)"  # matches nothing


def run_pattern(keep):
    """The ids of the runs whose method `keep` accepts."""
    runs = PROJECT.runs.values()
    return pattern(run.id for run in runs if keep(run.method))


def entry_pattern(keep):
    """The names in paper.yaml of the entries that `keep` accepts."""
    return pattern(name for name, entry in PROJECT.tables.items() if keep(entry))


# A file of no run or table has no rule, whatever its name.
wildcard_constraints:
    run=pattern(PROJECT.runs),
    table=pattern(PROJECT.tables),
    figure=pattern(PROJECT.tables),


FUSED = run_pattern(lambda method: method.fuses)


def made_by(stage):
    """The ids of the runs that a stage makes, unless all are taken from a bundle."""
    return run_pattern(
        lambda method: TAKEN.learns and method.needs_target and method.stage == stage
    )


# Scores are of runs, and of the models that pre-training keeps on its way.
SNAPSHOTS = [
    f"{run.id}/{snapshot_folder(tokens)}"
    for run in PROJECT.runs.values()
    for tokens in run.snapshots.values()
]


# What the jobs write beside their manifests. Snakemake asks for a missing one, and no longer
# removes those under `update` before a job: the job itself checks what it can take over.
MODEL_FILES = [
    *("config.json", "model.safetensors"),
    *("tokenizer.json", "tokenizer_config.json"),
]
BUILT_FILES = ["operators.safetensors", "config.yaml"]
LEARNED_FILES = [*BUILT_FILES, "metrics.jsonl"]
PRETRAINED_FILES = ["config.yaml", "metrics.jsonl"]
MADE_FILES = {
    "build": BUILT_FILES,
    "learn": LEARNED_FILES,
    "pretrain": PRETRAINED_FILES,
}
TEXT_FILES = expand(
    "{split}/{domain}.bin",
    split=["train", "tune", "heldout"],
    domain=PROJECT.preset.text.domains,
) + ["floors.json"]
SUITES = suites(PROJECT.preset.evaluation)


def settings(stage, suite=None):
    """The fields that decide the output of a stage, as canonical JSON: a changed one reruns it."""

    def fields(wildcards):
        key = "/".join(value for _, value in wildcards.items()) or None
        return checked(stage_params, PROJECT, stage, key, suite)

    return fields


def folder(name):
    """The folder of an input manifest."""
    return lambda wildcards, input: os.path.dirname(input[name])


def option(name, value):
    """An option of a command, its value quoted where a shell would read more into it."""
    return f"--{name} {shlex.quote(str(value))}"


def folder_option(name, part):
    """The folder of an input manifest, as an option of the command; nothing where it is empty."""

    def words(wildcards, input):
        manifest = input[part]
        return option(name, os.path.dirname(manifest)) if manifest else ""

    return words


def shared_threads(wildcards, threads):
    """The threads of each process that trains; together they take those of the job."""
    return max(1, threads // PROCESSES)


def evaluation_options(suite):
    """Tasks, rows and number format of an evaluation, as options of the command."""

    def options(wildcards, input):
        evaluation, compute = PROJECT.preset.evaluation, PROJECT.preset.compute
        prepared = os.path.dirname(input.tasks)
        named = [
            ("tasks", ",".join(suite.tasks)),
            ("source", prepared if evaluation.prepares_rows else evaluation.source),
            ("limit", suite.limit),
            *(
                ("task-limit", f"{task}={limit}")
                for task, limit in suite.limits.items()
            ),
            ("fewshot", evaluation.fewshot if suite.has_fewshot else None),
            ("batch-size", evaluation.batch_size),
            ("dtype", compute.dtype),
            ("device", compute.device),
        ]
        return " ".join(
            option(name, value) for name, value in named if value is not None
        )

    return options


def cka_options(wildcards, input):
    """What is compared and by which estimator, as options of the command."""
    debiased = "--debiased " if wildcards.measure == "debiased" else ""
    return debiased + folder_option("activations", "text")(wildcards, input)


def replay(wildcards):
    """A value that changes as long as the last replay is pending, or what it left is damaged, so
    that it is tried again.
    """
    state = Path(RUNS, "tracking", f"{wildcards.table}.json")
    try:
        since = state.stat().st_mtime_ns
    except OSError:
        return "done"  # there is none yet, and a missing output is reason enough
    try:
        tracked = (
            state.is_file() and json.loads(state.read_bytes())["status"] == "tracked"
        )
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        tracked = False
    return "done" if tracked else f"pending since {since}"
