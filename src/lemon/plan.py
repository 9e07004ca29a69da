"""Estimate the work left for a table, before anything starts. Finished jobs cost nothing.

Only matrix products are counted, at a share of the machine's rate, with jobs in sequence. So
minutes are rough, and too few for methods that search on text, whose passes are not counted. The
numbers of runs, steps and tokens are exact.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lemon.architecture import Axis, LlamaShape
from lemon.configuration.paper import TableSpec, TrialsSpec
from lemon.configuration.planned_run import PlannedRun, lineage
from lemon.configuration.project import Project
from lemon.configuration.stages import stage_params
from lemon.configuration.tasks import FOLDERS, TASKS, Suite, TaskInfo
from lemon.configuration.trials import Trial
from lemon.errors import BadInput
from lemon.files.manifest import MANIFEST, read_manifest
from lemon.flops import forward_flops, learning_flops
from lemon.machine import chosen_device, free_bytes, matmul_rate

EFFICIENCY = 0.6  # rate of a forward or backward pass, relative to a large matrix product
ATTENTION_EFFICIENCY = 0.17  # of attention with a mask: 74 of 430 GFLOP/s, bfloat16 on one core
JOB_SECONDS = 5.0  # to start a job: 3 s where torch is imported, 6 s with lm-eval, Snakemake's own
BYTES = {"bfloat16": 2, "float32": 4}


@dataclass(frozen=True)
class RunCost:
    """Work left for a run; all 0 if it is done."""

    run: PlannedRun
    jobs: int
    steps: int
    tokens: int  # of training
    flops: float
    attention_flops: float  # those of them that attend to few-shot examples
    written: int  # bytes

    def seconds(self, rate: float) -> float:
        """Estimated time at this rate of matrix products, in FLOP/s."""
        dense = (self.flops - self.attention_flops) / EFFICIENCY
        masked = self.attention_flops / ATTENTION_EFFICIENCY
        return (dense + masked) / rate + self.jobs * JOB_SECONDS


def evaluation_flops(project: Project, shape: LlamaShape, suites: Collection[Suite]) -> float:
    """FLOP of scoring a model on some suites, including the held-out text, without attention to
    few-shot examples.
    """
    text, tokens = project.preset.text, 0
    for suite in suites:
        for task, rows, contexts in _asked(project, suite):
            tokens += (rows + task.shots * contexts) * task.tokens
        if suite.has_heldout:
            tokens += text.heldout_sequences * len(text.domains) * text.sequence_length
    return tokens * forward_flops(shape, text.sequence_length)


def attention_to_examples_flops(
    project: Project, shape: LlamaShape, suites: Collection[Suite]
) -> float:
    """FLOP of attention to few-shot examples: by each token of a question to all of them, and by
    their own tokens to half of them.
    """
    pairs = 0.0
    for suite in suites:
        for task, rows, contexts in _asked(project, suite):
            examples = task.shots * task.tokens
            pairs += rows * task.tokens * examples + contexts * examples**2 / 2
    return 4 * pairs * shape.num_hidden_layers * shape.axis_size(Axis.QUERY)


def _asked(project: Project, suite: Suite) -> Iterator[tuple[TaskInfo, int, int]]:
    """The tasks of a suite, with their rows and how often few-shot examples are read.

    All questions share them, unless they are drawn; MMLU has one set for each of its 57 subjects.
    """
    drawn = project.preset.evaluation.fewshot == "drawn"
    for name in suite.tasks:
        rows = min(TASKS[name].rows, suite.limit_of(name) or TASKS[name].rows)
        yield TASKS[name], rows, min(57, rows) if name == "mmlu" else rows if drawn else 1


def run_costs(project: Project, tables: Sequence[str], folder: Path) -> list[RunCost]:
    """Work left for the runs in some tables and for the runs that these start from.

    Only manifests in `folder`/runs are read. A run is learned again if its learning settings, or
    those of an earlier run in its lineage, have changed.
    """
    scored: dict[str, dict[str, None]] = {}  # by run, the outcomes of its models
    for table in tables:
        folders = [FOLDERS[name] for name in project.table_suites(table)]
        for model, run in project.shown_models(table).items():
            outcomes = (f"{model}/{name}" for name in folders)
            scored.setdefault(run.id, {}).update(dict.fromkeys(outcomes))
    runs, own = lineage(map(project.run, scored)), folder / "runs" / project.preset_name
    made = {run.id for run in runs if _is_made(project, run, own / run.id)}

    def cost(run: PlannedRun) -> RunCost:
        is_made = made.issuperset(earlier.id for earlier in lineage([run]))
        return _run_cost(project, run, scored.get(run.id, {}), own, is_made=is_made)

    return [cost(run) for run in runs]


def _is_made(project: Project, run: PlannedRun, own: Path) -> bool:
    """Whether a run's operators exist and were learned with the current settings."""
    if not run.method.needs_target:
        return True
    try:
        manifest = read_manifest(own / MANIFEST)
    except BadInput:  # missing or damaged: the workflow makes it again
        return False
    if not run.method.learned:
        return True
    return manifest.get("key") == stage_params(project, run.method.stage, run.id)


