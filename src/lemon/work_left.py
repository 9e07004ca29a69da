"""The work that is left for the runs of a table, from shapes, settings and the manifests there.

Finished jobs cost nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lemon.architecture import LAYER_TYPES, Axis, LlamaShape
from lemon.configuration.planned_run import PlannedRun, lineage
from lemon.configuration.project import Project
from lemon.configuration.stages import stage_params
from lemon.configuration.tasks import FOLDERS, TASKS, Suite, TaskInfo
from lemon.errors import BadInput
from lemon.files.manifest import MANIFEST, read_manifest
from lemon.flops import forward_flops, learning_flops
from lemon.methods.passes import building_flops
from lemon.training.checkpoints import KEPT

EFFICIENCY = 0.6  # rate of a forward or backward pass, relative to a large matrix product
ATTENTION_EFFICIENCY = 0.17  # of attention with a mask: 74 of 430 GFLOP/s, bfloat16 on one core
JOB_SECONDS = 5.0  # to start a job: 3 s where torch is imported, 6 s with lm-eval, Snakemake's own
MOST_CHECKPOINTS = KEPT + 1  # the last one is written before the first goes
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
    checkpoints: int  # bytes, as long as it learns

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
    building = 0.0 if is_made else building_flops(run)
    return RunCost(
        run,
        jobs=(not is_made) + fuses + len(left),
        steps=steps,
        tokens=steps * run.tokens_per_step,
        flops=building + learning + evaluation + attention,
        attention_flops=attention,
        written=weights * BYTES[project.preset.source.dtype],
        checkpoints=checkpoint_bytes(run) * MOST_CHECKPOINTS if learns else 0,
    )


def checkpoint_bytes(run: PlannedRun) -> int:
    """Bytes of a checkpoint: of every number that trains its float32 value and two moments."""
    method, source, target = run.method, run.fused_shape, run.target_shape
    numbers = 0
    if method.trains_weights:
        whole = target if method.pretrains or method.matches_states else source
        numbers += whole.num_parameters
    if method.learns_operators and run.changes_widths:
        numbers += run.radii.parameters(source, target)
    elif method.learns_operators:
        numbers += len(LAYER_TYPES) * source.num_hidden_layers * target.num_hidden_layers
    return 3 * 4 * numbers


def prepared_bytes(project: Project) -> int:
    """Disk space of the source model and the packed text."""
    text = project.preset.text
    rows = (text.train_sequences + 2 * text.heldout_sequences) * len(text.domains)
    model = project.source_shape().num_parameters * BYTES[project.preset.source.dtype]
    return model + rows * (text.sequence_length + 1) * 2


def planned_bytes(project: Project, folder: Path = Path()) -> int:
    """What is left to write of everything that the preset shows, besides the download."""
    return written_bytes(project, run_costs(project, project.whole, folder), folder)


def written_bytes(project: Project, costs: Sequence[RunCost], folder: Path) -> int:
    """What these runs write, and the source and text where they are not prepared yet."""
    prepared = (folder / "data" / project.preset_name / "text" / MANIFEST).is_file()
    return sum(cost.written for cost in costs) + (0 if prepared else prepared_bytes(project))
