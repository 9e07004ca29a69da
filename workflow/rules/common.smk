"""What the rules share: the folders of the project, and the settings of a stage."""


include: "project.smk"


import difflib
import fcntl
import json
import os
import re
import shlex
import shutil
from pathlib import Path

from lemon.bundles.taken import require_enough
from lemon.configuration.figure_specs import COMPONENTS, MEASURES
from lemon.configuration.planned_run import snapshot_folder
from lemon.configuration.rendering_checks import require_renderable
from lemon.configuration.stages import stage_params
from lemon.configuration.tasks import ABLATION, FOLDERS, suites
from lemon.errors import BadInput

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
shell.prefix("set -euo pipefail; " + ("" if HUB_ROWS else OFFLINE))

# None where a cluster, not this machine, has the cores; `workflow.cores` is an error then.
ALL_CORES = workflow.resource_settings.cores or 8
DEVICE = PROJECT.preset.compute.device
GPUS = int(DEVICE == "cuda" or (DEVICE == "auto" and bool(shutil.which("nvidia-smi"))))
# Learning and pre-training in several processes, on one machine. Without `--`, torchrun takes the
# options of `lemon` for abbreviations of its own.
PROCESSES = PROJECT.preset.compute.devices
TORCHRUN = (
    f"python -m torch.distributed.run --standalone --nproc-per-node {PROCESSES} --no-python -- "
    if PROCESSES > 1
    else ""
)
# A cluster gives each of them cores and a GPU; on this machine a job has all cores, and the jobs
# on its GPUs take turns.
TRAINING_CORES = workflow.resource_settings.cores or ALL_CORES * PROCESSES
TRAINING_GPUS = GPUS if workflow.resource_settings.cores else GPUS * PROCESSES
SOURCE_MB = PROJECT.source_shape().num_parameters * 2 // 10**6  # in bfloat16


def host_memory(process, copies):
    """MB of main memory of a job: those of the process, and the source model this many times."""
    return process + copies * SOURCE_MB


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


def given_files(model):
    """The files of a model that the user gives as a folder: changed ones are prepared again."""
    if model is None or model.path is None:
        return []
    folder = Path(model.path)
    return sorted(
        str(file)
        for file in folder.glob("*")
        if file.suffix in (".json", ".safetensors", ".model", ".txt", ".jinja")
    )


def model_manifest(run):
    """The manifest of the model of a run: a given one as prepared, or what was fused or trained.
    A model that pre-training kept on its way is named like its folder.
    """
    prepared = None if run in SNAPSHOTS else PROJECT.run(run).method.prepared
    if prepared:
        return f"<data>/{prepared}/manifest.json"
    return f"<runs>/{run}/model/manifest.json"


def learned_run(wildcards):
    """The run that a job builds or learns: its own, or the one that a trial is of."""
    if "rates" in wildcards.keys():
        return PROJECT.run(PROJECT.trials[wildcards.rates][0].run)
    return PROJECT.run(wildcards.run)


def source_manifest(wildcards):
    """The manifest of the model that a run is fused from."""
    return model_manifest(learned_run(wildcards).source.id)


def start_manifest(wildcards):
    """The manifest of the earlier run that a run starts from; nothing where there is none."""
    start = learned_run(wildcards).start
    return f"<runs>/{start.id}/manifest.json" if start else []


def calibration_text(wildcards):
    """The manifest of the text on which a method looks at activations; nothing for others."""
    calibrates = PROJECT.run(wildcards.run).method.calibrates
    return "<data>/text/manifest.json" if calibrates else []


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


def teacher_manifest(wildcards):
    """The manifest of the source model, where it teaches a second stage; else nothing."""
    return (
        "<data>/source/manifest.json" if learned_run(wildcards).taught_by_source else []
    )


def reference_manifest(wildcards):
    """The manifest of the source model, where its losses steer the mixture of pre-training."""
    steers = learned_run(wildcards).mixture_reference
    return "<data>/source/manifest.json" if steers else []


def fused_weights(wildcards, input):
    """The weights that the operators apply to: the run's own where it trained or rearranged them."""
    own = PROJECT.run(wildcards.run).own_weights
    if own is not None:
        return os.path.join(os.path.dirname(input.operators), own)
    return os.path.dirname(input.source)


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


def outcomes(table):
    """The outcomes of every model that a table shows, in the suites that its tasks belong to."""
    return expand(
        "<runs>/{model}/{outcomes}/manifest.json",
        model=PROJECT.shown_models(table),
        outcomes=[FOLDERS[name] for name in PROJECT.table_suites(table)],
    )


def shown_files(table):
    """What a table or figure shows: outcomes, similarity maps, operators, or trials."""
    files = outcomes(table) + below(RUNS, PROJECT.figure_files(table))
    if table not in PROJECT.whole:
        files += [f"{RUNS}/{t.folder}/manifest.json" for t in PROJECT.every_trial]
    return files


def table_files(wildcards):
    """What a table shows. Recording it needs them too: a committed table alone is not up to date."""
    checked(require_renderable, PROJECT, wildcards.table)
    checked(require_enough, PROJECT, TAKEN, wildcards.table)
    return shown_files(wildcards.table)


def figure_files(wildcards):
    """What a figure shows."""
    checked(require_renderable, PROJECT, wildcards.figure)
    checked(require_enough, PROJECT, TAKEN, wildcards.figure)
    return shown_files(wildcards.figure)


def scored_text(wildcards):
    """The manifest of the text that the runs of a table were scored on; nothing if on none."""
    suites = PROJECT.table_suites(wildcards.table)
    scored = any(SUITES[name].has_heldout for name in suites)
    return "<data>/text/manifest.json" if scored else []


def learned_text(wildcards):
    """The manifest of the text whose floor belongs to a figure; nothing for other figures."""
    renderer = PROJECT.entry(wildcards.figure).renderer
    with_floor = renderer in ("tune_curves", "quality_by_cost")
    return "<data>/text/manifest.json" if with_floor else []


def activation_text(wildcards):
    """The manifest of the text on which activations are compared; nothing for weights."""
    return "<data>/text/manifest.json" if wildcards.of == "activations" else []


def cka_options(wildcards, input):
    """What is compared and by which estimator, as options of the command."""
    debiased = "--debiased " if wildcards.measure == "debiased" else ""
    return debiased + folder_option("activations", "text")(wildcards, input)


def rendered_manifest(wildcards):
    """The manifest of the table, or of the figure, that is to be recorded."""
    return rendered(wildcards.table)


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


def hold_folder():
    """Keep a second invocation out of this folder. Snakemake's own lock outlives a killed process
    and then asks for --unlock; the kernel drops this one by itself.
    """
    lock = os.open(
        ".snakemake/in-use", os.O_CREAT | os.O_WRONLY
    )  # open until the process ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stop(BadInput("another snakemake works in this folder; wait for it or end it"))


def check_target(target):
    """Stop at a mistyped target and name the nearest; `make` hands its own over in the config."""
    known = [rule.name for rule in workflow.rules]
    if target in known or "/" in target:
        return
    near = difflib.get_close_matches(target, known, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    targets = ", ".join(["all", *PROJECT.tables])
    stop(BadInput(f"no target {target}; {hint}the targets are {targets}"))


onstart:
    hold_folder()