def _run_cost(
    project: Project, run: PlannedRun, outcomes: Collection[str], runs: Path, *, is_made: bool
) -> RunCost:
    """The work left for a run, of whose models these outcomes are shown, by folder in `runs`."""
    has_model = is_made and (runs / run.id / "model" / MANIFEST).is_file()
    anew = run.method.needs_target and not has_model
    fuses = anew and run.method.fuses
    left = [path for path in outcomes if anew or not (runs / path / MANIFEST).is_file()]
    suite_of = {folder: name for name, folder in FOLDERS.items()}
    suites = [project.suite(suite_of[PurePosixPath(path).name]) for path in left]
    evaluation = evaluation_flops(project, run.target_shape, suites)
    attention = attention_to_examples_flops(project, run.target_shape, suites)
    learns = run.method.learned and not is_made
    steps = run.steps if learns else 0
    weights = anew * run.target_shape.num_parameters * (1 + len(run.snapshots))
    if run.own_weights is not None and not is_made:
        weights += run.fused_shape.num_parameters
    learning = learning_flops(project, run) if learns else 0.0
    return RunCost(
        run,
        jobs=(not is_made) + fuses + len(left),
        steps=steps,
        tokens=steps * run.tokens_per_step,
        flops=learning + evaluation + attention,
        attention_flops=attention,
        written=weights * BYTES[project.preset.source.dtype],
    )


def prepared_bytes(project: Project) -> int:
    """Disk space of the source model and the packed text."""
    text = project.preset.text
    rows = (text.train_sequences + 2 * text.heldout_sequences) * len(text.domains)
    model = project.source_shape().num_parameters * BYTES[project.preset.source.dtype]
    return model + rows * (text.sequence_length + 1) * 2


def planned_bytes(project: Project, folder: Path = Path()) -> int:
    """What is left to write of everything that the preset shows, besides the download."""
    return _written(project, run_costs(project, project.whole, folder), folder)


def _written(project: Project, costs: Sequence[RunCost], folder: Path) -> int:
    prepared = (folder / "data" / project.preset_name / "text" / MANIFEST).is_file()
    return sum(cost.written for cost in costs) + (0 if prepared else prepared_bytes(project))


def _trials_left(project: Project, table: str, folder: Path) -> list[Trial]:
    """The trials of a table of trials that are not finished; none for other tables."""
    if not isinstance(project.entry(table), TrialsSpec):
        return []
    runs = folder / "runs" / project.preset_name
    trials = project.every_trial
    return [trial for trial in trials if not (runs / trial.folder / MANIFEST).is_file()]


def plan(project: Project, tables: Sequence[str], folder: Path = Path()) -> str:
    """The plan of some tables as text; `folder` is the workflow's working folder."""
    heading = f"{', '.join(tables)} with preset {project.preset_name}: {project.preset.description}"
    costs = run_costs(project, tables, folder)
    trials = [t for name in tables for t in _trials_left(project, name, folder)]
    if trials:
        steps = sum(project.run(trial.run).steps for trial in trials)
        heading += f"\n\n{len(trials)} trials of rates to do; {steps:,} steps"
    if not costs and any(isinstance(project.entry(name), TrialsSpec) for name in tables):
        return heading
    if not costs:
        return f"{heading}\n\nno runs: sizes are computed from the shapes alone, in seconds"
    compute = project.preset.compute
    device = chosen_device(compute.device)
    rate = matmul_rate(compute.dtype, device)
    left = [cost for cost in costs if cost.jobs]
    finished = [cost.run.id for cost in costs if not cost.jobs]
    minutes = _minutes(left, rate) if rate else 0
    written = _written(project, left, folder)
    lines = [
        heading,
        "",
        *(_by_table(project, tables, folder, rate) if len(tables) > 1 else ()),
        *(_by_run(left, rate) if left else ()),
        f"{len(left)} runs to do, {sum(cost.steps > 0 for cost in left)} of them learned; "
        f"{sum(cost.steps for cost in left):,} steps, {sum(cost.tokens for cost in left):,} "
        "training tokens",
    ]
    if finished:
        lines.append(f"done      {len(finished)} runs: {', '.join(finished)}")
    lines += [
        f"time      about {minutes:.0f} minutes, one job after another, "
        f"at {EFFICIENCY:.0%} of {rate / 1e9:,.0f} GFLOP/s ({compute.dtype} on {device}, now)"
        if rate
        else f"time      unknown: there is no {device} device here to measure",
        f"download  {_download(project, folder)}",
        f"disk      about {written / 1e9:.1f} GB besides the download; "
        f"{free_bytes(folder.absolute()) / 1e9:.1f} GB are free here",
        *(f"not yet run: {row}" for table in tables for row in _empty_rows(project, table)),
    ]
    return "\n".join(lines)


def _by_table(
    project: Project, tables: Sequence[str], folder: Path, rate: float | None
) -> Iterator[str]:
    """What is left of each table by itself, so that a run of several tables counts in each."""
    width = max(map(len, tables))
    yield f"{'table':{width}}  runs to do  learned  minutes"
    for table in tables:
        left = [cost for cost in run_costs(project, [table], folder) if cost.jobs]
        learned = sum(cost.steps > 0 for cost in left)
        minutes = f"{_minutes(left, rate):.1f}" if rate else "-"
        yield f"{table:{width}}  {len(left):10d}  {learned:7d}  {minutes:>7}"
    yield ""


def _minutes(costs: Sequence[RunCost], rate: float) -> float:
    return sum(cost.seconds(rate) for cost in costs) / 60


def _by_run(costs: Sequence[RunCost], rate: float | None) -> Iterator[str]:
    width = max(len(cost.run.id) for cost in costs)
    yield f"{'run':{width}}  layers  parameters  steps      tokens      FLOP  minutes"
    yield from (_line(cost, width, rate) for cost in costs)
    yield ""
    yield from dict.fromkeys(_target(cost.run) for cost in costs if cost.run.row.target)
    yield ""


def _line(cost: RunCost, width: int, rate: float | None) -> str:
    shape = cost.run.target_shape
    minutes = f"{_minutes([cost], rate):.1f}" if rate else "-"
    return (
        f"{cost.run.id:{width}}  {shape.num_hidden_layers:6d}  "
        f"{cost.run.num_parameters / 1e6:8.1f} M  {cost.steps:5d}  {cost.tokens:10,d}  "
        f"{cost.flops:8.1e}  {minutes:>7}"
    )


def _target(run: PlannedRun) -> str:
    shape = run.target_shape
    return (
        f"{run.row.target:<18} {shape.num_hidden_layers} layers, width {shape.hidden_size}, FFN "
        f"{shape.intermediate_size}, {shape.num_attention_heads} query and "
        f"{shape.num_key_value_heads} key/value heads of {shape.head_dim}"
    )


def _download(project: Project, folder: Path) -> str:
    if (folder / "data" / project.preset_name / "assets.lock.json").is_file():
        return "nothing, all assets are fetched"
    sizes = [project.assets[name].megabytes for name in project.needed_assets()]
    unstated = sizes.count(None)
    more = f" and {unstated} assets of unstated size" if unstated else ""
    return f"{sum(filter(None, sizes)):,} MB{more}"


def _empty_rows(project: Project, table: str) -> Iterator[str]:
    """The rows of a table that no run fills yet; entries without scores have no rows."""
    spec = project.entry(table)
    for row in spec.rows if isinstance(spec, TableSpec) else ():
        if not row.runs:
            yield f"{table}, {row.label} at {row.target}"
